"""A bake-off on the terminal, in 80 columns: what does not fit stands in `bakeoff.md`."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bakeoff.report.report import about_contrasts
from bakeoff.report.tables import cells, contrast, head, heading
from bakeoff.results.contrasts import Tested
from bakeoff.results.gather import Results

# Of the columns after those of the tasks.
COSTS = ("parameters (M)", "MFLOP per sample (forward)")
CONTRASTS = ("method -\nagainst", "task,\nequal", "difference", "simul-\ntaneous", "p", "p\n(Holm)")


def print_results(results: Results, console: Console | None = None) -> None:
    """Prints a table for each budget, and the primary contrasts."""
    console = console or Console()
    names = head(results)
    shown = [0, *range(1, 1 + len(results.tasks)), *map(names.index, COSTS)]
    for terms in results.differences:
        rows = [cells(row, results) for row in results.rows if row.terms == terms]
        lines = [[broken_name(row[0]), *(broken(row[place]) for place in shown[1:])] for row in rows]
        console.print(on_terminal(heading(terms, results), [broken(names[place]) for place in shown], lines))
    if results.contrasts:
        lines = [contrast_cells(item) for item in results.contrasts]
        console.print(on_terminal("Primary contrasts", CONTRASTS, lines))
    console.print(about_contrasts(results), markup=False)


def contrast_cells(item: Tested) -> list[str]:
    """A primary contrast in fewer and taller cells than in the report."""
    method, against, task, terms, *numbers = contrast(item)
    both = f"{broken_name(method)} -\n{broken_name(against)}"
    return [both, f"{broken(task)},\n{broken(terms)}", *(broken(number.replace("**", "")) for number in numbers)]


def broken(text: str) -> str:
    """A head or a number in short lines: an interval below its value, a task below its source."""
    return text.replace("/", "/\n").replace(" [", "\n[").replace(" (", "\n(").replace(" per ", " per\n")


def broken_name(method: str) -> str:
    """A method's name, in two lines at its last underscore."""
    first, mark, last = method.rpartition("_")
    return f"{first}_\n{last}" if mark else method


def on_terminal(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table: its first column is a name, and its other columns are numbers."""
    found = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for place, name in enumerate(columns):
        found.add_column(Text(name), justify="right" if place else "left", overflow="fold")
    for row in rows:
        found.add_row(*(Text(cell) for cell in row))
    return found
