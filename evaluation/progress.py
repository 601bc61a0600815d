"""The progress bar of an evaluation: questions done, rate, time left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from data.plain_text import label


class RateColumn(ProgressColumn):
    """Questions per second."""

    def render(self, task: Task) -> Text:
        """The recent rate, or nothing before there is one."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f}/s" if speed else "", style="cyan")


class QuestionProgress:
    """Counts questions of all tasks and conditions; `stage` says which one is asked at present."""

    def __init__(self, bar: Progress, total: int) -> None:
        self._bar = bar
        self._task = bar.add_task("evaluating", total=total)

    def stage(self, name: str) -> None:
        """Shows what is being asked."""
        self._bar.update(self._task, description=label(name, 60))

    def advance(self, done: int) -> None:
        """Counts `done` more questions."""
        self._bar.advance(self._task, done)


@contextmanager
def question_progress(total: int, shown: bool = True) -> Iterator[QuestionProgress]:
    """A bar on standard error for `total` questions, cleared at the end; invisible if not `shown`."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description:<36}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
    )
    console = Console(stderr=True)
    hidden = not shown or console.is_jupyter  # where a bar needs another library, and warns that it is missing
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True, disable=hidden) as bar:
        yield QuestionProgress(bar, total)
