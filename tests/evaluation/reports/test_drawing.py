"""Figures of whatever data holds: no text is mathematics, none is too long, every picture is bounded or a warning."""

import ast
import copy
import json
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from bakeoff.methods import Terms
from bakeoff.report.report import figures as bakeoff_figures
from bakeoff.results.curves import Curve
from bakeoff.results.gather import Results, Row
from bakeoff.results.statistics import Estimate
from data.display.drawing import MAX_PIXELS, Draw, new_figure, pixels, save, save_all
from data.display.plain_text import LONGEST, label
from data.types import Layout
from evaluation.insight.attention import Attended, draw_attention
from evaluation.insight.attribution import GRADIENT, Region
from evaluation.insight.explanation import Explanation, draw_explanation
from evaluation.reports import report as report_module
from evaluation.reports.report import all_pictures, write_report

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = ("bakeoff", "certify", "data", "encoders", "evaluation", "fusion", "scripts", "serving", "training")
HOSTILE = (
    "$20 for 3% of $30",
    "$x^$",
    r"$\frac{1}{$",
    "_^{%\\#&~",
    "\\$ \\alpha $$",
    "nul\x00bell\x07escape\x1b[31m",
    "two\nlines\r\ttab",
    "half \ud83d a pair",
    "\N{GRINNING FACE} 日本語 ไทย हिन्दी",
    "שלום عربي \u202eright to left",
    "zero\u200bwidth\u2060\ufeff",
    "<script>alert(1)</script> | `a` [red]b[/red] [x](y)",
    "",
    "_hidden",
    "word " * 400,
    "w" * 3000,
)


