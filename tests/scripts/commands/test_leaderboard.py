"""The command that makes the leaderboard."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.leaderboard import main
from tests.scripts.in_process import run_command

REPORT = Path(__file__).resolve().parents[3] / "docs" / "results" / "easy_vqa" / "seed_0.json"


def test_a_row_is_added_and_the_page_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = [f"files={tmp_path / 'rows'}", f"page={tmp_path / 'board.md'}"]
    said = ["data_set=easy_vqa", "method=early", "budget.steps=1700", "made_by=A. Person", "command=train it, twice"]
    assert run_command(main, [f"add={REPORT}", *where, *said]) == 2
    assert capsys.readouterr().err == (
        "error: machine: has no value, and what is added does not say it; give machine=VALUE\n"
    )
    assert run_command(main, [f"add={REPORT}", *where, *said, "machine=a laptop"]) == 0
    assert (tmp_path / "rows" / "easy_vqa_early.json").is_file()
    text = (tmp_path / "board.md").read_text(encoding="utf-8")
    assert "[easy_vqa_early](rows/easy_vqa_early.json): `train it, twice`" in text
    assert "## easy_vqa at 1,700 updates" in text
    (tmp_path / "board.md").unlink()
    assert run_command(main, where) == 0
    assert (tmp_path / "board.md").read_text(encoding="utf-8") == text
    assert run_command(main, [f"add={REPORT}", *where, *said, "machine=a laptop"]) == 2
    assert "easy_vqa_early.json: is there already" in capsys.readouterr().err
