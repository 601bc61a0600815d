"""Names of compared runs: long ones do not cover one another in the figure, and what they leave out is told."""

import itertools
from pathlib import Path
from typing import Any

from data.display.drawing import save
from evaluation.comparison.compare import group_runs, load_runs, warnings
from evaluation.comparison.comparison_figure import draw_comparison
from tests.evaluation.comparison.test_comparison_layout import put, score


def compared(folder: Path, report: dict[str, Any], configs: list[dict[str, Any]]) -> list[Any]:
    for number, config in enumerate(configs):
        put(
            folder / f"run{number:02}",
            report,
            {"name": "pets", "seed": 0, **config},
            {"pets": {"accuracy": score(0.5)}},
        )
    return group_runs(load_runs([folder / "run*"]))


def test_long_names_of_many_runs_do_not_overlap_in_the_figure(report: dict[str, Any], tmp_path: Path) -> None:
    long = "mixture_of_transformers_with_long_names"
    configs = [{"first": f"{long}{number % 6}", "second": f"{long}{number // 6}"} for number in range(30)]
    figure = draw_comparison(compared(tmp_path, report, configs))
    save(figure, tmp_path / "figure.png")
    boxes = [text.get_window_extent() for text in figure.axes[0].get_yticklabels()]
    assert len(boxes) == 30
    for upper, lower in itertools.pairwise(boxes):
        assert upper.y0 >= lower.y1
    assert all(box.x0 >= 0 for box in boxes)


def test_what_differs_beside_the_names_is_told(report: dict[str, Any], tmp_path: Path) -> None:
    """Here every method happens to have other data and another batch, so that the method may not be the reason."""
    configs = [
        {"d_model": 8 * number, "data": {"train": f"{number}.jsonl", "size": number}, "lr": number} for number in (1, 2)
    ]
    (warning,) = warnings(compared(tmp_path, report, configs))
    assert warning == "the runs differ in more than their names say: d_model, data.size, data.train"


def test_names_that_say_all_need_no_warning(report: dict[str, Any], tmp_path: Path) -> None:
    configs = [{"d_model": number, "lr": number, "data": {"size": number}} for number in (1, 2)]
    assert warnings(compared(tmp_path, report, configs)) == []