def test_all_figures_are_made_in_one_place() -> None:
    """What is drawn elsewhere would neither be bounded nor spared from mathematics."""
    found = []
    for path in (path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            called = node.func if isinstance(node, ast.Call) else None
            name = (
                called.id if isinstance(called, ast.Name) else called.attr if isinstance(called, ast.Attribute) else ""
            )
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            modules += [item.name for item in node.names] if isinstance(node, ast.Import) else []
            drawn = any(module.startswith(("matplotlib.pyplot", "matplotlib.backends")) for module in modules)
            if drawn or name in ("Figure", "savefig", "print_png"):
                found.append(str(path.relative_to(ROOT)))
    assert set(found) == {"data/display/drawing.py"}


def hostile(report: dict[str, Any]) -> dict[str, Any]:
    """A report whose every name is one that a library could choke on."""
    report = copy.deepcopy(report)
    score, audit = report["tasks"]["easy_vqa/typed"], report["audit"]["easy_vqa/typed"]
    report["tasks"] = {f"{text}/task": score for text in HOSTILE}
    audited = dict.fromkeys(HOSTILE[::4], audit["majority"])
    report["audit"] = dict.fromkeys(report["tasks"], audited)
    left_out = dict.fromkeys(HOSTILE, HOSTILE[0])
    report["omitted"] = dict.fromkeys(report["tasks"], left_out)
    values = dict.fromkeys(HOSTILE, score["accuracy"])
    report["breakdown"] = {task: {HOSTILE[0]: values} for task in report["tasks"]}
    counts = {text: dict.fromkeys(HOSTILE, 1) for text in HOSTILE}
    report["confusion"] = dict.fromkeys(list(report["tasks"])[:1], counts)
    points = {text: [[0.1 * place, 0.2, text] for place, text in enumerate(HOSTILE)] for text in HOSTILE[:6]}
    report["embedding_map"] = {HOSTILE[0]: {"points": points, "field": HOSTILE[1], "explained": [0.5, 0.3]}}
    gap = {"counts": {"matched": [1, 2], "unmatched": [2, 1]}, "matched": 0.1, "unmatched": 0.2, "distance": 0.3}
    report["modality_gap"] = {HOSTILE[0]: dict.fromkeys(HOSTILE[:9], gap)}
    report["spread"] = {
        text: {"metric": "chrf", "edges": [0.0, 0.5, 1.0], "counts": [1, 2], "worst": [], "best": []}
        for text in HOSTILE
    }
    curve = {
        "modality": HOSTILE[1],
        "clean": score["accuracy"],
        "accuracy": [score["accuracy"]] * 5,
        "floor": None,
        "relative": None,
        "effective": None,
        "levels": [1, 2, 3, 4, 5],
        "unit": HOSTILE[2],
    }
    corrupted = {"corruptions": dict.fromkeys(HOSTILE, curve), "clean": score["accuracy"], "metric": "accuracy"}
    report["robustness"] = dict.fromkeys(HOSTILE[:2], corrupted)
    deleted = {
        "curves": {text: {"probability": [score["accuracy"]]} for text in HOSTILE},
        "full": score["accuracy"],
        "shares": [0.5],
        "harm": {},
        "regions": 4,
        "n": 9,
    }
    report["attribution"] = {text: {HOSTILE[1]: deleted} for text in HOSTILE[:2]}
    return report


def hostile_curves(folder: Path) -> Path:
    rows = [
        {"step": step, "train/loss": 1 / step, **{f"val/{text}/x/accuracy": 0.5 for text in HOSTILE}}
        for step in (1, 2, 300)
    ]
    path = folder / "metrics.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def hostile_results() -> Results:
    """A bake-off of a hundred trainings with such names."""
    terms = [Terms("flops", length) for length in HOSTILE[:2]]
    scores = {text: Estimate(0.5, 0.4, 0.6) for text in HOSTILE[:5]}
    costs = {"d_model": 8, "steps": 2, "parameters": 1.0, "active": 1.0, "inference_flops": 1e6, "fusion_flops": None}
    costs |= {"training_flops": 2e6, "total_flops": 3.0, "seconds": 3.0, "inference_seconds": None, "memory_gb": 0.1}
    rows = [Row(text, own, {}, **costs, scores=scores) for text in HOSTILE for own in terms]  # type: ignore[arg-type]
    curves = [Curve(text, terms[-1], task, (1.0, 2.0), ((0.1, 0.2),)) for text in HOSTILE[:4] for task in scores]
    return Results(
        reference=HOSTILE[0],
        num_seeds=2,
        clusters={},
        metrics=dict.fromkeys(scores, "accuracy"),
        rows=tuple(rows),
        contrasts=(),
        differences=dict.fromkeys(terms, ()),
        equal=(),
        curves=tuple(curves),
        ceilings={HOSTILE[0]: 1.0},
        lengths=dict.fromkeys(HOSTILE[:2], 1e9),
    )


def hostile_bakeoff() -> dict[str, tuple[str, Draw]]:
    """Its figures."""
    return {title: (name, drawn) for (name, title), drawn in bakeoff_figures(hostile_results()).items()}


def hostile_explanation(*_: object) -> Figure:
    words = [Region("text", text, (0,)) for text in HOSTILE * 20]
    patches = [Region("audio", "x", (0,), item, layout=Layout(1)) for item in range(9)]
    regions = tuple(words + patches)
    shown = tuple(np.zeros((4, 3)) for _ in range(9))
    return draw_explanation(Explanation(HOSTILE[-2], 0.5, regions, shown, {GRADIENT: np.ones(len(regions))}))


def checked(figure: Figure) -> None:
    """After it was drawn: every text is short, can be shown, and was no mathematics."""
    for text in figure.findobj(Text):
        assert not text.get_parse_math()
        for line in text.get_text().split("\n"):
            assert len(line) < 160
            assert all(character.isprintable() for character in line), repr(line)


def test_hostile_names_reach_every_figure_and_none_is_large(
    report: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Figure] = []

    def kept(figure: Figure, path: Path) -> Path:
        drawn.append(figure)
        return save(figure, path)

    monkeypatch.setattr("data.display.drawing.save", kept)
    found = all_pictures(hostile(report), hostile_curves(tmp_path))
    found |= {**hostile_bakeoff(), "explained": ("explained", hostile_explanation)}  # type: ignore[dict-item]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # none about glyphs either
        written = save_all(found, tmp_path / "figures")
    assert caplog.records == []
    assert list(written) == list(found)
    assert len(set(written.values())) == len(found) >= 11
    for path in written.values():
        with Image.open(path) as picture:
            assert max(picture.size) <= MAX_PIXELS + 1
            assert min(picture.size) >= 200
    for figure in drawn:
        checked(figure)


def test_the_attention_of_many_and_long_prompts_is_bounded() -> None:
    medium = Attended("image", np.zeros((4, 4, 3), dtype=np.uint8), {"layer_1": np.ones(4) / 4}, Layout(4, (2, 2)))
    picture = draw_attention([(text, [medium] * 5) for text in HOSTILE])
    assert max(picture.shape) <= MAX_PIXELS


@pytest.mark.parametrize("text", HOSTILE)
def test_a_label_is_one_short_line_that_can_be_shown(text: str) -> None:
    found = label(text)
    assert len(found) <= LONGEST + 1
    assert found.isprintable()
    assert not found.startswith("_")


def test_a_label_keeps_what_it_can() -> None:
    assert label("$20 for 3% of $30") == "$20 for 3% of $30"
    assert label("two\nlines") == "two lines"
    assert label("zero\u200bwidth") == "zerowidth"
    assert label("half \ud83d") == "half \N{REPLACEMENT CHARACTER}"
    assert label("a" * 41) == "a" * 39 + "…"
    assert label(" a " * 200, 10) == "a a a a a…"
    assert label("_x") == " _x", "or a legend would leave it out"


def test_a_large_figure_is_drawn_at_fewer_dots(tmp_path: Path) -> None:
    figure = new_figure(300, 3)
    assert pixels(figure).shape[1] <= MAX_PIXELS
    with Image.open(save(new_figure(8, 400), tmp_path / "tall.png")) as picture:
        assert picture.height <= MAX_PIXELS + 1
    long = new_figure(8, 3)
    long.subplots().set_yticks([0], ["W" * 4000])
    with Image.open(save(long, tmp_path / "long.png")) as picture:
        assert max(picture.size) <= MAX_PIXELS + 1


def test_numbers_are_there_when_a_picture_fails(
    report: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object) -> Figure:
        assert (tmp_path / "report.json").is_file(), "before any picture"
        assert (tmp_path / "answers.jsonl").is_file()
        assert "accuracy" in (tmp_path / "report.md").read_text(encoding="utf-8")
        raise RuntimeError("no\nink")

    monkeypatch.setattr("evaluation.reports.figures.scores.draw_scores", fails)
    with caplog.at_level(logging.WARNING):
        write_report(report, tmp_path, answers=[{"task": "a", "answer": "half \ud83d"}])
    (record,) = caplog.records
    assert "Scores beside the modality audit" in record.getMessage()
    assert "RuntimeError: no ink" in record.getMessage()
    assert "\n" not in record.getMessage()
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "figures/scores.png" not in text
    assert "figures/breakdown_template.png" in text
    assert json.loads((tmp_path / "answers.jsonl").read_text(encoding="utf-8"))["answer"] == "half \ud83d"


def test_no_older_picture_stands_beside_new_numbers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def fails() -> Figure:
        raise RuntimeError("no ink")

    assert save_all({"a picture": ("a", lambda: new_figure(2, 2))}, tmp_path) == {"a picture": tmp_path / "a.png"}
    assert save_all({"a picture": ("a", fails)}, tmp_path) == {}
    assert not (tmp_path / "a.png").exists()
    assert save_all({"a picture": ("a", lambda: new_figure(2, 2))}, Path(__file__)) == {}, "no folder can be made"
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2


def test_a_report_of_hostile_names_is_written_whole(
    report: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_module, "all_pictures", lambda *_: {})
    bad = hostile(report)
    write_report(bad, tmp_path)
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8")) == bad
    page = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "<script>" not in page
    assert "\x00" not in page
    tables: list[list[str]] = [[]]
    for line in page.splitlines():
        if line.startswith("|"):
            tables[-1].append(line)
        elif tables[-1]:
            tables.append([])
    for rows in filter(None, tables):
        widths = {len(row.replace("\\\\", "").replace("\\|", "").split("|")) for row in rows}
        assert len(widths) == 1, "every row has the columns of its head"
