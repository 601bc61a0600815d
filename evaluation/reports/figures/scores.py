"""The report's figures: drawn from `report.json` and `metrics.jsonl` alone, so they can be drawn again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, PercentFormatter

from data.display.drawing import (
    COLOURS,
    GREY,
    MAX_TASKS,
    Draw,
    and_rest,
    bar_style,
    line_style,
    new_figure,
    point_style,
    slug,
    style,
)
from data.display.plain_text import label
from data.storage import run_log
from evaluation.conditions import BASELINES, condition_name, context_of_report
from evaluation.metrics.metric_names import (
    ACCURACY,
    CHRF,
    LOWER_IS_BETTER,
    MAIN_RECALL,
    WER,
    is_share,
    number,
    title,
    unit,
)
from evaluation.metrics.scores import main_score, tasks_by_metric

# Bars of the model, of its audit and of the blind baselines.
MODEL, CHANGED, BLIND = bar_style(0), bar_style(1), {"facecolor": GREY, "hatch": "", "edgecolor": "black"}
WIDTH = 8.0
MAX_ROWS = 32
MAX_ANSWERS = 20
# So many numbers of answers of a row fit next to it.
MAX_SIZES = 4
# Curves of a legend that fits among them.
MOST_INSIDE = 4


def pictures(report: Mapping[str, Any], metrics: Path | None) -> dict[str, tuple[str, Draw]]:
    """Every figure that the report has content for: title -> name of its file, and what draws it."""
    found: dict[str, tuple[str, Draw]] = {}
    for metric, tasks in tasks_by_metric(report).items():
        other = "" if metric == ACCURACY else f"_{metric}"
        words = "Scores" if metric == ACCURACY else f"{capitalised(title(metric))}"
        found[f"{words} beside the modality audit"] = (f"scores{other}", partial(draw_scores, report, metric))
        for field, by_task in breakdown_by_field(report).items():
            if scores := {task: by_task[task] for task in tasks if task in by_task}:
                name, file = field.replace("_", " "), f"breakdown_{field}{other}"
                found[f"{capitalised(title(metric))} by {name}"] = (file, partial(draw_breakdown, name, scores, metric))
    for task, counts in report.get("confusion", {}).items():
        if counts:  # neither free text, nor too many classes
            drawn = partial(draw_confusion, task, counts)
            found[f"Expected and given answers, {task}"] = (f"confusion_{slug(task)}", drawn)
    curves = {} if metrics is None else run_log.curves(metrics, is_drawn)
    if curves:
        found["Training"] = ("training", partial(draw_training, curves))
    return found


def capitalised(words: str) -> str:
    """With a capital letter, and "chrF" as it is."""
    return words if words == title(CHRF) else words[:1].upper() + words[1:]


def errors(score: Mapping[str, float]) -> np.ndarray:
    """Distances [2, 1] from a score down and up to its interval."""
    return np.array([[score["value"] - score["low"]], [score["high"] - score["value"]]]).clip(min=0)


def score_words(score: Mapping[str, float], metric: str = ACCURACY) -> str:
    """A score with its interval, of a share as a percentage."""
    value, low, high = (number(metric, score[key]) for key in ("value", "low", "high"))
    return f"{value} {unit(metric)}".rstrip() + f" [{low}, {high}]"


def draw_scores(report: Mapping[str, Any], metric: str = ACCURACY) -> Figure:
    """The score above its audit, of each task with this main metric; the blind baselines continue as vertical lines."""
    every = tasks_by_metric(report)[metric]
    tasks = every[:MAX_TASKS]
    rows = {task: score_rows(report, task) for task in tasks}
    heights = [len(rows[task]) + 1.2 for task in tasks]
    figure = new_figure(WIDTH, 0.34 * sum(heights) + 0.5)
    panels = figure.subplots(len(tasks), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    # A word error rate may be above 1, a loss or a perplexity is.
    longest = max(score["high"] for task in tasks for _, score, _ in rows[task])
    limit = 1.0 if is_share(metric) and longest <= 1 else longest
    for axes, task in zip(panels, tasks, strict=True):
        for place, (_, score, look) in enumerate(rows[task]):
            axes.barh(place, score["value"], height=0.72, **look)
            axes.errorbar(score["value"], place, xerr=errors(score), color="black", capsize=3, linewidth=1.2)
            axes.text(1.02 * limit, place, f"{score_words(score, metric)}  n={score['n']:,}", va="center", fontsize=8.5)
            if look is BLIND:
                axes.axvline(score["value"], color=GREY, linestyle="--", linewidth=1, zorder=0.5)
        axes.set_yticks(range(len(rows[task])), [label(name) for name, _, _ in rows[task]])
        axes.set_ylim(len(rows[task]) - 0.4, -0.6)
        axes.set_xlim(0, limit)
        axes.set_title(label(task, 80), loc="left", fontweight="bold", fontsize=11)
        style(axes, "x")
    if is_share(metric):
        panels[-1].xaxis.set_major_formatter(PercentFormatter(1.0, symbol=unit(metric)))
    words = "accuracy (exact match)" if metric == ACCURACY else lower_words(metric)
    rest = and_rest(len(tasks), len(every))
    panels[-1].set_xlabel(f"{words} with 95 % interval; dashed: answered blindly, by no model{rest}")
    return figure


def score_rows(report: Mapping[str, Any], task: str) -> list[tuple[str, Mapping[str, float], Mapping[str, Any]]]:
    """Name, score and look of every bar of a task."""
    rows: list[tuple[str, Mapping[str, float], Mapping[str, Any]]] = [
        ("model", main_score(report["tasks"][task]), MODEL)
    ]
    context = context_of_report(report, task)
    for condition, score in report.get("audit", {}).get(task, {}).items():
        rows.append((condition_name(condition, context), score, BLIND if condition in BASELINES else CHANGED))
    return rows


def breakdown_by_field(report: Mapping[str, Any]) -> dict[str, dict[str, Mapping[str, Any]]]:
    """The breakdown as field -> task -> value of the field -> score."""
    fields: dict[str, dict[str, Mapping[str, Any]]] = {}
    for task, breakdown in report.get("breakdown", {}).items():
        for field, scores in breakdown.items():
            fields.setdefault(field, {})[task] = scores
    return fields


def draw_breakdown(field: str, scores: Mapping[str, Mapping[str, Any]], metric: str = ACCURACY) -> Figure:
    """A row for every value of a metadata field, a dot with interval for every task, worst first."""
    every, scores = len(scores), dict(islice(scores.items(), MAX_TASKS))
    keys = sorted({key for task in scores.values() for key in task}, key=lambda key: worst(scores, key, metric))
    shown = keys[:MAX_ROWS]
    figure = new_figure(WIDTH, 0.34 * len(shown) + 1.4)
    axes = figure.subplots()
    for order, (task, found) in enumerate(scores.items()):
        offset = (order - (len(scores) - 1) / 2) * min(0.28, 0.7 / len(scores))
        rows = [place for place, key in enumerate(shown) if key in found]
        if not rows:  # all of its values are better than those that are shown
            continue
        values = np.array([found[shown[place]]["value"] for place in rows])
        bars = np.concatenate([errors(found[shown[place]]) for place in rows], axis=1)
        places, name = np.array(rows) + offset, label(task)
        axes.errorbar(values, places, xerr=bars, capsize=2, label=name, **point_style(order))
    axes.set_yticks(range(len(shown)), [f"{label(key)}  (n={sizes(scores, key)})" for key in shown])
    axes.set_ylim(len(shown) - 0.4, -0.6)
    if is_share(metric):
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=None, symbol=unit(metric)))
        low, high = axes.get_xlim()
        axes.set_xlim(max(low, -0.02), high if metric == WER else min(high, 1.02))
    end = "highest" if metric in LOWER_IS_BETTER else "lowest"
    rest = f"; the {MAX_ROWS} {end} of {len(keys)}" if len(keys) > MAX_ROWS else ""
    axes.set_xlabel(f"{lower_words(metric)} with 95 % interval{rest}{and_rest(len(scores), every)}")
    axes.set_ylabel(label(field))
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    style(axes, "both")
    return figure


def worst(scores: Mapping[str, Mapping[str, Any]], key: str, metric: str = ACCURACY) -> tuple[float, str]:
    """Where a row stands: by the worst score of any task, then by name."""
    sign = -1 if metric in LOWER_IS_BETTER else 1
    return min(sign * task[key]["value"] for task in scores.values() if key in task), key


def lower_words(metric: str) -> str:
    """A metric on an axis, and which way it is better if that is down."""
    return title(metric) + (" (lower is better)" if metric in LOWER_IS_BETTER else "")


def sizes(scores: Mapping[str, Mapping[str, Any]], key: str) -> str:
    """The numbers of answers that a row is computed from, once if all tasks have the same."""
    numbers = [task[key]["n"] for task in scores.values() if key in task]
    shown = numbers[:1] if len(set(numbers)) == 1 else numbers
    return " / ".join(f"{size:,}" for size in shown[:MAX_SIZES]) + (" ..." if len(shown) > MAX_SIZES else "")


def draw_confusion(task: str, counts: Mapping[str, Mapping[str, int]]) -> Figure:
    """Expected answers (rows) against given ones (columns): numbers, coloured by the share of the row."""
    expected, given, table = confusion_table(counts)
    side = 0.42 * max(len(expected), len(given)) + 1.8
    figure = new_figure(max(side + 1, 4), max(side, 3))
    axes = figure.subplots()
    shares = table / table.sum(axis=1, keepdims=True).clip(min=1)
    # The root makes single mistakes visible next to a diagonal that holds nearly everything.
    picture = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.4, vmin=0, vmax=1))
    for row, column in zip(*np.nonzero(table), strict=True):
        colour = "white" if shares[row, column] > 0.35 else "black"
        axes.text(column, row, f"{table[row, column]:.0f}", ha="center", va="center", fontsize=7.5, color=colour)
    axes.set_xticks(
        range(len(given)), [label(name, 24) for name in given], rotation=60, ha="right", rotation_mode="anchor"
    )
    axes.set_yticks(range(len(expected)), [label(name) for name in expected])
    axes.set_xlabel("answer given")
    axes.set_ylabel("answer expected")
    axes.set_title(f"{label(task, 60)}: number of answers", loc="left", fontweight="bold", fontsize=11)
    bar = figure.colorbar(
        picture, ax=axes, shrink=0.8, label="share of the expected answer", ticks=[0, 0.01, 0.1, 0.5, 1]
    )
    bar.ax.set_yticklabels(["0 %", "1 %", "10 %", "50 %", "100 %"])
    return figure


def confusion_table(counts: Mapping[str, Mapping[str, int]]) -> tuple[list[str], list[str], np.ndarray]:
    """Row names, column names and numbers; rare answers beyond a readable number become "(other)"."""
    frequency = {answer: sum(row.values()) for answer, row in counts.items()}
    expected = sorted(frequency, key=lambda answer: (-frequency[answer], answer))[:MAX_ANSWERS]
    others = any(answer not in expected for row in counts.values() for answer in row)
    given = expected + ["(other)"] * others
    rows = expected + ["(other)"] * (len(frequency) > len(expected))
    table = np.zeros((len(rows), len(given)))
    for answer, row in counts.items():
        for guess, count in row.items():
            place = rows.index(answer) if answer in expected else len(expected)
            table[place, given.index(guess) if guess in expected else len(expected)] += count
    return rows, given, table


def is_drawn(name: str) -> bool:
    """Whether the picture of a training has a curve of this name: losses, and scores of the validation."""
    score = name.startswith("val/") and name.endswith(("accuracy", "/chrf", MAIN_RECALL))
    return name in ("train/loss", "val/loss") or score


def draw_training(curves: Mapping[str, np.ndarray]) -> Figure:
    """Training loss, and validation accuracy of every task, over steps."""
    losses = {name: curve for name, curve in curves.items() if name in ("train/loss", "val/loss")}
    accuracies = {name: curve for name, curve in curves.items() if name not in losses and not outshone(name, curves)}
    panels = [panel for panel in (losses, accuracies) if panel]
    figure = new_figure(WIDTH, 3.2)
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        (draw_losses if panel is losses else draw_accuracies)(axes, panel)
        axes.set_xlabel("step")
        style(axes, "both")
    return figure


def outshone(name: str, curves: Mapping[str, np.ndarray]) -> bool:
    """Whether a curve is the accuracy of free text, which has chrF as well."""
    head, _, metric = name.rpartition("/")
    return metric == ACCURACY and head.count("/") > 0 and f"{head}/{CHRF}" in curves


def draw_losses(axes: Axes, curves: Mapping[str, np.ndarray]) -> None:
    """The training loss as logged, faint, with its running mean on top, and the loss of the validation."""
    if (curve := curves.get("train/loss")) is not None:
        axes.plot(curve[:, 0], curve[:, 1], color=COLOURS[0], alpha=0.3, linewidth=1)
        axes.plot(*running_mean(curve), color=COLOURS[0], linewidth=1.8, label="training")
    if (curve := curves.get("val/loss")) is not None:
        axes.plot(*curve.T, **line_style(1), markersize=3.5, label="validation")
        axes.legend(frameon=False)
    axes.set_ylabel("loss (nats per answer token)")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(LogFormatter())  # others write powers as mathematics
    axes.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1, 0.5)))


def running_mean(curve: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Steps and means over windows of a twentieth of the curve, without edge effects."""
    width = max(1, len(curve) // 20)
    sums = np.cumsum(np.insert(curve, 0, 0, axis=0), axis=0)
    steps, values = ((sums[width:] - sums[:-width]) / width).T
    return steps, values


def draw_accuracies(axes: Axes, curves: Mapping[str, np.ndarray]) -> None:
    """One line for each validation task; the mean over tasks is left to the table."""
    every: Sequence[str] = [name for name in curves if name.count("/") > 1] or list(curves)
    tasks = every[:MAX_TASKS]
    for order, name in enumerate(tasks):
        task = name.removeprefix("val/").rpartition("/")[0] or name
        axes.plot(*curves[name].T, **line_style(order), markersize=3.5, label=label(task))
    metrics = dict.fromkeys(title(name.rpartition("/")[2]) for name in tasks)
    axes.set_ylabel(f"validation {label(', '.join(metrics))}{and_rest(len(tasks), len(every))}")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    if len(tasks) > MOST_INSIDE:
        axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1), fontsize=7)
    else:
        axes.legend(frameon=False, loc="lower right")
