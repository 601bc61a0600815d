"""The report of a bake-off of several seeds: what it says in words, and that figure, tables and JSON agree."""

from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from rich.console import Console

from bakeoff.methods import Terms
from bakeoff.report.figures import draw
from bakeoff.report.map_figure import draw_map
from bakeoff.report.report import NO_CONTRASTS, NOT_TESTED, to_json, to_markdown, write
from bakeoff.report.tables import heading
from bakeoff.report.terminal import print_results
from bakeoff.results.contrasts import Answers, judged_contrasts, plain_differences
from bakeoff.results.curves import Curve
from bakeoff.results.gather import Results, Row
from bakeoff.settings import Contrast
from bakeoff.tuning.tune import Tuned
from tests.bakeoff.test_run import markdown_tables

METHODS = {"early": 0.7, "late": 0.55, "concat": 0.69}
CLUSTERS = [f"image {n // 5}" for n in range(500)]
BUDGETS = ("flops", "parameters")
TERMS = [Terms(budget) for budget in BUDGETS]
CONTRASTS = [Contrast("late", "early", "typed", budget) for budget in BUDGETS]
RATE = {"optimizer.lr": 0.01}


def simulated(seeds: int, contrasts: list[Contrast]) -> Results:
    """A bake-off whose runs answered at random."""
    rng = np.random.default_rng(0)
    answers = {
        terms: Answers(
            {"typed": {method: rng.random((seeds, len(CLUSTERS))) < rate for method, rate in METHODS.items()}},
            {"typed": CLUSTERS},
        )
        for terms in TERMS
    }
    rows = [
        Row(
            method=method,
            terms=terms,
            tuned=RATE,
            d_model=128,
            steps=100,
            parameters=2e6,
            active=2e6,
            inference_flops=2e8,
            fusion_flops=1e8,
            training_flops=6e8,
            total_flops=6e12,
            seconds=60,
            inference_seconds=0.002,
            memory_gb=1.5,
            scores={"typed": found.scores()["typed"][method]},
        )
        for terms, found in answers.items()
        for method in METHODS
    ]
    differences = {
        terms: plain_differences(found, ["early"], [c for c in contrasts if c.terms == terms])
        for terms, found in answers.items()
    }
    return Results(
        reference="early",
        num_seeds=seeds,
        clusters={"typed": 100},
        metrics={"typed": "accuracy"},
        rows=tuple(rows),
        contrasts=judged_contrasts(answers, contrasts),
        differences=differences,
        equal=tuple(METHODS),
        tuned_by="val/accuracy",
        tuning={method: Tuned(RATE, ((RATE, 0.5), ({"optimizer.lr": 0.02}, float("nan")))) for method in METHODS},
        tuned_for=TERMS[0],
    )


@pytest.mark.parametrize(("seeds", "smallest"), [(3, 0.25), (5, 0.0625)])
def test_the_report_says_how_small_a_p_so_many_seeds_could_give(seeds: int, smallest: float) -> None:
    results = simulated(seeds, CONTRASTS)
    assert f"{seeds} seeds could give no p below {smallest}, before any correction" in to_markdown(results)
    assert to_json(results)["smallest_p_by_sign_flips"] == smallest


def test_primary_contrasts_have_p_and_both_intervals_and_nothing_else_has() -> None:
    results = simulated(5, CONTRASTS)
    text = to_markdown(results)
    tables = markdown_tables(text)
    primary = tables["Primary contrasts"]
    assert [row["equal"] for row in primary] == list(BUDGETS)
    for row, item in zip(primary, results.contrasts, strict=True):
        assert item.p is not None
        assert item.corrected is not None
        assert item.corrected < 0.05
        assert (row["p"], row["p (Holm)"]) == (f"{item.p:.3f}", f"{item.corrected:.3f}")
        assert row["difference"] == "**" + shown(item.difference) + "**"
        assert row["simultaneous"] == shown(item.simultaneous)
    assert "the 2 contrasts that the configuration names" in text
    for title in (heading(terms, results) for terms in TERMS):
        section = text.split(f"\n## {title}\n")[1].split("\n## ")[0]
        assert NOT_TESTED in section
        assert "| method | against | task | difference |\n" in section
        assert "| concat | early | typed |" in section
        assert "| late | early | typed |" not in section, "it is a primary contrast"


