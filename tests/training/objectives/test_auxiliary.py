"""Auxiliary losses of layers train, and what layers count is logged, in every fusion method."""

from __future__ import annotations

import pytest
import torch

from data.storage.run_log import read_metrics
from data.types import PADDING_DOCUMENT
from fusion.hidden import Aux, Hidden, joined
from tests.training.telling import PULL, Telling, telling_configs
from tests.training.tiny import tiny_model, tiny_stream, tiny_trainer
from training.distributed import blocks
from training.objectives.base import LossTerms, Objective
from training.objectives.next_token import NextToken
from training.steps.accumulation import StepTotals, accumulate
from training.steps.recompute import recompute
from training.steps.statistics import Statistics
from training.steps.window import Window

METHODS = telling_configs()
LAYERS = {name: ["layer_1", "layer_2"] for name in METHODS}
LAYERS["cross_attention"] = ["cross_1", "cross_2", "layer_1", "layer_2", "media_layer_1", "media_layer_2"]


def gradients(model, batches):
    accumulate(model, NextToken(), batches)
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("method", METHODS)
def test_a_loss_of_known_gradient_trains_and_recomputing_changes_nothing(method):
    """Whatever the number of micro-batches, and of supervised tokens in each: a loss is added to that of each token."""
    model, frugal = tiny_model(fusion=METHODS[method]), tiny_model(fusion=METHODS[method])
    stream = tiny_stream(model)
    batches = [stream[0], stream[1]]
    assert batches[0].num_supervised != batches[1].num_supervised
    calls = dict.fromkeys((n for n, m in model.named_modules() if isinstance(m, Telling)), 0)

    def called(name):
        def count(*call):
            calls[name] += 1

        return count

    hooks = [model.get_submodule(name).register_forward_hook(called(name)) for name in calls]
    model(batches[0])
    for hook in hooks:
        hook.remove()
    found = gradients(model, batches)
    assert min(calls.values()) > 0
    for name, count in calls.items():
        torch.testing.assert_close(found[f"{name}.offset"], count * torch.tensor(PULL))
    recompute(blocks(frugal))
    again = gradients(frugal, batches)
    assert all(torch.equal(again[name], gradient) for name, gradient in found.items())


@pytest.mark.parametrize("method", METHODS)
def test_the_gradient_is_that_of_the_loss_written_out(method):
    """The mean loss of tokens and the auxiliary losses of a batch; without these it is that of layers that are mute."""
    model, mute = tiny_model(fusion=METHODS[method]), tiny_model(fusion=telling_configs(tells=False)[method])
    batch = tiny_stream(model)[0]
    found, plain = gradients(model, [batch]), gradients(mute, [batch])
    model.zero_grad()
    states, aux = model(batch)
    terms = NextToken().terms(model, states, batch)
    (terms.sum / terms.count + aux.losses["pull"] + aux.losses["size"]).backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-4, atol=1e-6, msg=name)
    assert not all(torch.allclose(found[name], plain[name]) for name in found if name.startswith("media_encoders"))
    model.zero_grad()
    NextToken().terms(model, model(batch).states, batch).sum.backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad / terms.count, plain[name], rtol=1e-4, atol=1e-6, msg=name)
    assert mute(batch).aux is None


@pytest.mark.parametrize("method", METHODS)
def test_tokens_are_counted_by_layer_and_modality(method):
    model = tiny_model(fusion=METHODS[method])
    batch = tiny_stream(model)[0]
    counts = model(batch).aux.counts
    assert sorted(counts) == [f"signs/{layer}" for layer in LAYERS[method]]
    valid = batch.document_ids != PADDING_DOCUMENT
    own = [int((valid & (batch.modality_ids == modality)).sum()) for modality in range(len(model.modalities))]
    assert all(own)
    seen = {"text": [own[0], 0, 0], "media": [0, *own[1:]], "all": own}
    for name, counts_ME in counts.items():
        kind = "all"
        if method == "cross_attention":
            kind = "media" if "media" in name else "text"
        extra = model.fusion.num_bottlenecks * len(own[1:]) if method == "bottleneck" else 0
        found = counts_ME.sum(1).tolist()
        if extra:
            assert all(a > b for a, b in zip(found, own, strict=True)), "bottleneck tokens are counted with a modality"
        else:
            assert found == seen[kind]


def test_what_layers_say_is_logged_and_survives_a_resume(tmp_path):
    options = {"log_every": 3, "max_steps": 6, "checkpoint_every": 2}

    def run(name, **changes):
        model = tiny_model(fusion=METHODS["cross_attention"])
        tiny_trainer(tmp_path / name, model=model, **{**options, **changes}).fit()
        return read_metrics(tmp_path / name / "metrics.jsonl")[-1]

    whole = run("whole")
    run("parts", max_steps=2)
    parts = run("parts", resume=tmp_path / "parts")
    said = {key: value for key, value in whole.items() if key.startswith(("train/aux", "signs"))}
    assert {key: parts[key] for key in said} == said
    assert said["signs/cross_1/text/0"] + said["signs/cross_1/text/1"] == pytest.approx(1.0)
    assert {"train/aux/pull", "train/aux/size", "signs/media_layer_1/image/1"} <= said.keys()
    assert not any(key.startswith("signs/layer_1/image") for key in said), "no image passes a layer of text"


def test_each_term_has_the_losses_added_and_counts_are_shares():
    aux = Aux({"balance": torch.tensor(0.5)}, {"experts/layer_1": torch.tensor([[3, 1], [0, 0]])})

    class Ones(Objective):
        def terms(self, model, hidden_BLD, batch):
            return LossTerms(hidden_BLD.sum(), hidden_BLD.numel())

    terms = Ones()(lambda batch: Hidden(torch.ones(1, 2, 3), aux), None)
    assert float(terms.sum) == 6 * (1 + 0.5)
    statistics = Statistics(("text", "image"))
    statistics.add(terms.aux, terms.count)
    statistics.add(Aux({"balance": torch.tensor(2.0)}, {"experts/layer_1": torch.tensor([[0, 4], [0, 1]])}), 2)
    statistics.add(None, 0)
    window = Window()
    window.add(StepTotals(9.0, 8, 10, 10, 0, (), {}, statistics.pairs()), seconds=1.0, data_seconds=0.0, accepted=True)
    window = Window.merge([window.state_dict(), Window().state_dict()])
    found = {key: value for key, value in window.metrics().items() if key.startswith(("train/aux", "experts"))}
    assert found == {
        "train/aux/balance": (0.5 * 6 + 2.0 * 2) / 8,
        "experts/layer_1/text/0": 3 / 8,
        "experts/layer_1/text/1": 5 / 8,
        "experts/layer_1/image/0": 0.0,
        "experts/layer_1/image/1": 1.0,
    }
    with pytest.raises(ValueError, match=r"'experts' have the shape \(4,\); it must be \[modalities"):
        statistics.add(Aux({}, {"experts": torch.ones(4)}), 1)


def test_a_window_of_an_older_checkpoint_is_read():
    state = Window(steps=2).state_dict()
    del state["statistics"]
    assert Window.merge([Window(**state).state_dict()]).metrics()["time/step"] == 0


def test_losses_of_one_name_are_added():
    one, other = Aux({"a": torch.tensor(1.0)}, {}), Aux({"a": torch.tensor(2.0), "b": torch.tensor(5.0)}, {})
    found = joined([None, one, other])
    assert {name: float(value) for name, value in found.losses.items()} == {"a": 3.0, "b": 5.0}
    assert joined([None, None]) is None
