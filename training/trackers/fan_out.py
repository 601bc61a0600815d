"""Several trackers at once: the files are the truth, and no dashboard may stop a training."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from data.instantiate import instantiate
from data.types import BadInputError
from training.trackers.base import Array, Cell, Tracker
from training.trackers.jsonl import JsonlTracker

logger = logging.getLogger(__name__)


class FanOut:
    """A `Tracker` that passes every call on.

    An error of `truth` is the run's error. An error of one of `others` becomes one warning a tracker, and
    a tracker that cannot start is left out, unless the reason is something the user can put right.
    """

    def __init__(self, truth: Tracker | None, others: Mapping[str, Tracker]) -> None:
        self._truth = truth
        self._others = dict(others)
        self._warned: set[str] = set()

    def start(self, run_name: str, config: Mapping[str, Any], resume_step: int | None = None) -> None:
        """Start all; raises `BadInputError` for wrong settings of any of them."""
        failed = self._each(lambda tracker: tracker.start(run_name, config, resume_step))
        self._others = {name: tracker for name, tracker in self._others.items() if name not in failed}

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Scalars of one step."""
        self._each(lambda tracker: tracker.log(step, metrics))

    def image(self, step: int, name: str, image: Array, caption: str = "") -> None:
        """One picture."""
        self._each(lambda tracker: tracker.image(step, name, image, caption))

    def audio(self, step: int, name: str, samples: Array, rate: int, caption: str = "") -> None:
        """One playable clip."""
        self._each(lambda tracker: tracker.audio(step, name, samples, rate, caption))

    def table(self, step: int, name: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
        """Rows of text, numbers, pictures and clips."""
        self._each(lambda tracker: tracker.table(step, name, columns, rows))

    def histogram(self, step: int, name: str, values: Array) -> None:
        """A distribution."""
        self._each(lambda tracker: tracker.histogram(step, name, values))

    def alert(self, title: str, text: str, level: str = "warn") -> None:
        """Something that a person should look at."""
        self._each(lambda tracker: tracker.alert(title, text, level))

    def summary(self, values: Mapping[str, Any]) -> None:
        """The run's last word."""
        self._each(lambda tracker: tracker.summary(values))

    def finish(self) -> None:
        """Write everything out."""
        self._each(lambda tracker: tracker.finish())

    def _each(self, call: Callable[[Tracker], None]) -> set[str]:
        """Names of the trackers that failed."""
        if self._truth is not None:
            call(self._truth)
        failed = set()
        for name, tracker in self._others.items():
            try:
                call(tracker)
            except BadInputError:
                raise
            except Exception as error:
                failed.add(name)
                self._warn(name, error)
        return failed

    def _warn(self, name: str, error: Exception) -> None:
        if name not in self._warned:
            self._warned.add(name)
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            logger.warning("tracker %s failed and may lack data; metrics.jsonl has it all (%s)", name, reason)


def build_tracker(config: Mapping[str, Any] | None, run_folder: Path, rank: int = 0) -> FanOut:
    """The files of the run, and every tracker of the config group `tracker`; nothing at all on other ranks.

    `config` maps a name to `{_target_: .., ..}`. Raises `BadInputError` for wrong options.
    """
    if rank != 0:
        return FanOut(None, {})
    chosen = (config or {}).items()
    others = {name: instantiate(spec, f"tracker.{name}", run_folder=run_folder) for name, spec in chosen}
    return FanOut(JsonlTracker(run_folder), others)
