"""One module reads what a run wrote about itself: strictly where numbers are compared, leniently for reports."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from data.storage.run_log import curves, last_values, read_metrics, read_summary, readable_lines
from data.types import BadInputError

REPOSITORY = Path(__file__).resolve().parents[3]
LINES = (
    '{"step": 1, "tokens": 10, "train/loss": 2.0, "data/skipped": 0}',
    '{"step": 2, "tokens": 20, "train/loss": "NaN"}',
    '{"step": 2, "val/accuracy": 0.5}',
    '{"step": 3, "tokens": 30, "train/loss": 1.0, "data/skipped": 4}',
)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "metrics.jsonl"
    path.write_text("\n".join(LINES) + "\n", encoding="utf-8")
    return path


def test_a_torn_end_is_passed_over_and_a_damaged_middle_only_by_reports(log: Path) -> None:
    with log.open("ab") as file:
        file.write(b'{"step": 4, "tok')
    assert [line["step"] for line in read_metrics(log)] == [1, 2, 2, 3]
    log.write_bytes(b"\xff\n[1]\n" + log.read_bytes())
    with pytest.raises(BadInputError, match=r"metrics\.jsonl:1: not a JSON object with a step"):
        read_metrics(log)
    assert [line["step"] for line in readable_lines(log)] == [1, 2, 2, 3]


def test_curves_are_of_the_wanted_names_and_hold_numbers(log: Path) -> None:
    found = curves(log, lambda name: name.startswith("train/"))
    assert {name: points.tolist() for name, points in found.items()} == {"train/loss": [[1, 2.0], [3, 1.0]]}


def test_last_values_are_those_up_to_the_step(log: Path) -> None:
    found = last_values(log, 2)
    assert (found["tokens"], found["val/accuracy"], found["data/skipped"]) == (20, 0.5, 0)
    assert last_values(log, 9)["data/skipped"] == 4


def test_a_run_without_a_log_has_no_values(tmp_path: Path) -> None:
    assert last_values(tmp_path / "metrics.jsonl", 5) == curves(tmp_path / "metrics.jsonl", bool) == {}


@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_a_summary_that_cannot_be_read_is_one_line(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "summary.json").write_text(content, encoding="utf-8")
    with pytest.raises(BadInputError, match=r"summary\.json: cannot be read: ") as refused:
        read_summary(tmp_path)
    assert "\n" not in str(refused.value)


def test_no_other_module_names_these_files() -> None:
    """As a value, that is; a docstring may speak of them."""
    quoted = re.compile(r"""["'](metrics|alerts)\.jsonl["']|["']summary\.json["']""")
    packages = ("training", "evaluation", "serving", "certify", "bakeoff", "scripts", "data", "fusion")
    files = [path for package in packages for path in (REPOSITORY / package).rglob("*.py")]
    assert {path.name for path in files if quoted.search(path.read_text(encoding="utf-8"))} == {"run_log.py"}