def shown(estimate) -> str:  # type: ignore[no-untyped-def]
    return f"{100 * estimate.value:+.1f} [{100 * estimate.low:+.1f}, {100 * estimate.high:+.1f}]"


def test_json_has_what_the_report_says() -> None:
    results = simulated(3, CONTRASTS)
    content = json.loads(json.dumps(to_json(results)))
    assert (content["seeds"], content["clusters"]) == (3, {"typed": 100})
    assert list(content["differences"]) == list(BUDGETS)
    for item, found in zip(content["contrasts"], results.contrasts, strict=True):
        assert (item["p"], item["corrected"]) == (found.p, found.corrected)
        plain, simultaneous = item["difference"], item["simultaneous"]
        assert simultaneous["low"] < plain["low"] < plain["value"] < plain["high"] < simultaneous["high"]
    for found in content["differences"].values():
        assert all(set(item) == {"method", "against", "task", "difference"} for item in found)


def test_without_contrasts_nothing_is_tested_and_the_report_says_so() -> None:
    results = simulated(3, [])
    text = to_markdown(results)
    assert NO_CONTRASTS in text
    assert "| late | early | typed |" in text
    assert "no p below" not in text


def test_questions_of_one_cluster_have_no_interval_and_the_report_says_so() -> None:
    results = replace(simulated(3, CONTRASTS), clusters={"typed": 1})
    assert "All questions of typed are one cluster, from which no interval" in to_markdown(results)


def test_the_terminal_shows_scores_and_contrasts_in_eighty_columns() -> None:
    """Long names of three tasks and of the methods, too, and no interval is broken up."""
    results = simulated(3, CONTRASTS)
    tasks = dict.fromkeys(("easy_vqa/typed", "easy_vqa/spoken_piper", "other"), results.rows[0].scores["typed"])
    rows = [replace(row, method=f"mixture_of_{row.method}", scores=tasks) for row in results.rows]
    contrasts = [
        replace(item, method="mixture_of_transformers", task="easy_vqa/spoken_piper") for item in results.contrasts
    ]
    results = replace(results, rows=tuple(rows), contrasts=tuple(contrasts))
    console = Console(file=StringIO(), width=80)
    print_results(results, console)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    estimates = [*tasks.values(), *(part for item in contrasts for part in (item.difference, item.simultaneous))]
    for estimate in estimates:
        sign = "" if estimate in tasks.values() else "+"
        assert estimate.low is not None
        assert estimate.high is not None
        assert f"[{100 * estimate.low:{sign}.1f}, {100 * estimate.high:{sign}.1f}]" in printed
    assert {"spoken_piper", "spoken_piper,", "transformers", "parameters", "(forward)", "(Holm)"} <= set(
        printed.split()
    )
    assert "could give no p below 0.25" in " ".join(printed.split())
    assert max(map(len, printed.splitlines())) <= 80


def points(axes: Axes) -> dict[str, tuple[float, ...]]:
    """Row, value and the ends of the interval, if there is one, of every labelled point of a panel."""
    found = {}
    for container in axes.containers:
        (point, _, bars) = container.lines
        ((x, y),) = point.get_xydata()
        ends = [end for bar in bars for (end, _) in bar.get_segments()[0]]
        found[str(container.get_label())] = (y, x, *ends)
    return found


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_figure_shows_the_numbers_of_the_tables(seeds: int) -> None:
    results = simulated(seeds, CONTRASTS)
    tables = markdown_tables(to_markdown(results))
    figure = draw(results)
    scores, differences = figure.axes
    assert [text.get_text() for text in scores.get_yticklabels()] == list(METHODS)
    found, apart = points(scores), points(differences)
    for terms in TERMS:
        title, budget = heading(terms, results), terms.budget
        assert [row["method"] for row in tables[title]] == list(METHODS)
        for row in tables[title]:
            place, *values = found.pop(f"{row['method']} (equal {budget})")
            assert round(place) == list(METHODS).index(row["method"])
            numbers = row["typed"].replace("[", "").replace("]", "").replace(",", "").split()
            assert len(numbers) == (3 if seeds > 1 else 1)
            # The table has one digit behind the point.
            assert [100 * value for value in values] == pytest.approx([float(number) for number in numbers], abs=0.0501)
            if row["method"] == results.reference:
                continue
            place, *values = apart.pop(f"{row['method']} (equal {budget})")
            assert round(place) == list(METHODS).index(row["method"])
            (paired,) = (
                item.difference
                for item in (*results.contrasts, *results.differences[terms])
                if item.method == row["method"] and getattr(item, "terms", terms) == terms
            )
            assert values == pytest.approx([paired.value, paired.low, paired.high][: len(values)])
            assert len(values) == (3 if seeds > 1 else 1)
    assert not found | apart, "no other points"


