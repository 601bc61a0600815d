"""A bake-off as a page for a reader, as JSON for programs, and in the trackers."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from bakeoff.methods import Terms
from bakeoff.report.curve_figure import draw_curves
from bakeoff.report.figures import draw
from bakeoff.report.map_figure import draw_map
from bakeoff.report.tables import (
    CONTRASTS,
    DIFFERENCES,
    SIGNIFICANT,
    TUNING,
    cells,
    contrast,
    difference,
    head,
    heading,
    jsonable,
    needs,
    tuning,
)
from bakeoff.results.contrasts import Tested
from bakeoff.results.curves import SOLVED, Curve
from bakeoff.results.gather import Results, Row
from bakeoff.results.statistics import sign_flip_p
from data.display.drawing import Draw, attempt, pixels, save_all
from data.storage.atomic_write import write_text
from evaluation.metrics.metric_names import ACCURACY, CHRF, title
from evaluation.page.commands import Command, running_command
from evaluation.page.write import write_page
from evaluation.reports.markdown import table
from training.trackers.fan_out import build_tracker

HOW_TO_READ = (
    "{score} in percent, mean over {seeds} seeds, with the 95 % interval for new seeds and new questions: seeds are "
    "the unit, and the variance of clusters of questions ({clusters}) is added to theirs, see docs/statistics.md. "
    "Differences are paired: the same seeds and questions for both."
)
NOT_TUNED = (
    "Nothing was tuned: every method was trained with the values of the configuration, which may suit one better than "
    "another."
)
ONE_SEED = (
    "{score} in percent of one seed. It cannot say how much another seed would differ, so nothing here has an "
    "interval or a p: a difference may be one between two seeds of the same method."
)
ONE_CLUSTER = "All questions of {task} are one cluster, from which no interval and no p can be computed."
NOT_TESTED = (
    "Differences in percentage points, each with a plain 95 % interval of its own. They are not primary contrasts, so "
    "they have no p: of twenty such intervals one is expected to miss the truth."
)
NO_CONTRASTS = "The configuration names no primary contrasts (bakeoff.contrasts), so nothing is tested."
# File and title of each figure.
SCORES, MAP, CURVES = ("bakeoff", "Scores and differences"), ("map", "Map"), ("curves", "Learning curves")


def write(results: Results, folder: Path) -> None:
    """Writes bakeoff.md, bakeoff.json, figures and then bakeoff.html, each under a temporary name that is renamed."""
    folder.mkdir(parents=True, exist_ok=True)
    markdown, typed = to_markdown(results), running_command()
    write_text(folder / "bakeoff.md", markdown)
    write_text(folder / "bakeoff.json", json.dumps(to_json(results), indent=2) + "\n")
    save_all({title: (name, drawn) for (name, title), drawn in figures(results).items()}, folder)
    commands = [] if typed is None else [Command("Run, or go on with what is missing", typed)]
    write_page(folder / "bakeoff.html", markdown, commands=commands)


def figures(results: Results) -> dict[tuple[str, str], Draw]:
    """File and title -> how it is drawn."""
    found: dict[tuple[str, str], Draw] = {SCORES: partial(draw, results)}
    if len(results.tasks) > 1 or results.lengths:
        found[MAP] = partial(draw_map, results)
    if results.curves:
        found[CURVES] = partial(draw_curves, results)
    return found


def track(results: Results, config: Mapping[str, Any] | None, folder: Path, name: str) -> None:
    """Shows the tables and the figures in the trackers of `config`, as a run of its own next to the trained ones."""
    own = folder / "dashboard" / time.strftime("%Y%m%d-%H%M%S")
    own.mkdir(parents=True)
    tracker = build_tracker(config, own)
    tracker.start(f"{name}/comparison-{own.name}", {"runs": [row.method for row in results.rows]})
    try:
        for (file, _), drawn in figures(results).items():
            if (picture := attempt(file, partial(_pixels, drawn))) is not None:
                tracker.image(0, file, picture)
        if results.contrasts:
            tracker.table(0, "bakeoff/contrasts", CONTRASTS, [contrast(item) for item in results.contrasts])
        for terms, found in results.differences.items():
            rows = [cells(row, results) for row in results.rows if row.terms == terms]
            tracker.table(0, f"bakeoff/equal_{terms}", head(results), rows)
            if found:
                tracker.table(0, f"bakeoff/differences_{terms}", DIFFERENCES, [difference(item) for item in found])
    finally:
        tracker.finish()


def _pixels(draw: Draw) -> Any:
    figure = draw()
    return None if figure is None else pixels(figure)


def to_json(results: Results) -> dict[str, Any]:
    """Stable keys, for other programs."""
    return {
        "rows": [_flat(row) for row in results.rows],
        "reference": results.reference,
        "metrics": dict(results.metrics),
        "seeds": results.num_seeds,
        "clusters": dict(results.clusters),
        "lengths": dict(results.lengths),
        "smallest_p_by_sign_flips": sign_flip_p(results.num_seeds) if results.num_seeds > 1 else None,
        "contrasts": [_flat(item) for item in results.contrasts],
        "differences": {str(terms): [asdict(item) for item in found] for terms, found in results.differences.items()},
        "tuning": {
            "metric": results.tuned_by,
            "terms": None if results.tuned_for is None else asdict(results.tuned_for),
            "methods": {
                method: {
                    "values": found.values,
                    "tried": [jsonable({**values, "score": score}) for values, score in found.tried],
                    "unsettled": found.unsettled,
                    "edges": found.edges,
                }
                for method, found in results.tuning.items()
            },
        },
        "ceilings": dict(results.ceilings),
        "curves": [_flat(curve) for curve in results.curves],
    }


def _flat(item: Row | Tested | Curve) -> dict[str, Any]:
    """Its fields, with those of its terms among them."""
    found = asdict(item)
    return {**found.pop("terms"), **found}


def to_markdown(results: Results) -> str:
    """All tables and figures."""
    lines = ["# Bake-off", "", how_to_read(results), ""]
    for file, words in figures(results):
        lines += [f"![{words}]({file}.png)", ""]
    lines += ["## Primary contrasts", ""]
    if results.contrasts:
        lines += [*table(list(CONTRASTS), [contrast(item) for item in results.contrasts]), ""]
    lines += [about_contrasts(results), ""]
    for terms in results.differences:
        lines += of_terms(results, terms)
    lines += about_needs(results)
    return "\n".join([*lines, *about_tuning(results), ""])


def of_terms(results: Results, terms: Terms) -> list[str]:
    """Scores, costs and differences on the same terms."""
    rows = [cells(row, results) for row in results.rows if row.terms == terms]
    lines = [f"## {heading(terms, results)}", "", *table(head(results), rows), ""]
    lines += [f"Costs are within {results.deviation(terms):.1%} of that of {results.reference}", ""]
    lines[-2] += of_others(results, terms) + "."
    if found := results.differences[terms]:
        lines += [NOT_TESTED, "", *table(list(DIFFERENCES), [difference(item) for item in found]), ""]
    return lines


def of_others(results: Results, terms: Terms) -> str:
    """The methods that were not brought to that cost."""
    others = [row.method for row in results.rows if row.terms == terms and row.method not in results.equal]
    return f", but for {', '.join(others)}" if others else ""


def about_needs(results: Results) -> list[str]:
    """How many samples each method needed, where the ceilings are known."""
    names, rows = needs(results)
    if not rows:
        return []
    words = (
        f"Thousands of samples until {SOLVED:.0%} of the ceiling on validation data, in the longest trainings: the "
        "median over the seeds, with the least and the most. Between two validations a straight line is drawn. The "
        "rate decays towards the end of a training, so a shorter one may need fewer."
    )
    return ["## Samples needed", "", *table(names, rows), "", words, ""]


def about_tuning(results: Results) -> list[str]:
    """What was tried, by method, or that nothing was."""
    if results.tuned_by is None:
        return ["## Tuning", "", NOT_TUNED]
    metric = results.tuned_by
    rows = [tuning(method, found, metric) for method, found in results.tuning.items()]
    words = (
        f"By `{metric}` of trainings on the terms {results.tuned_for}; the best setting was taken on all terms. Every "
        "method could try as many settings. Where the best value lies at the edge, or a neighbour of it was not tried, "
        "a better one may exist."
    )
    return ["## Tuning", "", words, "", *table(list(TUNING), rows)]


def how_to_read(results: Results) -> str:
    """What the intervals are for, or why there are none."""
    if results.num_seeds < 2:
        return ONE_SEED.format(score=score_name(results))
    clusters = ", ".join(f"{number:,} in {task}" for task, number in results.clusters.items())
    alone = [ONE_CLUSTER.format(task=task) for task, number in results.clusters.items() if number < 2]
    words = HOW_TO_READ.format(score=score_name(results), seeds=results.num_seeds, clusters=clusters)
    return " ".join([words, *alone])


def about_contrasts(results: Results) -> str:
    """How the primary contrasts are to be read, and what so many seeds can say at most."""
    number = len(results.contrasts)
    if not number:
        return NO_CONTRASTS
    if results.num_seeds < 2:
        return "Named in the configuration before the runs. With one seed none of them can be tested."
    return (
        f"In percentage points: the {number} contrasts that the configuration names. p is two-sided, of a t test over "
        f"seeds and clusters of questions; p (Holm) is corrected for these {number} alone, and bold is below "
        f"{SIGNIFICANT}. Simultaneous intervals hold for all of them at once (Bonferroni). By sign flips alone, which "
        f"do not assume that seeds are normally distributed, {results.num_seeds} seeds could give no p below "
        f"{sign_flip_p(results.num_seeds):.4g}, before any correction."
    )


def score_name(results: Results) -> str:
    """What the scores of the tasks are; those of free text are means over single answers, not of the corpus."""
    metrics = set(results.metrics.values()) or {ACCURACY}
    if len(metrics) > 1:
        return "Scores (" + ", ".join(f"{task}: {title(metric)}" for task, metric in results.metrics.items()) + ")"
    (metric,) = metrics
    return f"{title(metric)} of single answers" if metric == CHRF else title(metric).capitalize()
