"""Agreement of forms of the same questions, and who wins in conflicts: tables and a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from data.display.drawing import GREY, MAX_TASKS, Draw, and_rest, bar_style, new_figure, point_style, style
from data.display.plain_text import label
from evaluation.reports.figures.scores import WIDTH, errors
from evaluation.reports.markdown import percent, table

TITLE = "Agreement and conflict"
NEITHER = "neither"
HOW_TO_READ = """How to read agreement:

- kappa is agreement corrected for chance: 1 where both forms always get the same answer, 0 where they agree as often as
  two that know nothing of each other would. Of answers (Cohen): chance is by how often each form is given each answer.
- of right and wrong: whether both forms are right or both are wrong. Its chance is what two independent models of these
  accuracies would have. It is 1 where one form fails exactly where the other does, however often that is.
- same wrong answer: of what both forms get wrong. Its chance knows which answer was expected, so that it is 100 where
  only one answer can be wrong.
- Three forms or more: Fleiss' kappa, on the rows that all of them answered."""
HOW_TO_READ_CONFLICTS = """How to read conflicts:

- follows: the share of conflicts that are answered as this modality asks. Neither: as none of them asks.
- the last: of the answers that follow one of the two, how many follow what was given last. Half of the samples give the
  one first, half the other, so that this does not count for a modality.
- agreeing: accuracy where both modalities ask for the same, put together in the same way.
- noticed: how often a conflict gets an answer of less probability than what agrees does (AUROC). 50: the model does not
  notice; 100: its probability always tells a conflict."""


def agreement_lines(report: Mapping[str, Any]) -> list[str]:
    """Markdown of what the report has content for; nothing of a report without any."""
    found = report.get("agreement", {})
    lines: list[str] = []
    if pairs := found.get("pairs"):
        head = ["forms", "n", "accuracy", "both right", "only first", "only second", "both wrong", "same answer"]
        rows = [pair_row(pair) for pair in pairs]
        lines += ["", "## Numbers of agreement", "", *table(head, rows), ""]
        head = ["forms", "kappa of answers", "kappa of right and wrong", "by chance", "same wrong answer", "by chance"]
        rows = [kappa_row(pair) for pair in pairs]
        rows += [[sides_of(item), kappa(item["answers"]), "", "", "", ""] for item in found.get("families", ())]
        lines += [*table(head, rows), "", HOW_TO_READ]
    if conflicts := found.get("conflicts"):
        head = ["conflict", "n", "follows", "the last", "right", "agreeing", "noticed", "says so"]
        rows = [conflict_row(item) for item in conflicts]
        lines += ["", "## Numbers of conflict", "", *table(head, rows), "", HOW_TO_READ_CONFLICTS]
    return lines


def sides_of(item: Mapping[str, Any]) -> str:
    """The forms that are compared."""
    return " and ".join(item["sides"])


def kappa(found: Mapping[str, Any]) -> str:
    """A kappa with its interval; a dash where both sides always give the same answer to everything."""
    score = found["kappa"]
    return "-" if score is None else f"{score['value']:.3f} [{score['low']:.3f}, {score['high']:.3f}]"


def pair_row(pair: Mapping[str, Any]) -> list[str]:
    """Accuracy of both sides, and how often they are right together, in percent."""
    counts = [pair["counts"][key] for key in ("both_right", "only_first", "only_second", "both_wrong")]
    accuracy = ", ".join(percent(score) for score in pair["accuracy"])
    cells = [f"{count:,} ({100 * count / pair['n']:.1f})" for count in counts]
    return [sides_of(pair), f"{pair['n']:,}", accuracy, *cells, percent(pair["answers"]["observed"])]


def kappa_row(pair: Mapping[str, Any]) -> list[str]:
    """The kappas of two sides with what chance gives, and how often they are wrong in the same way."""
    wrong = pair["wrong"]
    same = ["-", "-"] if wrong["observed"] is None else [shown(wrong["observed"]), f"{100 * wrong['chance']:.1f}"]
    together = f"{100 * pair['right']['chance']:.1f} of {100 * pair['right']['observed']['value']:.1f}"
    return [sides_of(pair), kappa(pair["answers"]), kappa(pair["right"]), together, *same]


