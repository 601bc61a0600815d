"""A comparison on the terminal: a block for each task, with the runs as rows, in as many columns as there are."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from data.display.plain_text import label, one_line
from evaluation.comparison.compare import Group, Spread, task_metrics, task_names, warnings
from evaluation.metrics.metric_names import LOWER_IS_BETTER, number, title
from evaluation.reports.terminal import width_of

# Name in the table, keys in the report, divisor, digits. The operations are those of the forward pass.
COSTS = (
    ("parameters (M)", ("model", "parameters"), 1e6, 2),
    ("MFLOP per question", ("model", "flops", "inference"), 1e6, 1),
    ("training (min)", ("train", "seconds"), 60, 1),
)
# Columns that a name has at least, and characters of it at most.
NAME_WIDTH, LONGEST_NAME = 20, 160
# Letters of a line of a head.
HEAD_WIDTH = 10
LEGEND = (
    "Shares are in percent. [a, b]: 95 % interval over the questions of one run; (a-b): lowest and highest of several "
    "seeds."
)
LOWER = "*: lower is better."
DASH = "-"
DASHES = "-: not every run of the row was asked this, or scored by it."
NARROW = "All intervals and all metrics stand in the file."


@dataclass(frozen=True)
class Block:
    """A table with a row for each group: its cells in full, and without the spread of all columns but the first."""

    title: str
    head: list[str]
    rows: list[list[str]]
    short: list[list[str]]


def cell(spread: Spread | None, metric: str) -> str:
    """A score with what is known of its spread."""
    if spread is None:
        return DASH
    mean, lowest, highest = (number(metric, value) for value in (spread.mean, spread.lowest, spread.highest))
    if spread.low is not None and spread.high is not None:
        return f"{mean} [{number(metric, spread.low)}, {number(metric, spread.high)}]"
    return mean if lowest == highest else f"{mean} ({lowest}-{highest})"


def cost_cell(spread: Spread | None, unit: float, digits: int) -> str:
    """A cost, and its range where several runs differ."""
    if spread is None:
        return DASH
    mean, lowest, highest = (f"{value / unit:,.{digits}f}" for value in (spread.mean, spread.lowest, spread.highest))
    return mean if lowest == highest else f"{mean} ({lowest}-{highest})"


def without_spread(text: str) -> str:
    """A number alone."""
    return text.partition(" ")[0]


def task_block(groups: Sequence[Group], task: str) -> Block:
    """All metrics of a task; the number of rows is in the title, or a column where it differs."""
    metrics = task_metrics(groups, task)
    head = [title(metric) + ("*" if metric in LOWER_IS_BETTER else "") for metric in metrics]
    rows = [[cell(group.task(task, metric), metric) for metric in metrics] for group in groups]
    numbers = [group.numbers(task, group.main(task) or metrics[0]) for group in groups]
    shown = ["/".join(f"{count:,}" for count in found) or DASH for found in numbers]
    name = one_line(task)
    if len(set(shown)) == 1:
        name += f", n={shown[0]}"
    else:
        head, rows = [*head, "n"], [[*row, count] for row, count in zip(rows, shown, strict=True)]
    return Block(name, head, rows, _shortened(rows))


def cost_block(groups: Sequence[Group]) -> Block:
    """What each group cost."""
    rows = [[cost_cell(group.cost(*path), unit, digits) for _, path, unit, digits in COSTS] for group in groups]
    return Block("cost", [name for name, *_ in COSTS], rows, _shortened(rows))


def _shortened(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    return [[row[0], *map(without_spread, row[1:])] for row in rows]


def print_comparison(groups: Sequence[Group], console: Console | None = None) -> None:
    """Prints every block, and every reason why the comparison may be unfair. Nothing is cut off at any width."""
    console = console or Console()
    blocks = [*(task_block(groups, task) for task in task_names(groups)), cost_block(groups)]
    left_out = False
    for block in blocks:
        shown, is_whole = fitting(block, groups, console)
        left_out |= not is_whole
        console.print(Text(label(block.title, LONGEST_NAME), style="bold"))
        console.print(shown)
        console.print()
    notes = [LEGEND, *([LOWER] if any(word.endswith("*") for block in blocks for word in block.head) else [])]
    notes += [NARROW] if left_out else []
    notes += [DASHES] if any(DASH in row for block in blocks for row in block.rows) else []
    for note in notes:
        console.print(note, style="dim", markup=False)
    for warning in warnings(groups):
        console.print(f"warning: {one_line(warning)}", style="yellow", markup=False, emoji=False)


def fitting(block: Block, groups: Sequence[Group], console: Console) -> tuple[Table, bool]:
    """The widest form of a block that fits the console, and whether it holds everything."""
    forms = [(block.head, block.rows), (block.head, block.short)]
    forms += [(block.head[:count], [row[:count] for row in block.short]) for count in range(len(block.head) - 1, 0, -1)]
    forms.append((block.head[:1], [[without_spread(row[0])] for row in block.rows]))
    needed = min(NAME_WIDTH, max(len(label(group.label, LONGEST_NAME)) for group in groups))
    for place, (head, rows) in enumerate(forms):
        room = console.width - width_of(table_of(head, rows, groups, 0), console)
        if room >= needed or place == len(forms) - 1:
            return table_of(head, rows, groups, max(room, needed)), place == 0
    raise AssertionError("the last form is always taken")


def table_of(head: Sequence[str], rows: Sequence[Sequence[str]], groups: Sequence[Group], room: int) -> Table:
    """A block as a table with names in lines of `room` letters; 0 leaves them out, to measure the rest."""
    counts = [str(len(group.runs)) for group in groups]
    several = any(count != "1" for count in counts)
    shown = Table(box=None, pad_edge=False)
    shown.add_column("", no_wrap=True)
    for words in (*(["runs"] if several else []), *head):
        shown.add_column(
            Text("\n".join(textwrap.wrap(words, HEAD_WIDTH))), justify="right", no_wrap=True, vertical="top"
        )
    for group, count, row in zip(groups, counts, rows, strict=True):
        lines = textwrap.wrap(label(group.label, LONGEST_NAME), room) if room else []
        cells = [*([count] if several else []), *row]
        shown.add_row(Text("\n".join(lines)), *(Text(text) for text in cells))
    return shown
