"""Tables on the terminal, which is 80 columns wide where the output goes into a file."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from data.display.plain_text import label

# To measure what a table would take.
WIDEST = 10_000


def fits(table: Table, console: Console) -> bool:
    """Whether a table can be shown without folding or cutting off."""
    return width_of(table, console) <= console.width


def width_of(table: Table, console: Console) -> int:
    """The columns that a table would take."""
    return console.measure(table, options=console.options.update(max_width=WIDEST)).maximum


def marked_up(text: str, longest: int = 60, after: str = "") -> str:
    """A name of data as rich shows it: short, with no markup of its own, broken after each `after`."""
    name = label(text, longest)
    return escape(name.replace(after, f"{after}\n") if after else name)


def cell_text(markup: str) -> Text:
    """A cell with markup of ours; `:smile:` in a name of data stays what it is."""
    return Text.from_markup(markup, emoji=False)
