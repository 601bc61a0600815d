"""Numbers and tables of reports, as markdown and before they are drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def percent(score: Mapping[str, float], digits: int = 1) -> str:
    """A score with its interval, in percent."""
    value, low, high = (100 * score[key] for key in ("value", "low", "high"))
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A markdown table; the first column is text, the others numbers."""
    # Templates of questions hold "<colour>", which a browser would take for a tag.
    cells = [[cell.replace("|", "\\|").replace("<", "&lt;") for cell in row] for row in rows]
    rule = ["---", *["---:"] * (len(head) - 1)]
    return ["| " + " | ".join(row) + " |" for row in [list(head), rule, *cells]]


def turned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[list[str], list[list[str]]]:
    """The same table with rows as columns."""
    first, *rest = ([*column] for column in zip(head, *rows, strict=True))
    return first, rest
