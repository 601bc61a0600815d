"""Tables on the terminal, which is 80 columns wide where the output goes into a file."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

# To measure what a table would take.
WIDEST = 10_000


def fits(table: Table, console: Console) -> bool:
    """Whether a table can be shown without folding or cutting off."""
    return console.measure(table, options=console.options.update(max_width=WIDEST)).maximum <= console.width
