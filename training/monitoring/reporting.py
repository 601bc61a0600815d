"""What a training says: to the tracker, and to the person who watches it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from training.distributed import Processes
from training.monitoring.memory import PeakMemory
from training.monitoring.progress import Progress
from training.monitoring.slow_data import DataWatch
from training.steps.window import Counters, Window
from training.trackers.base import Tracker


class Reporter:
    """Sums up the steps since the last line of the log, and passes lines and alerts on.

    Only the first process has a tracker and something to say. run: its name; remedy: what may help where steps wait for
    data. Both are named by alerts.
    """

    def __init__(self, tracker: Tracker | None, processes: Processes, run: str = "", remedy: str = "") -> None:
        self.tracker, self.processes = tracker if processes.is_main else None, processes
        self.window, self.memory = Window(), PeakMemory(processes.device)
        self.progress: Progress | None = None
        self.said: set[str] = set()
        self.data, self.run, self.remedy = DataWatch(), run, remedy

    def log(self, counters: Counters, seconds: float, learning_rate: float, norms: Mapping[str, float]) -> None:
        """The line of this step, with means since the last one; every process must call this."""
        window = Window.merge(self.processes.gather(self.window.state_dict()))
        metrics = window.metrics()
        metrics["train/learning_rate"] = learning_rate
        metrics |= {f"grad_norm/{name}": norm for name, norm in norms.items()}
        metrics["data/skipped"] = counters.skipped_samples
        metrics["train/skipped_updates"] = counters.skipped_updates
        metrics |= self._memory()
        self.track(counters, seconds, metrics)
        if self.progress is not None:
            self.progress.report(counters.step, metrics.get("train/loss"), metrics["train/tokens_per_second"])
        self._watch_data(counters.step, window)
        self.window = Window()

    def track(self, counters: Counters, seconds: float, metrics: Mapping[str, float]) -> None:
        """Metrics of this step as they are."""
        if self.tracker is not None and metrics:
            self.tracker.log(counters.step, {"seconds": seconds, "tokens": counters.tokens, **metrics})

    def alert(self, title: str, text: str, level: str) -> None:
        """Something that a person should look at."""
        self.say(f"{title}: {text}")
        if self.tracker is not None:
            self.tracker.alert(title, text, level)

    def say(self, text: str) -> None:
        """One line for the person who watches."""
        if self.progress is not None:
            self.progress.say(text)

    def say_once(self, text: str) -> None:
        """One line, unless it was said before: the same sample is skipped in every epoch."""
        if text not in self.said:
            self.said.add(text)
            self.say(text)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps: the steps since the last line. Every process must call this."""
        return Window.merge(self.processes.gather(self.window.state_dict())).state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from `state_dict`."""
        if self.processes.is_main:
            self.window = Window(**state)

    def _memory(self) -> dict[str, float]:
        """Peaks of the process that has the highest."""
        found = self.processes.gather(self.memory.metrics())
        return {name: max(peaks.get(name, 0.0) for peaks in found) for name in found[0]}

    def _watch_data(self, step: int, window: Window) -> None:
        """One alert if steps keep waiting for data."""
        share = self.data.slow_share(window.steps, window.seconds, window.data_seconds)
        if share is not None:
            text = f"run {self.run}, step {step}: {share:.0%} of the time was spent waiting for data"
            self.alert("slow data", f"{text}; what may help: {self.remedy}" if self.remedy else text, "warn")
