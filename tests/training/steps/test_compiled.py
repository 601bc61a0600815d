"""Blocks under torch.compile compute what they compute without, whatever the fusion method does with its tokens."""

from __future__ import annotations

import pytest
import torch
from torch._dynamo import lookup_backend, reset

from tests.training.telling import telling_configs
from tests.training.tiny import fusion_configs, tiny_model, tiny_stream, tiny_trainer
from training.distributed import blocks
from training.objectives.next_token import NextToken
from training.steps.accumulation import accumulate


def methods():
    """Name -> config of one layer, for each kind of method; with weights of each modality where there is the choice.

    Methods of a kind compile alike: their blocks are of the same classes, and run over the whole sequence or not.
    """
    kinds = {}
    for name, config in fusion_configs().items():
        config = {**config, "num_layers": 1}
        model = tiny_model(fusion=config)
        kind = (type(model.fusion).layers, frozenset(type(block) for block in blocks(model)))
        kinds.setdefault(kind, (name, config))
    telling = {"telling": {**telling_configs()["early"], "num_layers": 1}}
    return dict(kinds.values()) | telling


@pytest.fixture
def graphs(monkeypatch):
    """What torch.compile captures; what it would make of it is left out, that takes minutes."""
    captured, original = [], torch.compile

    def backend(graph, inputs):
        captured.append(graph)
        return lookup_backend("eager")(graph, inputs)

    def compiled(function, **options):
        return original(function, **{**options, "backend": backend})

    monkeypatch.setattr(torch, "compile", compiled)
    reset()
    yield captured
    reset()


@pytest.mark.parametrize("recompute", ["none", "blocks"])
@pytest.mark.parametrize(("fusion", "config"), methods().items())
def test_a_compiled_step_is_a_plain_one(tmp_path, graphs, fusion, config, recompute):
    """Loss and gradients of an update of two batches that differ in their length and in how many tokens are of what."""
    plain = tiny_model(fusion=config)
    trainer = tiny_trainer(tmp_path, model=tiny_model(fusion=config), compile=True, recompute=recompute)
    stream = tiny_stream(plain)
    first = stream[0]
    batches = [first, next(stream[i] for i in range(1, 20) if stream[i].token_ids.shape != first.token_ids.shape)]
    expected, found = (accumulate(model, NextToken(), batches) for model in (plain, trainer.model))
    assert found.mean == pytest.approx(expected.mean, rel=1e-5)
    said, wanted = ({n: s / c for n, (s, c) in totals.statistics.items()} for totals in (found, expected))
    assert said == pytest.approx(wanted, rel=1e-5)
    assert bool(found.statistics) == (fusion == "telling")
    # The same arithmetic in float32, where torch may choose other kernels.
    for (name, parameter), other in zip(plain.named_parameters(), trainer.model.parameters(), strict=True):
        torch.testing.assert_close(other.grad, parameter.grad, rtol=1e-4, atol=1e-6, msg=name)
    multiplied = [node for graph in graphs for node in graph.graph.nodes if "linear" in str(node.target)]
    assert multiplied, "nothing was captured that is worth it"
