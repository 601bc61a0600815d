"""What is summed up between two lines of the log, and since the very beginning."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from training.steps.accumulation import StepTotals


@dataclass
class Counters:
    """Sums since the very beginning, over all processes. next_batch: number of the next micro-batch."""

    step: int = 0
    next_batch: int = 0
    tokens: int = 0
    skipped_samples: int = 0
    skipped_updates: int = 0


@dataclass
class Window:
    """Sums since the last log line. Part of the checkpoint, so that a resumed run logs the same means."""

    steps: int = 0
    loss: float = 0.0
    count: int = 0
    tokens: int = 0
    slots: int = 0
    seconds: float = 0.0
    data_seconds: float = 0.0
    groups: dict[str, list[float]] = field(default_factory=dict)
    statistics: dict[str, list[float]] = field(default_factory=dict)

    def add(self, totals: StepTotals, seconds: float, data_seconds: float, accepted: bool) -> None:
        """Takes one step; the losses of an update that was not made are left out."""
        self.steps += 1
        self.tokens += totals.tokens
        self.slots += totals.slots
        self.seconds += seconds
        self.data_seconds += data_seconds
        if accepted:
            self.loss += totals.loss
            self.count += totals.count
            _add(self.groups, totals.groups)
            _add(self.statistics, totals.statistics)

    def metrics(self) -> dict[str, float]:
        """The means, by the names that they are logged under.

        The loss is split by source and by the modality of the question, and by both. What the layers say has names of
        its own (see `training.steps.statistics`).
        """
        result = {"train/loss": self.loss / self.count} if self.count else {}
        sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        for name, pair in sorted(self.groups.items()):
            source, _, modality = name.rpartition("/")
            for key in (f"loss/{name}", f"loss_by_source/{source}", f"loss_by_modality/{modality}"):
                sums[key] = [total + part for total, part in zip(sums[key], pair, strict=True)]
        result |= {f"train/{key}": loss / count for key, (loss, count) in sums.items() if count}
        result |= {name: total / count for name, (total, count) in sorted(self.statistics.items()) if count}
        return result | {
            "train/tokens_per_second": self.tokens / max(self.seconds, 1e-9),
            "time/step": self.seconds / max(self.steps, 1),
            "time/data": self.data_seconds / max(self.steps, 1),
            "data/packing_efficiency": self.tokens / max(self.slots, 1),
        }

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return asdict(self)

    @classmethod
    def merge(cls, states: Iterable[dict[str, Any]]) -> Window:
        """One window from those of all processes. Groups and statistics differ; all else is the same in each."""
        first, *others = states
        merged = cls(**first)
        for state in others:
            _add(merged.groups, state["groups"])
            _add(merged.statistics, state["statistics"])
        return merged


def _add(sums: dict[str, list[float]], new: Mapping[str, Sequence[float]]) -> None:
    for name, (total, count) in new.items():
        old = sums.get(name, [0.0, 0])
        sums[name] = [old[0] + total, old[1] + count]
