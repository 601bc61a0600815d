"""What ends a bake-off before its first training."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra

from bakeoff.prepare import check
from bakeoff.settings import Bakeoff
from data.types import BadInputError

CONTRAST = {"method": "late", "against": "early", "task": "easy_vqa/typed", "budget": "flops"}
SETTINGS = Bakeoff(
    base=["experiment=easy_vqa", "trainer.max_steps=200"],
    methods={"early": ["fusion=early"], "late": ["fusion=late"]},
    contrasts=[CONTRAST],
)


def test_a_warm_up_in_steps_is_refused_where_lengths_differ() -> None:
    given = replace(SETTINGS, base=[*SETTINGS.base, "schedule.warmup_steps=40"])
    check(given)
    with pytest.raises(BadInputError, match=r"schedule\.warmup_steps: would be another part of every length"):
        check(replace(given, lengths={"short": 1e12, "long": 2e12}))


def test_a_contrast_in_a_task_that_nobody_is_asked_is_refused() -> None:
    wrong = replace(SETTINGS, contrasts=[CONTRAST, {**CONTRAST, "task": "typed"}])
    known = "easy_vqa/typed, easy_vqa/spoken, easy_vqa/spoken_piper"
    message = rf"^bakeoff.contrasts\[1\]: task=typed must be one of {known}, which the runs are"
    with pytest.raises(BadInputError, match=message):
        check(wrong)


def test_a_contrast_in_a_task_that_would_be_left_out_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the trainings, not after them."""
    monkeypatch.setitem(sys.modules, "piper", None)
    wrong = replace(SETTINGS, contrasts=[{**CONTRAST, "task": "easy_vqa/spoken_piper"}])
    message = r"^bakeoff.contrasts\[0\]: task=easy_vqa/spoken_piper needs what is not installed here"
    with pytest.raises(BadInputError, match=message):
        check(wrong)


def test_a_file_that_nobody_could_be_asked_is_refused_before_the_tuning(tmp_path: Path) -> None:
    """The trainings of the tuning have no evaluation that would find it."""
    rows = tmp_path / "rows.jsonl"
    base = ["data=manifest", f"data.train={rows}", f"data.evaluation={rows}"]
    given = replace(SETTINGS, base=base, contrasts=[{**CONTRAST, "task": "manifest"}])
    with pytest.raises(BadInputError, match=r"^evaluation\.tasks\.manifest: .*rows\.jsonl: cannot be read"):
        check(given)
    rows.write_text('{"aligned": [{"type": "text", "text": "a"}]}\n', encoding="utf-8")
    with pytest.raises(BadInputError, match=r"^evaluation\.tasks\.manifest: .*rows\.jsonl:1 .*=retrieval_manifest"):
        check(given)


def test_an_override_that_train_does_not_know_is_one_line() -> None:
    with pytest.raises(BadInputError, match=r"bakeoff: train.py cannot take these overrides: .*max_step") as refused:
        check(replace(SETTINGS, base=["trainer.max_step=3"]))
    assert "\n" not in str(refused.value)


def test_the_configuration_of_the_command_is_left_alone() -> None:
    with initialize_config_module("conf", version_base="1.3"):
        outer = GlobalHydra.instance().hydra
        check(SETTINGS)
        assert GlobalHydra.instance().hydra is outer
        compose("compare")
