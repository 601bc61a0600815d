"""How long a training is: by steps, by epochs, by what its samples need, and by patience."""

from __future__ import annotations

import shutil

import pytest
from omegaconf import OmegaConf

from data.storage.run_log import read_metrics
from tests.training.tiny import same_metrics, tiny_trainer
from training.options import TrainerOptions
from training.preparation.length import DEFAULT_EPOCHS, FEWEST_STEPS, MOST_STEPS, with_length


def length(num_samples, resumed=False, **trainer):
    config = OmegaConf.create(
        {"data": {"samples_per_batch": 16}, "trainer": {"max_steps": None, "accumulation_steps": 1, **trainer}}
    )
    sources = {"a": (range(num_samples // 4), 1.0), "b": (range(num_samples - num_samples // 4), 5.0)}
    found, line = with_length(config, sources, resumed)
    assert config.trainer.max_steps == trainer.get("max_steps")
    return found.trainer.max_steps, line


def test_without_a_length_a_training_is_as_long_as_its_samples_need():
    steps, line = length(40)
    assert steps == FEWEST_STEPS
    assert line.startswith(f"trainer.max_steps={FEWEST_STEPS} (chosen;")
    assert "40 samples are seen 120 times" in line
    assert length(800)[0] == DEFAULT_EPOCHS * 800 / 16
    assert length(1_000_000)[0] == MOST_STEPS
    assert length(800, accumulation_steps=2)[0] == DEFAULT_EPOCHS * 800 / 32


def test_epochs_are_passes_over_all_samples():
    assert length(160, max_epochs=3)[0] == 30
    assert length(161, max_epochs=3)[0] == 31
    assert length(160, max_epochs=0.5)[0] == 5
    assert length(1, max_epochs=0.5)[0] == 1
    assert length(160, max_epochs=3, accumulation_steps=4)[0] == 8


def test_of_steps_and_epochs_the_first_ends_it():
    assert length(160, max_epochs=3, max_steps=20)[0] == 20
    assert length(160, max_epochs=3, max_steps=50)[0] == 30
    assert length(160, max_steps=50) == (50, "")


def test_a_resumed_run_keeps_its_steps_though_its_data_grew():
    assert length(1600, resumed=True, max_steps=30, max_epochs=3) == (30, "")


@pytest.mark.parametrize("changes", [{"patience": 2}, {"patience": 2, "best_metric": "x"}, {"patience": 0}])
def test_patience_without_what_it_counts_is_refused(changes):
    with pytest.raises(ValueError, match=f"patience={changes['patience']}"):
        TrainerOptions(max_steps=5, **changes)


SCORES = {2: 0.1, 4: 0.5, 6: 0.5, 8: 0.4, 10: 0.9, 12: 0.9}
PATIENT = {"max_steps": 12, "evaluate_every": 2, "checkpoint_every": 2, "keep_checkpoints": 9, "best_metric": "score"}


def scores(model, step):
    return {"score": SCORES[step]}


def test_a_training_stops_when_nothing_has_been_better_for_so_long(tmp_path):
    trainer = tiny_trainer(tmp_path / "run", evaluate=scores, **PATIENT, patience=2)
    assert trainer.fit().step == 8
    alert = read_metrics(tmp_path / "run/alerts.jsonl")[-1]
    assert alert["title"] == "early stopping"
    assert "score has not been better than 0.5 in the last 2 evaluations" in alert["text"]
    assert tiny_trainer(tmp_path / "other", evaluate=scores, **PATIENT, patience=3).fit().step == 12
    assert tiny_trainer(tmp_path / "third", evaluate=scores, **PATIENT).fit().step == 12


def test_a_smaller_score_is_better_where_it_is_a_loss(tmp_path):
    trainer = tiny_trainer(tmp_path / "run", evaluate=scores, **PATIENT, patience=2, best_mode="min")
    assert trainer.fit().step == 6


def test_patience_counts_on_through_a_resume(tmp_path):
    """Killed between two of the evaluations that it counts, and resumed after it has stopped."""
    tiny_trainer(tmp_path / "whole", evaluate=scores, **PATIENT, patience=2).fit()
    shutil.copytree(tmp_path / "whole", tmp_path / "run")
    shutil.rmtree(tmp_path / "run/checkpoints/step_8")
    resumed = tiny_trainer(
        tmp_path / "run", tmp_path / "run/checkpoints/step_6", evaluate=scores, **PATIENT, patience=2
    )
    assert resumed.fit().step == 8
    whole = read_metrics(tmp_path / "whole/metrics.jsonl")
    assert same_metrics(whole, read_metrics(tmp_path / "run/metrics.jsonl"))
    after = tiny_trainer(tmp_path / "run", tmp_path / "run/checkpoints/step_8", evaluate=scores, **PATIENT, patience=2)
    assert after.fit().step == 8
