"""Validation during training where the samples are aligned: recall in every direction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import nn

from data.aligned import is_aligned
from data.interleave import Interleaver
from data.mixture import Source
from data.tokenizer import Tokenizer
from evaluation.embedding import embed, read_aligned
from evaluation.metrics import MAIN_RECALL
from evaluation.monitor import Gallery, Monitor
from evaluation.retrieval import directions, possible_directions

WITHIN = 10
CHANCE = "_chance"
# Directions are averaged as far as chance is at most so many times what it is in the hardest one.
COMPARABLE = 2.0


class AlignmentMonitor:
    """Called as `monitor(model, step, tracker)`: asks every modality of every source for every other."""

    def __init__(self, sources: Mapping[str, Source], interleaver: Interleaver, on_bad_sample: str = "error") -> None:
        self._skipped: list[str] | None = [] if on_bad_sample == "skip" else None
        self._samples = {name: read_aligned(source, self._skipped) for name, source in sources.items()}
        self._interleaver = interleaver

    @property
    def metrics(self) -> list[str]:
        """Names of what a call returns."""
        names = [
            f"val/{name}/{direction}/{MAIN_RECALL}"
            for name, samples in self._samples.items()
            for direction in possible_directions(samples, self._interleaver.modalities)
        ]
        return [metric for name in (*names, f"val/{MAIN_RECALL}") for metric in (name, name + CHANCE)]

    def __call__(self, model: nn.Module, step: int, tracker: Gallery | None = None) -> dict[str, float]:
        """`val/<source>/<direction>/recall@10` with `.../recall@10_chance`, and `val/recall@10` with its chance.

        Ten of 7 candidates are always found, ten of 54 are not: `val/recall@10` is the mean over the directions that
        are about as hard as the hardest, which has the least chance. `model` is a `FusionModel`.
        """
        found: dict[str, tuple[float, float]] = {}
        for name, samples in self._samples.items():
            embedded = embed(model, self._interleaver, samples, skipped=self._skipped)  # type: ignore[arg-type]
            for direction, asked in directions(embedded).items():
                recall = float((asked.ranks <= WITHIN).mean())
                found[f"val/{name}/{direction}/{MAIN_RECALL}"] = (recall, asked.chance()[MAIN_RECALL])
        found[f"val/{MAIN_RECALL}"] = comparable_mean(list(found.values()))
        return {
            name + suffix: value
            for name, pair in found.items()
            for suffix, value in zip(("", CHANCE), pair, strict=True)
        }


def comparable_mean(found: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Mean recall and mean chance of the directions in which chance is at most twice the least; 0 of none."""
    least = min((random for _, random in found), default=0.0)
    kept = [pair for pair in found if pair[1] <= COMPARABLE * least]
    return tuple(np.mean(kept, axis=0).tolist()) if kept else (0.0, 0.0)


class Monitors:
    """Several monitors as one: a `Monitor` of conversations beside an `AlignmentMonitor`."""

    def __init__(self, parts: Sequence[Monitor | AlignmentMonitor]) -> None:
        self._parts = parts

    @property
    def metrics(self) -> list[str]:
        """Names of what a call returns."""
        return [name for part in self._parts for name in part.metrics]

    def __call__(self, model: nn.Module, step: int, tracker: Gallery | None = None) -> dict[str, float]:
        """The metrics of all."""
        return {name: value for part in self._parts for name, value in part(model, step, tracker).items()}


def make_monitor(
    sources: Mapping[str, Source], tokenizer: Tokenizer, interleaver: Interleaver, **options: Any
) -> Monitors:
    """A `Monitor` of the sources that hold conversations, an `AlignmentMonitor` of those that hold aligned samples.

    The first sample that can be read says which; `options` are those of `Monitor`.
    """
    aligned = {name: source for name, source in sources.items() if is_aligned(source)}
    asked = {name: source for name, source in sources.items() if name not in aligned}
    monitors: list[Monitor | AlignmentMonitor] = []
    if asked:
        monitors.append(Monitor(asked, tokenizer, interleaver, **options))
    if aligned:
        monitors.append(AlignmentMonitor(aligned, interleaver, options.get("on_bad_sample", "error")))
    return Monitors(monitors)
