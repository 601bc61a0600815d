"""Agreement and conflicts in `report.md` and in a figure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from data.display.drawing import save_all
from evaluation.reports.agreement_report import agreement_lines, agreement_pictures
from evaluation.reports.report import to_markdown


def score(value: float, n: int = 100) -> dict[str, Any]:
    return {"value": value, "low": value - 0.05, "high": value + 0.05, "n": n}


def agreement(observed: float, chance: float, kappa: float | None) -> dict[str, Any]:
    return {"observed": score(observed), "chance": chance, "kappa": None if kappa is None else score(kappa)}


FOUND = {
    "pairs": [
        {
            "sides": ["a/typed", "a/spoken"], "carriers": ["text", "audio"], "n": 100,
            "left_out": {"unanswered": 0, "other_answer": 0}, "accuracy": [score(0.9), score(0.8)],
            "counts": {"both_right": 75, "only_first": 15, "only_second": 5, "both_wrong": 5},
            "answers": agreement(0.77, 0.3, 0.671), "right": agreement(0.8, 0.74, 0.231),
            "wrong": {"observed": score(0.4, 5), "chance": 0.25},
        },
        {
            "sides": ["a/typed", "$x$ | b"], "carriers": ["text", ""], "n": 10,
            "left_out": {"unanswered": 0, "other_answer": 0}, "accuracy": [score(0.9), score(0.9)],
            "counts": {"both_right": 10, "only_first": 0, "only_second": 0, "both_wrong": 0},
            "answers": agreement(0.9, 1.0, None), "right": agreement(0.9, 1.0, None),
            "wrong": {"observed": None, "chance": None},
        },
    ],
    "families": [{"sides": ["a", "b", "c"], "n": 9, "answers": agreement(0.9, 0.3, 0.512)}],
    "conflicts": [
        {
            "tasks": ["a/typed", "a/spoken"], "made": True, "n": 60, "skipped": 0,
            "follows": {"text": score(0.61), "audio": score(0.29), "neither": score(0.1)},
            "agreeing": score(0.95), "last": score(0.52, 54),
            "admits": {"conflict": score(0.3), "agreeing": score(0.06)},
            "probability": {"conflict": score(0.7), "agreeing": score(0.9)}, "auroc": score(0.84, 120),
        },
        {
            "tasks": ["d"], "made": False, "n": 8, "skipped": 0,
            "follows": {"image": score(0.5), "audio": score(0.5), "neither": score(0.05)}, "agreeing": None,
            "accuracy": score(0.5), "probability": {"conflict": None, "agreeing": None}, "auroc": None,
        },
    ],
}  # fmt: skip


def test_tables_have_every_number(report: dict[str, Any]) -> None:
    page = to_markdown({**report, "agreement": FOUND}, {})
    assert "| a/typed and a/spoken | 100 | 90.0 [85.0, 95.0], 80.0 [75.0, 85.0] | 75 (75.0) | 15 (15.0) |" in page
    assert "| 0.671 [0.621, 0.721] | 0.231 [0.181, 0.281] | 74.0 of 80.0 | 40.0 [35.0, 45.0] n=5 | 25.0 |" in page
    assert "| a and b and c | 0.512 [0.462, 0.562] |" in page
    assert "text 61.0 [56.0, 66.0], audio 29.0 [24.0, 34.0], neither 10.0 [5.0, 15.0]" in page
    assert "| 84.0 [79.0, 89.0] n=120 | 30.0 [25.0, 35.0] n=100 against 6.0 [1.0, 11.0] n=100 |" in page
    assert "| d, its own | 8 |" in page
    assert "\\$x\\$ \\| b" in page


def test_a_report_without_agreement_is_as_before(report: dict[str, Any]) -> None:
    assert agreement_lines(report) == []
    assert agreement_pictures(report) == {}
    assert "kappa" not in to_markdown(report, {})


def test_the_figure_is_drawn_of_either_part(tmp_path: Path) -> None:
    for number, parts in enumerate((("pairs", "conflicts"), ("pairs",), ("conflicts",))):
        found = {"agreement": {part: FOUND[part] for part in parts}}
        (path,) = save_all(agreement_pictures(found), tmp_path / str(number)).values()
        assert path.stat().st_size > 5000
    assert agreement_pictures({"agreement": {"pairs": [], "conflicts": [], "families": []}}) == {}
