"""Numbers and tables of reports, as markdown and before they are drawn."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from data.display.plain_text import one_line


def percent(score: Mapping[str, float]) -> str:
    """A score with its interval, in percent."""
    value, low, high = (100 * score[key] for key in ("value", "low", "high"))
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"


# What begins something else than text: code, mathematics, emphasis, a cell, a link; "_" only at the edge of a word.
MARKS = re.compile(r"[\\|`$*~]|(?<![^\W_])_|_(?![^\W_])|(?<=\])\(")


def escaped(text: object) -> str:
    """A text of data on one line, which neither ends a cell nor becomes a tag, code, mathematics, a link or bold."""
    line = one_line(text).replace("&", "&amp;").replace("<", "&lt;")
    return MARKS.sub(r"\\\g<0>", line)


def code(text: object) -> str:
    """A text of data between backticks, which it has none of."""
    return "`" + one_line(text).replace("`", "'") + "`"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A markdown table; the first column is text, the others numbers. Cells may be bold, and are nothing else."""
    cells = [[_cell(cell) for cell in row] for row in (head, *rows)]
    rule = ["---", *["---:"] * (len(head) - 1)]
    return ["| " + " | ".join(row) + " |" for row in [cells[0], rule, *cells[1:]]]


def _cell(text: str) -> str:
    bold = re.fullmatch(r"\*\*(.+)\*\*", text)
    return f"**{escaped(bold[1])}**" if bold else escaped(text)


def turned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[list[str], list[list[str]]]:
    """The same table with rows as columns."""
    first, *rest = ([*column] for column in zip(head, *rows, strict=True))
    return first, rest