def shown(score: Mapping[str, float] | None) -> str:
    """A share in percent with its interval and number, or a dash."""
    return "-" if score is None else f"{percent(score)} n={score['n']:,}"


def conflict_row(item: Mapping[str, Any]) -> list[str]:
    """Who wins, and whether the model says so."""
    follows = ", ".join(f"{name} {percent(score)}" for name, score in item["follows"].items())
    admits = item.get("admits")
    said = "-" if admits is None else " against ".join(shown(admits[kind]) for kind in ("conflict", "agreeing"))
    parts = (item.get("last"), item.get("accuracy"), item["agreeing"], item["auroc"])
    return [name_of(item), f"{item['n']:,}", follows, *map(shown, parts), said]


def name_of(item: Mapping[str, Any]) -> str:
    """Where a conflict comes from."""
    return " against ".join(item["tasks"]) if item["made"] else f"{item['tasks'][0]}, its own"


def agreement_pictures(report: Mapping[str, Any]) -> dict[str, tuple[str, Draw]]:
    """The figure, if the report has content for it: title -> name of the file, and what draws it."""
    found = report.get("agreement", {})
    return (
        {TITLE: ("agreement", partial(draw_agreement, found))} if found.get("pairs") or found.get("conflicts") else {}
    )


def draw_agreement(found: Mapping[str, Any]) -> Figure:
    """Both kappas of every two forms, above what the answers to conflicts follow."""
    pairs, conflicts = found.get("pairs", [])[:MAX_TASKS], found.get("conflicts", [])[:MAX_TASKS]
    heights = [0.55 * len(part) + 0.9 for part in (pairs, conflicts) if part]
    figure = new_figure(WIDTH, sum(heights) + 0.6)
    panels = list(figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0])
    if pairs:
        draw_kappas(panels.pop(0), pairs)
    if conflicts:
        draw_conflicts(panels.pop(0), conflicts)
    totals = [(pairs, len(found.get("pairs", []))), (conflicts, len(found.get("conflicts", [])))]
    if rest := "".join(and_rest(len(part), total, "rows") for part, total in totals):
        figure.supxlabel(rest.removeprefix("; "), fontsize=9)
    return figure


def draw_kappas(axes: Axes, pairs: Sequence[Mapping[str, Any]]) -> None:
    """Two points a row, with intervals."""
    for place, (key, words) in enumerate((("answers", "of answers"), ("right", "of right and wrong"))):
        drawn = [(row, pair[key]["kappa"]) for row, pair in enumerate(pairs) if pair[key]["kappa"] is not None]
        for number, (row, score) in enumerate(drawn):
            at, name = row + 0.24 * place - 0.12, words if number == 0 else None
            axes.errorbar(score["value"], at, xerr=errors(score), capsize=3, label=name, **point_style(place))
    axes.axvline(0, color=GREY, linestyle=":", linewidth=1)
    axes.set_yticks(range(len(pairs)), [label(sides_of(pair), 60) for pair in pairs])
    axes.set_ylim(len(pairs) - 0.5, -0.5)
    axes.set_xlabel("kappa with 95 % interval (0: chance)")
    axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, fontsize=8.5)
    style(axes, "x")


def draw_conflicts(axes: Axes, conflicts: Sequence[Mapping[str, Any]]) -> None:
    """Shares of what answers follow, next to one another."""
    names = list(dict.fromkeys(name for item in conflicts for name in item["follows"] if name != NEITHER))
    size = 0.8 / (len(names) + 1)
    for place, name in enumerate([*names, NEITHER]):
        look = {"facecolor": GREY, "hatch": "", "edgecolor": "black"} if name == NEITHER else bar_style(place)
        for row, item in enumerate(conflicts):
            if (score := item["follows"].get(name)) is None:
                continue
            at = row + size * (place - len(names) / 2)
            axes.barh(at, score["value"], height=0.9 * size, **look)
            axes.errorbar(score["value"], at, xerr=errors(score), color="black", capsize=2, linewidth=1)
        axes.barh([0], [0], label=label(f"follows {name}", 30), **look)
    axes.set_yticks(range(len(conflicts)), [label(name_of(item), 60) for item in conflicts])
    axes.set_ylim(len(conflicts) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel("share of conflicts, with 95 % interval")
    axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, fontsize=8.5)
    style(axes, "x")
