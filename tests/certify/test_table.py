from __future__ import annotations

import io
import json
import math
from pathlib import Path

import pytest
from rich.console import Console

from certify.result import EFFECT, EXACT, ROUNDING, Result, at_least, at_most, not_carried_out
from certify.table import markdown, print_table, write

RESULTS = [
    at_most("packed = unpacked", 2e-15, ROUNDING, "10 documents"),
    at_least("the past reaches the present", 0.5, EFFECT, "71 segments"),
    at_most("counts", 3, EXACT, "media_encoders[audio] has 3 too many"),
    not_carried_out("cached", NotImplementedError("no cache")),
]


@pytest.mark.parametrize(("deviation", "passed"), [(0.0, True), (1e-9, True), (2e-9, False), (math.nan, False)])
def test_at_most(deviation: float, passed: bool) -> None:
    assert at_most("check", deviation, ROUNDING, "").passed is passed


@pytest.mark.parametrize(("effect", "passed"), [(0.0, False), (1e-7, False), (1.0, True), (math.nan, False)])
def test_at_least(effect: float, passed: bool) -> None:
    assert at_least("check", effect, EFFECT, "").passed is passed


@pytest.mark.parametrize("width", [80, 200])
def test_table_says_what_failed_at_any_width(width: int) -> None:
    text = io.StringIO()
    print_table(RESULTS, "certify", Console(file=text, width=width))
    shown = text.getvalue()
    assert shown.count("pass") == 2
    assert "FAIL counts: media_encoders[audio] has 3 too many" in shown
    assert "2.0e-15" in shown


def test_files_hold_every_result_and_the_reason_of_its_tolerance(tmp_path: Path) -> None:
    write(RESULTS, tmp_path / "new" / "folder", {"command": "certify.py fusion=early", "seed": 0})
    report = json.loads((tmp_path / "new" / "folder" / "certify.json").read_text(encoding="utf-8"))
    assert report["passed"] is False
    assert [check["name"] for check in report["checks"]] == [result.name for result in RESULTS]
    assert report["checks"][-1]["deviation"] == "Infinity"
    text = (tmp_path / "new" / "folder" / "certify.md").read_text(encoding="utf-8")
    assert text == markdown(RESULTS, {"command": "certify.py fusion=early"})
    for result in RESULTS:
        assert result.reason in text


def test_a_list_of_results_without_failures_passes(tmp_path: Path) -> None:
    sound: list[Result] = RESULTS[:2]
    write(sound, tmp_path, {})
    assert json.loads((tmp_path / "certify.json").read_text(encoding="utf-8"))["passed"] is True
