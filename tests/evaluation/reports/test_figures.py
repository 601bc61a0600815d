"""Figures show the numbers that the report holds."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from data.display.drawing import save_all
from data.storage import run_log
from evaluation.reports.figures.scores import (
    MAX_ROWS,
    confusion_table,
    draw_breakdown,
    draw_confusion,
    draw_scores,
    is_drawn,
    pictures,
    running_mean,
)


def test_every_figure_is_a_picture_of_readable_width(
    report: dict[str, Any], metrics_file: Path, tmp_path: Path
) -> None:
    for path in save_all(pictures(report, metrics_file), tmp_path / "figures").values():
        with Image.open(path) as picture:
            assert 600 <= picture.width <= 2000
            assert len(set(picture.convert("L").resize((50, 50)).tobytes())) > 20, "not an empty sheet"


def test_bars_and_error_bars_stand_at_the_scores(report: dict[str, Any]) -> None:
    axes = draw_scores(report).axes[0]
    score = report["tasks"]["easy_vqa/typed"]["accuracy"]
    audit = report["audit"]["easy_vqa/typed"]
    assert [bar.get_width() for bar in axes.patches] == [score["value"], *(found["value"] for found in audit.values())]
    low, high = axes.collections[0].get_segments()[0][:, 0]
    np.testing.assert_allclose([low, high], [score["low"], score["high"]])
    dashed = [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == "--"]
    assert dashed == [audit["majority"]["value"], audit["question_majority"]["value"]]


def test_a_task_without_any_of_the_lowest_rows_is_left_out_of_the_breakdown() -> None:
    low = {f"voice {number:02}": {"value": 0.5, "low": 0.4, "high": 0.6, "n": 9} for number in range(MAX_ROWS)}
    high = {"joe": {"value": 0.9, "low": 0.8, "high": 1.0, "n": 9}}
    (axes,) = draw_breakdown("voice", {"spoken": low, "piper": high}).axes
    assert [container.get_label() for container in axes.containers] == ["spoken"]
    assert len(axes.get_yticklabels()) == MAX_ROWS


def test_breakdown_puts_the_worst_first(report: dict[str, Any]) -> None:
    scores = {task: found["template"] for task, found in report["breakdown"].items()}
    labels = [text.get_text() for text in draw_breakdown("template", scores).axes[0].get_yticklabels()]
    lowest = min((found["value"], key) for task in scores.values() for key, found in task.items())[1]
    assert labels[0].startswith(lowest)
    assert len(labels) == 3


def test_confusion_keeps_every_answer() -> None:
    counts = {"yes": {"yes": 5, "no": 2, "maybe": 1}, "no": {"no": 4}}
    rows, columns, table = confusion_table(counts)
    assert rows == ["yes", "no"]
    assert columns == ["yes", "no", "(other)"]
    assert table.tolist() == [[5, 2, 1], [0, 4, 0]]
    many = {f"{i:02d}": {f"{i:02d}": 100 - i, "no": 1} for i in range(30)}
    rows, columns, table = confusion_table(many)
    assert rows[-1] == columns[-1] == "(other)"
    assert table.sum() == sum(sum(row.values()) for row in many.values())
    assert draw_confusion("task", many).axes


def test_curves_skip_what_is_torn_or_not_a_number(metrics_file: Path) -> None:
    with metrics_file.open("a", encoding="utf-8") as file:
        file.write("\n" + json.dumps({"step": 9000, "train/loss": "NaN"}) + "\n")
    curves = run_log.curves(metrics_file, is_drawn)
    assert set(curves) == {
        "train/loss",
        "val/accuracy",
        "val/easy_vqa/typed/accuracy",
        "val/easy_vqa/spoken/accuracy",
    }
    assert len(curves["train/loss"]) == 150
    assert curves["val/accuracy"][:, 0].tolist() == list(range(300, 3001, 300))


def test_running_mean_is_the_mean_of_its_window() -> None:
    curve = np.stack([np.arange(40.0), np.arange(40.0) ** 2], axis=1)
    steps, values = running_mean(curve)
    np.testing.assert_allclose(steps, np.arange(39) + 0.5)
    np.testing.assert_allclose(values, [(i**2 + (i + 1) ** 2) / 2 for i in range(39)])
