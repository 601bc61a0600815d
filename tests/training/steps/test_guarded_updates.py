"""What stands between a gradient and the weights, in a training: clipping, and a guard that remembers over a resume."""

from __future__ import annotations

import pytest
import torch

from data.batching.collate import collate
from data.storage.run_log import read_metrics
from fusion.checkpoint import read_weights, resolve
from tests.training.tiny import tiny_model, tiny_stream, tiny_trainer
from training.optimizers.groups import Optimizers
from training.steps import gradients
from training.steps.anomaly import MIN_HISTORY, AnomalyError


def sgd(model):
    """Weights move by the rate times the gradient, so that the length of a step tells that of the gradient."""
    return Optimizers(model, [torch.optim.SGD(model.parameters(), lr=0.1)])


@pytest.mark.parametrize("clip_norm", [0.01, 1e6, None])
def test_an_update_is_as_long_as_the_clipped_gradient(tmp_path, clip_norm):
    tiny_trainer(tmp_path, optimizer=sgd, clip_norm=clip_norm, max_steps=1, log_every=1).fit()
    [line] = read_metrics(tmp_path / "metrics.jsonl")
    before, after = tiny_model().state_dict(), read_weights(resolve(tmp_path), averaged=False)
    moved = torch.cat([(after[name].double() - before[name].double()).flatten() for name in after]).norm()
    norm = line["grad_norm/total"]
    assert norm > 0.02
    expected = norm if clip_norm is None else min(norm, clip_norm)
    assert float(moved) == pytest.approx(line["train/learning_rate"] * expected, rel=1e-2)


def test_a_resumed_guard_knows_what_norms_are_usual(tmp_path, monkeypatch):
    """A spike in the first update after a resume is refused, as it would have been without the interruption."""
    options = {"spike_factor": 3.0, "checkpoint_every": None}
    tiny_trainer(tmp_path, max_steps=MIN_HISTORY + 1, **options).fit()
    norms = gradients.norms
    monkeypatch.setattr(gradients, "norms", lambda *given: {k: 1000 * v for k, v in norms(*given).items()})
    with pytest.raises(AnomalyError, match=rf"step {MIN_HISTORY + 2}: the gradient's norm is .*, usually"):
        tiny_trainer(tmp_path, resume=tmp_path, max_steps=MIN_HISTORY + 3, **options).fit()


def test_a_resumed_guard_goes_on_to_count_updates_that_were_not_made(tmp_path):
    stream, empty = tiny_stream(tiny_model()), collate([], skipped=("rows.jsonl:3: no such file",))
    options = {"load": lambda start, stop: (empty if index else stream[index] for index in range(start, stop))}
    options |= {"max_consecutive_skips": 3, "checkpoint_every": None}
    tiny_trainer(tmp_path, max_steps=3, **options).fit()  # the second and the third are not made
    with pytest.raises(AnomalyError, match=r"step 4: no supervised tokens; .*3 times in a row"):
        tiny_trainer(tmp_path, resume=tmp_path, max_steps=6, **options).fit()
