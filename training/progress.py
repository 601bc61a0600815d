"""What the user sees while a model trains."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar


class Progress:
    """A bar with loss, tokens per second and time left; plain lines where the output is not a terminal.

    max_seconds: what remains of the time that training may take. Nothing is shown unless `visible`.
    """

    def __init__(self, step: int, max_steps: int, max_seconds: float | None = None, visible: bool = True) -> None:
        self.console = Console(highlight=False, quiet=not visible)
        self.first_step, self.max_steps, self.max_seconds = step, max_steps, max_seconds
        self.started = time.monotonic()
        columns = (
            TextColumn("step"),
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("{task.fields[status]}", markup=False),
        )
        self.bar = Bar(*columns, console=self.console, disable=not self.console.is_terminal, transient=True)
        self.task = self.bar.add_task("train", total=max_steps, completed=step, status="")

    def __enter__(self) -> Progress:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def advance(self, step: int) -> None:
        """Moves the bar."""
        self.bar.update(self.task, completed=step)

    def report(self, step: int, loss: float | None, tokens_per_second: float) -> None:
        """Shows the figures of the last window."""
        shown = "-" if loss is None else f"{loss:.4f}"
        status = f"loss {shown}  {tokens_per_second:,.0f} tokens/s  {clock(self.seconds_left(step))} left"
        self.bar.update(self.task, completed=step, status=status)
        if not self.console.is_terminal:
            self.say(f"step {step}/{self.max_steps}  {status}")

    def say(self, text: str) -> None:
        """One line, above the bar; what no terminal should be sent, or could show, is written as Python would."""
        shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
        self.console.print(shown, markup=False, emoji=False, soft_wrap=True)

    def seconds_left(self, step: int) -> float:
        """By the mean duration of the steps so far, or by the limit of time if that is nearer."""
        elapsed = time.monotonic() - self.started
        left = elapsed / max(step - self.first_step, 1) * (self.max_steps - step)
        return left if self.max_seconds is None else max(min(left, self.max_seconds - elapsed), 0.0)


def clock(seconds: float) -> str:
    """1:05 or 2:03:04."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
