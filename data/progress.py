"""What a person is told before a training can start: a bar for what takes long, and lines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from rich.console import Console
from rich.progress import track

Item = TypeVar("Item")
# As many items are worth a line in a log.
MANY = 500


def with_progress(items: Sequence[Item], label: str) -> Iterable[Item]:
    """The items, with a bar and the time left on stderr; where that is not a terminal, one line if they are many."""
    console = Console(stderr=True)
    if not console.is_terminal and len(items) >= MANY:
        console.print(f"{label}: {len(items)} items", soft_wrap=True)
    return track(items, label, console=console, transient=True, disable=not console.is_terminal)


def tell(*lines: str) -> None:
    """Lines for the person who watches, on stderr, with nothing in them interpreted; empty ones are passed over."""
    console = Console(stderr=True)
    for line in filter(None, lines):
        console.print(line, markup=False, emoji=False, highlight=False, soft_wrap=True)
