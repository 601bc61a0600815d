"""What ends a bake-off before or soon after its first training, and the schedule of its tuning."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra

from bakeoff.execute import DIVERGED, ENDED, Runner
from bakeoff.prepare import configuration, prepared
from bakeoff.run import tune
from bakeoff.settings import Bakeoff, Tuning
from bakeoff.trials import tuning_trials
from data.types import BadInputError

CONTRAST = {"method": "late", "against": "early", "task": "easy_vqa/typed", "budget": "flops"}
SETTINGS = Bakeoff(
    base=["experiment=easy_vqa", "trainer.max_steps=200"],
    methods={"early": ["fusion=early"], "late": ["fusion=late"]},
    tuning=Tuning("optimizer.lr", [0.01, 0.02], ["trainer.max_steps=90"]),
    contrasts=[CONTRAST],
)


def test_a_warm_up_in_steps_is_scaled_in_the_tuning() -> None:
    given = replace(SETTINGS, base=[*SETTINGS.base, "schedule.warmup_steps=40"])
    overrides = prepared(given).tuning.overrides
    assert list(overrides) == ["trainer.max_steps=90", "schedule.warmup_steps=18"]
    assert configuration([*given.base, *overrides])["schedule"]["warmup_steps"] == 18


def test_fractions_scale_by_themselves() -> None:
    assert prepared(SETTINGS) == SETTINGS


def test_a_tuning_with_another_schedule_is_refused() -> None:
    overrides = [*SETTINGS.tuning.overrides, "schedule.decay_fraction=0.1"]
    with pytest.raises(BadInputError, match=r"tuning.overrides: changes the schedule, so that what is tuned would"):
        prepared(replace(SETTINGS, tuning=replace(SETTINGS.tuning, overrides=overrides)))


def test_a_contrast_in_a_task_that_nobody_is_asked_is_refused() -> None:
    wrong = replace(SETTINGS, contrasts=[CONTRAST, {**CONTRAST, "task": "typed"}])
    known = "easy_vqa/typed, easy_vqa/spoken, easy_vqa/spoken_piper"
    message = rf"^bakeoff.contrasts\[1\]: task=typed must be one of {known}, which the runs are"
    with pytest.raises(BadInputError, match=message):
        prepared(wrong)


def test_a_contrast_in_a_task_that_would_be_left_out_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the trainings, not after them."""
    monkeypatch.setitem(sys.modules, "piper", None)
    wrong = replace(SETTINGS, contrasts=[{**CONTRAST, "task": "easy_vqa/spoken_piper"}])
    message = r"^bakeoff.contrasts\[0\]: task=easy_vqa/spoken_piper needs what is not installed here"
    with pytest.raises(BadInputError, match=message):
        prepared(wrong)


def test_a_file_that_nobody_could_be_asked_is_refused_before_the_tuning(tmp_path: Path) -> None:
    """The trainings of the tuning have no evaluation that would find it."""
    rows = tmp_path / "rows.jsonl"
    base = ["data=manifest", f"data.train={rows}", f"data.evaluation={rows}"]
    given = replace(SETTINGS, base=base, contrasts=[{**CONTRAST, "task": "manifest"}])
    with pytest.raises(BadInputError, match=r"^evaluation\.tasks\.manifest: .*rows\.jsonl: cannot be read"):
        prepared(given)
    rows.write_text('{"aligned": [{"type": "text", "text": "a"}]}\n', encoding="utf-8")
    with pytest.raises(BadInputError, match=r"^evaluation\.tasks\.manifest: .*rows\.jsonl:1 .*=retrieval_manifest"):
        prepared(given)


def test_an_override_that_train_does_not_know_is_one_line() -> None:
    with pytest.raises(BadInputError, match=r"bakeoff: train.py cannot take these overrides: .*max_step") as refused:
        prepared(replace(SETTINGS, base=["trainer.max_step=3"]))
    assert "\n" not in str(refused.value)


def test_the_configuration_of_the_command_is_left_alone() -> None:
    with initialize_config_module("conf", version_base="1.3"):
        outer = GlobalHydra.instance().hydra
        prepared(SETTINGS)
        assert GlobalHydra.instance().hydra is outer
        compose("compare")


def test_a_method_that_diverges_with_every_value_ends_the_bakeoff(tmp_path: Path) -> None:
    """Before a method is trained at the cost of it, or with a value that did not work."""
    runner = Runner(tmp_path, "b")
    for trial in tuning_trials(SETTINGS, "early", {}).values():
        runner.run_folder(trial).mkdir(parents=True)
        (runner.run_folder(trial) / ENDED).write_text(DIVERGED, encoding="utf-8")
    message = r"^early diverged with every value of optimizer.lr that was tried \(0.01, 0.02\); give others, usually"
    with pytest.raises(BadInputError, match=message):
        tune(SETTINGS, runner)
    assert {path.name for path in (tmp_path / "b").iterdir()} == {"tune-early-0.01", "tune-early-0.02"}