def test_a_difference_that_was_tested_the_other_way_round_is_turned() -> None:
    turned = simulated(3, [Contrast("early", "late", "typed", "flops")])
    straight = simulated(3, [Contrast("late", "early", "typed", "flops")])
    expected, found = (points(draw(results).axes[1])["late (equal flops)"] for results in (straight, turned))
    assert found == pytest.approx(expected)
    assert expected[1] < 0


def test_the_tuning_says_what_was_tried_what_diverged_and_what_may_lie_outside() -> None:
    results = simulated(3, CONTRASTS)
    outside = Tuned(RATE, ((RATE, 0.5), ({"optimizer.lr": 0.02}, 0.4)), ("optimizer.adamw_lr",), ("optimizer.lr",))
    text = to_markdown(replace(results, tuning={**results.tuning, "late": outside}))
    assert "| early | 2 | optimizer.lr=0.01 | 50.0 | - |  |  |" in text
    assert "| late | 2 | optimizer.lr=0.01 | 50.0 | 40.0 | optimizer.lr | optimizer.adamw_lr |" in text
    content = json.loads(json.dumps(to_json(results)))["tuning"]["methods"]["early"]
    assert content["tried"] == [{"optimizer.lr": 0.01, "score": 0.5}, {"optimizer.lr": 0.02, "score": None}]


def of_lengths(results: Results) -> Results:
    """The same as a bake-off of two lengths, with curves."""
    terms = {Terms("flops"): Terms("flops", "short"), Terms("parameters"): Terms("flops", "long")}
    rows = tuple(replace(row, terms=terms[row.terms]) for row in results.rows)
    curves = [
        Curve(method, Terms("flops", "long"), "typed", (1e3, 2e3, 4e3), ((0.1, end / 2, end), (0.2, end / 2, end)))
        for method, end in METHODS.items()
    ]
    return replace(
        results,
        rows=rows,
        contrasts=(),
        differences={terms[own]: found for own, found in results.differences.items()},
        lengths={"short": 1e12, "long": 4e12},
        curves=tuple(curves),
        ceilings={"typed": 0.75},
        tuned_for=Terms("flops", "short"),
    )


def test_lengths_have_tables_of_their_own_and_the_figure_shows_the_longest() -> None:
    results = of_lengths(simulated(3, []))
    text = to_markdown(results)
    assert "## Equal operations per sample (forward), short: trainings of 1 TFLOP" in text
    assert "![Map](map.png)" in text
    assert "![Learning curves](curves.png)" in text
    panel = draw(results).axes[0]
    shown = {label: values[1] for label, values in points(panel).items()}
    longest = {row.method: row.scores["typed"].value for row in results.rows if row.terms.length == "long"}
    assert shown == {f"{method} (equal flops)": value for method, value in longest.items()}


def test_samples_needed_are_counted_to_nine_tenths_of_the_ceiling() -> None:
    """0.9 * 0.75 = 0.675: early goes from 0.35 to 0.7 between 2,000 and 4,000 samples, late never gets there."""
    table = markdown_tables(to_markdown(of_lengths(simulated(3, []))))["Samples needed"]
    assert [row["typed"] for row in table] == ["3.9", "never", "3.9"]


def test_the_map_has_a_panel_for_each_terms_and_the_numbers_of_the_tables() -> None:
    results = of_lengths(simulated(3, []))
    figure = draw_map(results)
    assert len(figure.axes) == 2
    for axes, terms in zip(figure.axes, results.differences, strict=True):
        texts = [text.get_text().split()[0] for text in axes.texts]
        assert texts == [f"{100 * row.scores['typed'].value:.0f}" for row in results.rows if row.terms == terms]


def test_a_bake_off_is_a_page_too(tmp_path: Path) -> None:
    write(simulated(3, CONTRASTS), tmp_path)
    page = (tmp_path / "bakeoff.html").read_text(encoding="utf-8")
    assert "Primary contrasts</h2>" in page
    assert page.count("data:image/png;base64,") == 1
    assert {path.name for path in tmp_path.iterdir()} == {f"bakeoff.{end}" for end in ("md", "json", "png", "html")}
