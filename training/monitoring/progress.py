"""What the user sees while a model trains."""

from __future__ import annotations

from rich.console import Console

from data import progress


class Progress(progress.Progress):
    """Steps, with the loss, tokens per second and the time left, on standard output.

    max_seconds: what remains of the time that training may take. Nothing is shown unless `visible`.
    """

    def __init__(self, step: int, max_steps: int, max_seconds: float | None = None, visible: bool = True) -> None:
        console = Console(highlight=False, quiet=not visible)
        super().__init__("step", max_steps, step, max_seconds, console, visible)

    def report(self, step: int, loss: float | None, tokens_per_second: float) -> None:
        """Shows the figures of the last window."""
        shown = "-" if loss is None else f"{loss:.4f}"
        self.status = f"loss {shown}  {tokens_per_second:,.0f} tokens/s"
        self.reach(step)
        self.line()
