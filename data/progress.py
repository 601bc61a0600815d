"""What a person sees of work that takes long: how much is done, how fast, how long it will take; and lines."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self, TypeVar

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

from data.display.plain_text import label as short
from data.spelling import printable

Item = TypeVar("Item")
# Seconds between two lines where the output is not a terminal.
LINE_EVERY = 10.0
# Characters of what is being done.
LONGEST_LABEL = 60


class Progress:
    """A bar with rate and time left, which is gone at the end; where the output is not a terminal, a line with the same
    every `LINE_EVERY` seconds.

    done: what was there at the start, which counts for no rate. max_seconds: what remains of the time that the work may
    take. console: where it is shown; stderr unless given. Nothing is shown unless `shown`.
    """

    def __init__(
        self,
        label: str,
        total: int,
        done: int = 0,
        max_seconds: float | None = None,
        console: Console | None = None,
        shown: bool = True,
    ) -> None:
        self.label, self.total, self.done, self.max_seconds = label, total, done, max_seconds
        self.console, self.shown = console or Console(stderr=True), shown
        self.status = ""
        self._first, self._started = done, time.monotonic()
        self._told = self._started
        columns = (TextColumn("{task.description}", markup=False), BarColumn())
        hidden = not (shown and self.console.is_terminal)
        self._bar = Bar(*columns, console=self.console, disable=hidden, transient=True)
        self._task = self._bar.add_task(label, total=total, completed=done)

    def __enter__(self) -> Self:
        self._bar.start()
        self._show()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def stage(self, label: str) -> None:
        """Says what is being done now."""
        self.label = short(label, LONGEST_LABEL)
        self._show()

    def advance(self, count: int = 1) -> None:
        """So many more are done."""
        self.reach(self.done + count)

    def reach(self, done: int) -> None:
        """So many are done."""
        self.done = done
        self._show()
        if time.monotonic() - self._told >= LINE_EVERY:
            self.line()

    def line(self) -> None:
        """Where there is no bar: the line, now."""
        if self.shown and not self.console.is_terminal:
            self._told = time.monotonic()
            self.say(str(self))

    def say(self, text: str) -> None:
        """One line, above the bar; what no terminal should be sent, or could show, is written as Python would."""
        _write(self.console, printable(text))

    def __str__(self) -> str:
        told = f"{self.status or self._rate()}  {clock(self.seconds_left())} left" if self.done > self._first else ""
        return f"{self.label} {self.done:,}/{self.total:,}  {told}".rstrip()

    def seconds_left(self) -> float:
        """By the mean duration so far, or by the limit of time if that is nearer."""
        elapsed = time.monotonic() - self._started
        left = elapsed / max(self.done - self._first, 1) * (self.total - self.done)
        return left if self.max_seconds is None else max(min(left, self.max_seconds - elapsed), 0.0)

    def _rate(self) -> str:
        per_second = (self.done - self._first) / max(time.monotonic() - self._started, 1e-9)
        return f"{per_second:,.0f}/s" if per_second >= 10 else f"{per_second:.2g}/s"

    def _show(self) -> None:
        self._bar.update(self._task, completed=self.done, description=str(self))


def with_progress(items: Sequence[Item], label: str) -> Iterator[Item]:
    """The items, while stderr shows how far they are."""
    with Progress(f"{label}:", len(items)) as progress:
        for item in items:
            yield item
            progress.advance()


def tell(*lines: str) -> None:
    """Lines for the person who watches, on stderr, with nothing in them interpreted; empty ones are passed over."""
    console = Console(stderr=True)
    for line in filter(None, lines):
        _write(console, line)


def _write(console: Console, line: str) -> None:
    console.print(line, markup=False, emoji=False, highlight=False, soft_wrap=True)


def clock(seconds: float) -> str:
    """1:05 or 2:03:04."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
