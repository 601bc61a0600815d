"""The loop: what is computed, judged, logged and averaged."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import pytest
import torch

from data.batching.collate import collate
from data.storage.run_log import read_metrics
from data.types import UNSUPERVISED
from fusion.checkpoint import read_weights, resolve
from tests.training.tiny import CONFIG, fusion_configs, tiny_model, tiny_stream, tiny_trainer
from training.distributed import Processes
from training.objectives.next_token import NextToken
from training.optimizers.groups import adamw, muon
from training.options import TrainerOptions
from training.steps import gradients
from training.steps.accumulation import accumulate
from training.steps.anomaly import AnomalyError, AnomalyGuard
from training.steps.ema import Ema

ALONE = Processes(0, 1, torch.device("cpu"))


def gradient_of(model):
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def test_next_token_equals_a_reference_written_out(device):
    model = tiny_model().to(device)
    batch = tiny_stream(model)[0].to(device)
    terms = NextToken()(model, batch)
    probabilities = model.logits(model(batch).states).log_softmax(-1)
    total, groups = 0.0, {}
    for row, column in (batch.labels != UNSUPERVISED).nonzero().tolist():
        loss = -probabilities[row, column, batch.labels[row, column]].item()
        name = batch.group_names[batch.label_groups[row, column]]
        total += loss
        groups[name] = (groups.get(name, (0.0, 0))[0] + loss, groups.get(name, (0.0, 0))[1] + 1)
    assert terms.count == batch.num_supervised
    assert terms.sum.item() == pytest.approx(total, rel=1e-5)
    assert {name: count for name, (_, count) in terms.groups.items()} == {n: c for n, (_, c) in groups.items()}
    for name, (loss, _) in terms.groups.items():
        assert loss.item() == pytest.approx(groups[name][0], rel=1e-5)


@pytest.mark.parametrize("sizes", [[12], [1, 4, 7], [5, 5, 2], [1] * 12])
def test_accumulated_micro_batches_equal_one_large_batch(sizes):
    """However uneven they are: a micro-batch with few supervised tokens must weigh little."""
    model = tiny_model()
    stream = tiny_stream(model, samples_per_batch=1, num_samples=50)
    items = [stream[index] for index in range(12)]
    counts = [item.num_supervised for item in items]
    assert max(counts) > 2 * min(counts)
    terms = [NextToken()(model, item) for item in items]
    (sum(term.sum for term in terms) / sum(counts)).backward()
    expected = gradient_of(model)
    model.zero_grad()
    larger = tiny_stream(model, samples_per_batch=12, num_samples=50)
    reader, places = larger.interleaver, iter(range(12))
    batches = []
    for size in sizes:
        chosen = [larger.mixture.at(next(places)) for _ in range(size)]
        batches.append(collate([[reader.document(sample, draws)] for _, sample, draws in chosen]))
    totals = accumulate(model, NextToken(), batches)
    assert totals.count == sum(counts)
    assert totals.mean == pytest.approx(sum(term.sum.item() for term in terms) / sum(counts), rel=1e-5)
    for name, gradient in gradient_of(model).items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-6, msg=name)


def test_a_last_window_with_fewer_batches_counts_for_what_it_has(tmp_path):
    """Five batches in windows of two: the third update is that of the fifth batch alone."""
    stream = tiny_stream(tiny_model())
    options = {"accumulation_steps": 2, "log_every": 1, "checkpoint_every": 2}
    trainer = tiny_trainer(tmp_path, load=lambda start, stop: (stream[i] for i in range(start, 5)), **options)
    assert trainer.fit().step == 3
    before = tiny_model()
    before.load_state_dict(read_weights(resolve(tmp_path / "checkpoints" / "step_2"), averaged=False))
    totals = accumulate(before, NextToken(), [stream[4]])
    line = read_metrics(tmp_path / "metrics.jsonl")[-1]
    assert line["train/loss"] == pytest.approx(totals.mean)
    assert line["grad_norm/total"] == pytest.approx(gradients.norms(gradients.parts(before), ALONE)["total"])


def test_every_parameter_gets_a_gradient_even_without_media():
    model = tiny_model()
    stream = tiny_stream(model, samples_per_batch=1)
    typed = next(stream[index] for index in range(20) if "audio" not in stream[index].media)
    accumulate(model, NextToken(), [typed])
    assert all(parameter.grad is not None for parameter in model.parameters())
    norms = gradients.norms(gradients.parts(model), ALONE)
    assert norms["audio"] == 0
    assert norms["image"] > 0
    assert set(norms) == {"text", "audio", "image", "modality_embedding", "fusion", "norm", "total"}
    reference = torch.cat([p.grad.flatten() for p in model.parameters()]).norm()
    assert norms["total"] == pytest.approx(reference.item(), rel=1e-5)


def test_clip_shrinks_only_what_is_too_large():
    model = tiny_model()
    accumulate(model, NextToken(), [tiny_stream(model)[0]])
    before, parts = gradient_of(model), gradients.parts(model)
    norm = gradients.norms(parts, ALONE)["total"]
    for limit in (None, norm * 2):
        gradients.clip(model, norm, limit)
        assert all(torch.equal(gradient, before[name]) for name, gradient in gradient_of(model).items())
    gradients.clip(model, norm, norm / 4)
    assert gradients.norms(parts, ALONE)["total"] == pytest.approx(norm / 4, rel=1e-4)


@pytest.mark.parametrize("optimizer", [partial(adamw, lr=1e-2), partial(muon, lr=0.05, adamw_lr=1e-2)])
def test_overfits_one_batch(tmp_path, device, optimizer):
    batch = tiny_stream(tiny_model())[0]
    options = {"max_steps": 80, "log_every": 80, "checkpoint_every": None, "device": str(device)}
    trainer = tiny_trainer(tmp_path, load=lambda a, b: [batch] * (b - a), optimizer=optimizer, **options)
    trainer.fit()
    with torch.no_grad():
        terms = NextToken()(trainer.model, batch.to(device))
    assert terms.sum.item() / terms.count < 0.1


@pytest.mark.parametrize("changes", [{"precision": "bfloat16"}, {"accumulation_steps": 3}, {"clip_norm": None}])
def test_options_train(tmp_path, changes):
    assert math.isfinite(_last_loss(tmp_path, max_steps=4, **changes))


@pytest.mark.parametrize("fusion", fusion_configs())
def test_every_fusion_method_trains_in_bfloat16(tmp_path, device, fusion):
    model = tiny_model(fusion=fusion_configs()[fusion])
    options = {"max_steps": 2, "precision": "bfloat16", "device": str(device)}
    assert math.isfinite(_last_loss(tmp_path, model=model, **options))


def test_compiled_blocks_compute_the_same(tmp_path, monkeypatch):
    """Captured and differentiated by torch.compile; its code generator is left out, it takes minutes."""
    original, compiled = torch.nn.Module.compile, []

    def captured(module, **options):
        compiled.append(type(module).__name__)
        original(module, backend="aot_eager", **options)

    monkeypatch.setattr(torch.nn.Module, "compile", captured)
    mixer = {**CONFIG["fusion"]["mixer"], "implementation": "sdpa"}
    fusion = {**CONFIG["fusion"], "num_layers": 1, "mixer": mixer}
    options = {"max_steps": 1, "log_every": 1}
    expected = _last_loss(tmp_path / "eager", model=tiny_model(fusion=fusion), **options)
    run = tmp_path / "compiled"
    found = _last_loss(run, model=tiny_model(fusion=fusion), compile=True, **options)
    assert compiled == ["Block"]
    assert found == pytest.approx(expected, rel=1e-5)
    assert read_weights(resolve(run), averaged=False).keys() == tiny_model(fusion=fusion).state_dict().keys()


def _last_loss(run, **changes):
    tiny_trainer(run, **changes).fit()
    return read_metrics(run / "metrics.jsonl")[-1]["train/loss"]


def test_ema_follows_its_formula():
    model = torch.nn.Linear(2, 2, bias=False)
    ema = Ema(model, decay=0.3)
    expected = model.weight.detach().clone()
    for update in range(1, 6):
        with torch.no_grad():
            model.weight.add_(1.0)
        ema.update()
        decay = min(0.3, (1 + update) / (10 + update))
        expected = decay * expected + (1 - decay) * model.weight.detach()
        torch.testing.assert_close(ema.full_averages()["weight"], expected)


def test_evaluation_sees_the_average_and_training_does_not(tmp_path):
    seen = []

    def evaluate(model, step):
        seen.append({name: value.clone() for name, value in model.state_dict().items()})
        return {}

    trainer = tiny_trainer(tmp_path, ema_decay=0.9, evaluate=evaluate, max_steps=3)
    trainer.fit()
    averages = trainer.ema.full_averages()
    assert all(torch.equal(seen[-1][name], average) for name, average in averages.items())
    assert any(not torch.equal(p, averages[name]) for name, p in trainer.model.named_parameters())
    assert trainer.model.training


def poisoned(stream, numbers):
    """Batches in which the images of these numbers are not a number."""

    def load(start, stop):
        for index in range(start, stop):
            batch = stream[index]
            image = batch.media["image"]
            if index in numbers:
                image = replace(image, values=image.values * math.nan)
            yield replace(batch, media={**batch.media, "image": image})

    return load


class Alerts:
    """Collects alerts in place of a tracker."""

    def __init__(self, tracker):
        self.tracker, self.levels = tracker, []

    def alert(self, title, text, level):
        self.levels.append(level)

    def __getattr__(self, name):
        return getattr(self.tracker, name)


def test_a_loss_that_is_not_a_number_stops_before_it_reaches_the_weights(tmp_path):
    trainer = tiny_trainer(tmp_path, load=poisoned(tiny_stream(tiny_model()), {4}), log_every=1)
    trainer.report.tracker = Alerts(trainer.report.tracker)
    with pytest.raises(AnomalyError, match=r"step 5: the loss is nan; .*skip would go on.*step_3"):
        trainer.fit()
    assert "error" in trainer.report.tracker.levels
    assert all(parameter.isfinite().all() for parameter in trainer.model.parameters())


def test_skipped_updates_are_counted_and_leave_no_mark(tmp_path):
    stream = tiny_stream(tiny_model())
    trainer = tiny_trainer(tmp_path, load=poisoned(stream, {4, 6}), on_anomaly="skip", log_every=1)
    trainer.report.tracker = Alerts(trainer.report.tracker)
    assert trainer.fit().step == 12
    assert trainer.report.tracker.levels.count("warn") >= 2
    lines = read_metrics(tmp_path / "metrics.jsonl")
    assert lines[-1]["train/skipped_updates"] == 2
    assert "train/loss" not in lines[4]
    assert all(math.isfinite(line["train/loss"]) for line in lines if line["step"] not in (5, 7))


def test_too_many_skips_in_a_row_stop(tmp_path):
    load = poisoned(tiny_stream(tiny_model()), set(range(4, 12)))
    trainer = tiny_trainer(tmp_path, load=load, on_anomaly="skip", max_consecutive_skips=3)
    with pytest.raises(AnomalyError, match=r"step 7: .*3 times in a row"):
        trainer.fit()


def test_a_spike_is_judged_by_the_usual_norm():
    guard = AnomalyGuard(spike_factor=3.0)
    assert guard.judge(1.0, 100.0) is None  # no history yet
    for _ in range(30):
        assert guard.judge(1.0, 1.0) is None
    assert guard.judge(1.0, 2.9) is None
    assert "norm is 3.1, usually 1" in guard.judge(1.0, 3.1)
    assert guard.judge(math.inf, 1.0) == "the loss is inf"
    assert guard.judge(1.0, math.nan) == "the gradient's norm is nan"
    assert guard.consecutive == 3
    restored = AnomalyGuard(spike_factor=3.0)
    restored.load_state_dict(guard.state_dict())
    assert restored.judge(1.0, 3.1) is not None
    assert AnomalyGuard(None).judge(1.0, 1e9) is None


def test_a_batch_without_supervision_is_passed_over(tmp_path):
    stream = tiny_stream(tiny_model())

    def load(start, stop):
        for index in range(start, stop):
            empty = collate([], skipped=("rows.jsonl:3: no such file",))
            yield empty if index == 1 else stream[index]

    result = tiny_trainer(tmp_path, load=load, max_steps=3, log_every=1).fit()
    assert result.skipped_samples == 1
    lines = read_metrics(tmp_path / "metrics.jsonl")
    assert [line["data/skipped"] for line in lines] == [0, 1, 1]
    assert lines[-1]["train/skipped_updates"] == 1


def test_a_training_of_which_nothing_can_be_used_stops(tmp_path):
    empty = collate([], skipped=("rows.jsonl:3: no such file",))
    trainer = tiny_trainer(tmp_path, load=lambda start, stop: [empty] * (stop - start), max_consecutive_skips=4)
    with pytest.raises(AnomalyError, match=r"step 4: no supervised tokens; .*4 times in a row"):
        trainer.fit()


def test_what_is_logged(tmp_path):
    tiny_trainer(tmp_path, max_steps=6, log_every=3).fit()
    first, last = read_metrics(tmp_path / "metrics.jsonl")
    for name in ("seconds", "tokens", "train/loss", "train/learning_rate", "train/tokens_per_second", "time/step"):
        assert last[name] > 0, name
    assert 0 < last["data/packing_efficiency"] <= 1
    assert 0 < last["time/data"] < last["time/step"]
    assert last["memory/peak_mb"] > 10
    assert {"train/loss/memory/audio", "train/loss/memory/text"} <= last.keys()
    assert {f"grad_norm/{part}" for part in ("audio", "image", "text", "fusion", "total")} <= last.keys()
    assert last["tokens"] > first["tokens"]


def test_the_logged_loss_is_the_mean_over_the_tokens_of_the_window(tmp_path):
    tiny_trainer(tmp_path / "one", max_steps=3, log_every=1).fit()
    tiny_trainer(tmp_path / "three", max_steps=3, log_every=3).fit()
    stream = tiny_stream(tiny_model())
    counts = [stream[index].num_supervised for index in range(3)]
    each = [line["train/loss"] for line in read_metrics(tmp_path / "one" / "metrics.jsonl")]
    expected = sum(loss * count for loss, count in zip(each, counts, strict=True)) / sum(counts)
    assert read_metrics(tmp_path / "three" / "metrics.jsonl")[0]["train/loss"] == pytest.approx(expected)


def test_the_progress_says_where_it_is(tmp_path, capsys):
    tiny_trainer(tmp_path, max_steps=4).fit()
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("step 4/4  loss ") and "tokens/s" in line and "left" in line for line in lines)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"max_steps": 0}, "max_steps=0"),
        ({"clip_norm": -1.0}, "clip_norm=-1.0"),
        ({"ema_decay": 1.0}, "ema_decay=1.0"),
        ({"precision": "fp8"}, "precision='fp8'"),
        ({"on_anomaly": "ignore"}, "on_anomaly='ignore'"),
        ({"best_mode": "largest"}, "best_mode='largest'"),
        (
            {"best_metric": "val/loss", "best_mode": "max"},
            "best_mode=max must be min, or null: val/loss is better when",
        ),
        ({"best_metric": "val/t/accuracy", "best_mode": "min"}, "best_mode=min must be max"),
        ({"spike_factor": 1.0}, "spike_factor=1.0"),
    ],
)
def test_wrong_options_are_named(changes, name):
    with pytest.raises(ValueError, match=name):
        TrainerOptions(**{"max_steps": 10, **changes})


def test_an_unknown_device_is_named(tmp_path):
    with pytest.raises(ValueError, match="device=gpu is not there; this machine has"):
        tiny_trainer(tmp_path, device="gpu")
