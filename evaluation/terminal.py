"""Tables on the terminal, which is 80 columns wide where the output goes into a file."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from evaluation.plain_text import label

# To measure what a table would take.
WIDEST = 10_000


def fits(table: Table, console: Console) -> bool:
    """Whether a table can be shown without folding or cutting off."""
    return console.measure(table, options=console.options.update(max_width=WIDEST)).maximum <= console.width


def marked_up(text: str, longest: int = 60) -> str:
    """A name of data as rich shows it: short, and with no markup of its own."""
    return escape(label(text, longest))
