"""Activation checkpointing changes what is kept, and no number."""

from __future__ import annotations

import mmap

import pytest
import torch
from torch import nn

from data.storage.run_log import read_metrics
from fusion.checkpoint import read_weights, resolve
from tests.training.tiny import fusion_configs, same_metrics, tiny_model, tiny_stream, tiny_trainer
from training.distributed import blocks
from training.monitoring.memory import PeakMemory
from training.objectives.next_token import NextToken
from training.options import TrainerOptions
from training.steps.accumulation import accumulate
from training.steps.recompute import recompute


def drop(module, inputs, hidden):
    """Dropout behind a layer."""
    return nn.functional.dropout(hidden, 0.3, module.training)


def model_with_dropout(fusion):
    """The tiny model with dropout behind every normalisation of its blocks."""
    model = tiny_model(fusion=fusion_configs()[fusion])
    for block in blocks(model):
        for module in block.modules():
            if isinstance(module, nn.RMSNorm):
                module.register_forward_hook(drop)
    return model.train()


@pytest.mark.parametrize("fusion", fusion_configs())
def test_gradients_are_the_same_bit_for_bit_with_dropout_too(fusion):
    plain, frugal = model_with_dropout(fusion), model_with_dropout(fusion)
    recompute(blocks(frugal))
    assert list(frugal.state_dict()) == list(plain.state_dict())
    stream = tiny_stream(plain)
    for model in (plain, frugal):
        torch.manual_seed(0)
        accumulate(model, NextToken(), [stream[0], stream[1]])
    for (name, parameter), other in zip(plain.named_parameters(), frugal.parameters(), strict=True):
        assert torch.equal(parameter.grad, other.grad), name
    undropped = tiny_model(fusion=fusion_configs()[fusion])
    accumulate(undropped, NextToken(), [stream[0], stream[1]])
    assert not all(
        torch.equal(parameter.grad, other.grad)
        for parameter, other in zip(plain.parameters(), undropped.parameters(), strict=True)
    ), "dropout did nothing"


def kept(model):
    """Numbers that a forward pass keeps for the gradients."""
    sizes = []

    def pack(tensor):
        sizes.append(tensor.numel())
        return tensor

    stream = tiny_stream(model)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        NextToken()(model, stream[0])
    return sum(sizes)


@pytest.mark.parametrize("fusion", fusion_configs())
def test_a_block_more_keeps_its_input_alone(fusion):
    def of_layers(count, recomputed):
        model = tiny_model(fusion={**fusion_configs()[fusion], "num_layers": count})
        if recomputed:
            recompute(blocks(model))
        return kept(model)

    plain, frugal = (of_layers(4, recomputed) - of_layers(2, recomputed) for recomputed in (False, True))
    assert frugal < 0.15 * plain


def test_a_training_is_the_same_and_evaluates_as_ever(tmp_path):
    def evaluate(model, step):
        assert not model.training
        return {"validation/score": float(model(tiny_stream(model)[0]).states.double().sum())}

    for name in ("none", "blocks"):
        options = {"max_steps": 4, "evaluate_every": 2, "recompute": name}
        tiny_trainer(tmp_path / name, evaluate=evaluate, **options).fit()
    one, other = (read_metrics(tmp_path / name / "metrics.jsonl") for name in ("none", "blocks"))
    assert same_metrics(one, other)
    weights, again = (read_weights(resolve(tmp_path / name), averaged=False) for name in ("none", "blocks"))
    assert weights.keys() == again.keys()
    assert all(torch.equal(again[name], value) for name, value in weights.items())


def test_bfloat16_is_recomputed_as_bfloat16(tmp_path):
    found = []
    for name in ("none", "blocks"):
        trainer = tiny_trainer(tmp_path / name, recompute=name, precision="bfloat16")
        accumulate(trainer.model, NextToken(), [tiny_stream(trainer.model)[0]], precision="bfloat16")
        found.append([parameter.grad for parameter in trainer.model.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def hold(megabytes: int) -> None:
    """Takes memory from the system, not from what earlier tests gave back to the allocator, and frees it at once."""
    with mmap.mmap(-1, megabytes << 20) as memory:
        memory.write(b"1" * (megabytes << 20))


def test_the_peak_of_updates_does_not_count_what_came_before():
    memory = PeakMemory(torch.device("cpu"))
    hold(100)
    memory.start()
    if not memory.can_measure:
        pytest.skip("this system cannot set the mark back")
    hold(30)
    memory.stop()
    first = memory.metrics()
    assert first["memory/process_peak_mb"] > first["memory/peak_mb"] + 50
    memory.start()
    memory.stop()
    second = memory.metrics()
    assert second["memory/peak_mb"] < first["memory/peak_mb"] - 20
    assert second["memory/process_peak_mb"] >= first["memory/process_peak_mb"]


def test_an_unknown_choice_is_named():
    with pytest.raises(ValueError, match="recompute='all' must be one of none, blocks"):
        TrainerOptions(max_steps=1, recompute="all")
