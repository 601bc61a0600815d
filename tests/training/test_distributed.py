"""Two processes under torchrun compute what one does, even if only one of them has sound."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys

import pytest
import torch

from data.batching.loader import loader
from data.storage.run_log import read_metrics
from fusion.block import Block, ModalityBlock
from fusion.checkpoint import OBJECTIVE, read_tensors, read_weights, resolve
from fusion.methods.cross_attention import GatedCrossAttention
from tests.training.aligned import OBJECTIVES, gradients_of
from tests.training.anchored import anchored_update
from tests.training.balance.balanced import NAMES, made, trainer
from tests.training.probed import Probed
from tests.training.small_parts import OPTIMIZERS, UNUSED, updates
from tests.training.telling import telling_configs
from tests.training.tiny import fusion_configs, tiny_model, tiny_stream, tiny_trainer
from tests.training.worker import OPTIONS, adamw_with_decay, evaluate, lora_model, signalling, split_by_audio
from training.distributed import Processes, blocks
from training.objectives.next_token import NextToken
from training.runs.interruption import TrainingInterrupted
from training.steps import gradients
from training.steps.accumulation import accumulate


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Everything that needs two processes, in one start of them: it is the slow part."""
    folder = tmp_path_factory.mktemp("distributed")
    # A run that one process begins and two continue.
    stream = tiny_stream(tiny_model())
    load = signalling(lambda start, stop: loader(stream, start, stop), 8, signal.SIGINT)
    with pytest.raises(TrainingInterrupted):
        tiny_trainer(folder / "begun", load=load, evaluate=evaluate, **OPTIONS).fit()
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command += ["-m", "tests.training.worker", "distributed", str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert ended.returncode == 0, ended.stderr[-9000:]
    (folder / "said.txt").write_text(ended.stdout)
    return folder


@pytest.fixture(scope="module")
def one_process(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    tiny_trainer(folder, evaluate=evaluate, **OPTIONS).fit()
    return folder


def losses(run):
    """What is logged of the training, by step."""
    prefixes = ("train/loss", "grad_norm", "validation", "balance")
    return {
        line["step"]: [value for name, value in line.items() if name.startswith(prefixes)]
        for line in read_metrics(run / "metrics.jsonl")
    }


def assert_close(run, expected):
    """Sums over processes are added in another order: float32 rounding, which grows a little over the steps."""
    found, wanted = losses(run), losses(expected)
    assert found
    for step, values in found.items():
        assert values == pytest.approx(wanted[step], rel=2e-4, abs=1e-5), f"step {step}"


@pytest.mark.parametrize("fusion", fusion_configs())
def test_every_layer_is_a_unit_and_none_is_inside_another(fusion):
    model = tiny_model(fusion=fusion_configs()[fusion])
    names = {module: name for name, module in model.fusion.named_modules()}
    experts = {expert for module in names if isinstance(module, ModalityBlock) for expert in module.experts}
    layers = {module for module in names if isinstance(module, (Block, ModalityBlock, GatedCrossAttention))}
    found = {names[module] for module in blocks(model)}
    assert found == {names[module] for module in layers - experts}
    if fusion == "cross_attention":
        assert found == {f"{stack}.{layer}" for stack in ("blocks", "media.blocks", "cross") for layer in (0, 1)}


@pytest.mark.parametrize(("name", "configs"), [("found", fusion_configs()), ("told", telling_configs())])
@pytest.mark.parametrize("fusion", fusion_configs())
def test_gradients_equal_those_of_one_process_when_one_has_no_audio(folder, fusion, name, configs):
    """Those of plain layers, and of layers with auxiliary losses, which belong to a micro-batch."""
    found = torch.load(folder / f"{name}.pt")[fusion]
    model = tiny_model(fusion=configs[fusion])
    spoken, typed = split_by_audio(tiny_stream(model, samples_per_batch=1))
    totals = accumulate(model, NextToken(), [*spoken, *typed])
    assert found["count"] == totals.count
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(found["gradients"][name], parameter.grad, rtol=1e-4, atol=1e-6, msg=name)
    norms = gradients.norms(gradients.parts(model), Processes(0, 1, torch.device("cpu")))
    assert found["norms"] == pytest.approx(norms, rel=1e-4)
    assert norms["audio"] > 0


@pytest.mark.parametrize("name", ["found", "told"])
@pytest.mark.parametrize("fusion", fusion_configs())
def test_recomputed_activations_give_the_same_gradients_in_two_processes(folder, fusion, name):
    plain, again = (torch.load(folder / f"{file}.pt")[fusion] for file in (name, f"{name}_recomputed"))
    assert again["norms"] == plain["norms"]
    for name, gradient in plain["gradients"].items():
        assert torch.equal(again["gradients"][name], gradient), name


@pytest.mark.parametrize("name", NAMES)
def test_an_option_about_modalities_is_in_two_processes_what_it_is_in_one(folder, tmp_path, name):
    """Losses and scores with one medium alone, coefficients, noise, and the updates that follow from them."""
    trainer(tmp_path, tiny_model(), made(name), max_steps=4, log_every=1).fit()
    assert any(key.startswith("balance/") for key in read_metrics(tmp_path / "metrics.jsonl")[0])
    assert_close(folder / name, tmp_path)


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_contrastive_gradients_of_two_processes_equal_those_of_one(folder, kind):
    found, other = (torch.load(folder / f"{kind}_{rank}.pt") for rank in (0, 1))
    expected = gradients_of(kind)
    assert found["count"] == expected["count"]
    assert found["loss"] == pytest.approx(expected["loss"], rel=1e-5)
    assert [sum(pair) for pair in zip(found["aligned"], other["aligned"], strict=True)] == expected["aligned"]
    if kind == "both":  # or nothing would be seen of a process without any
        assert any(min(pair) == 0 < max(pair) for pair in zip(found["aligned"], other["aligned"], strict=True))
    for name, gradient in expected["gradients"].items():
        torch.testing.assert_close(found["gradients"][name], gradient, rtol=1e-4, atol=1e-6, msg=name)
    assert expected["gradients"]["shared_space.logit_scale"].abs().max() > 0


def test_a_space_of_anchors_is_fitted_and_learned_as_in_one_process(folder):
    found, expected = torch.load(folder / "anchored.pt"), anchored_update()
    assert found["loss"] == pytest.approx(expected["loss"], rel=1e-5)
    for group in ("gradients", "before", "after"):
        assert found[group].keys() == expected[group].keys()
        for name, value in expected[group].items():
            # An update of Muon has the same length however small the gradient is that rounding changes.
            torch.testing.assert_close(found[group][name], value, rtol=1e-3, atol=1e-5, msg=f"{group} {name}")
    anchors = [name for name in expected["before"] if name.startswith("shared_space.anchors")]
    assert all(expected["before"][name].any() for name in anchors)
    assert all(torch.equal(found["after"][name], found["before"][name]) for name in anchors), "nothing moves them"
    assert expected["gradients"]["shared_space.heads.image.weight"].any()


@pytest.mark.parametrize("saves_at", [None, 4])
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_parts_with_fewer_rows_than_processes_are_updated_as_in_one_process(folder, kind, saves_at):
    """Weights, average and state; a process that holds nothing of a matrix takes part all the same."""
    found, expected = torch.load(folder / "small.pt")[kind, saves_at], updates(kind)
    for step, (two, one) in enumerate(zip(found, expected, strict=True)):
        assert two["norms"] == pytest.approx(one["norms"], rel=1e-5)
        assert (one["norms"]["sensor"] == 0) == (step in UNUSED)
        for group in ("weights", "averages"):
            for name, value in one[group].items():
                torch.testing.assert_close(two[group][name], value, rtol=1e-5, atol=1e-6, msg=f"{step} {name}")


def test_a_training_of_two_processes_equals_that_of_one(folder, one_process):
    assert len(losses(folder / "two")) == 6
    assert_close(folder / "two", one_process)


def test_one_process_continues_what_two_began(folder, one_process, tmp_path):
    step_9 = tmp_path / "checkpoints" / "step_9"
    shutil.copytree(folder / "two" / "checkpoints" / "step_9", step_9)
    tiny_trainer(tmp_path, resume=tmp_path, evaluate=evaluate, **OPTIONS).fit()
    assert_close(tmp_path, one_process)


def test_two_processes_continue_what_one_began(folder, one_process):
    assert len(losses(folder / "begun")) == 6
    assert_close(folder / "begun", one_process)
    assert (folder / "said.txt").read_text().count("resumed by 2 processes, saved by 1: ") == 1


def test_adamw_with_decay_is_the_same_in_two_processes(folder, tmp_path):
    tiny_trainer(tmp_path, optimizer=adamw_with_decay, max_steps=4).fit()
    assert_close(folder / "adamw", tmp_path)


def test_a_frozen_encoder_with_lora_is_the_same_in_two_processes(folder, tmp_path):
    tiny_trainer(tmp_path, model=lora_model(), **OPTIONS).fit()
    assert_close(folder / "lora", tmp_path)
    two, one = (read_weights(resolve(run), averaged=True) for run in (folder / "lora", tmp_path))
    assert two.keys() == one.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=1e-4, msg=name)


def test_parameters_of_an_objective_are_the_same_in_two_processes(folder, tmp_path):
    """They are not sharded: each process adds the gradient of its samples, and their norm counts once."""
    tiny_trainer(tmp_path, objective=Probed(), **OPTIONS).fit()
    assert_close(folder / "probed", tmp_path)
    two, one = (read_tensors(resolve(run) / OBJECTIVE) for run in (folder / "probed", tmp_path))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=1e-4, msg=name)
