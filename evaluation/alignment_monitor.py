"""Validation during training where the samples are aligned: recall in every direction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import nn

from data.interleave import Interleaver
from data.mixture import Source
from data.tokenizer import Tokenizer
from data.types import AlignedSample, BadSampleError
from evaluation.embedding import embed, read_aligned
from evaluation.metrics import MAIN_RECALL
from evaluation.monitor import Gallery, Monitor
from evaluation.retrieval import directions, possible_directions

WITHIN = 10


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
        return [*names, f"val/{MAIN_RECALL}"]

    def __call__(self, model: nn.Module, step: int, tracker: Gallery | None = None) -> dict[str, float]:
        """`val/<source>/<direction>/recall@10`, and their mean `val/recall@10`; `model` is a `FusionModel`."""
        metrics = {}
        for name, samples in self._samples.items():
            embedded = embed(model, self._interleaver, samples, skipped=self._skipped)  # type: ignore[arg-type]
            for direction, (placed, _, _) in directions(embedded).items():
                metrics[f"val/{name}/{direction}/{MAIN_RECALL}"] = float((placed <= WITHIN).mean())
        return {**metrics, f"val/{MAIN_RECALL}": float(np.mean(list(metrics.values()) or [0.0]))}


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
    aligned = {name: source for name, source in sources.items() if _is_aligned(source)}
    asked = {name: source for name, source in sources.items() if name not in aligned}
    monitors: list[Monitor | AlignmentMonitor] = []
    if asked:
        monitors.append(Monitor(asked, tokenizer, interleaver, **options))
    if aligned:
        monitors.append(AlignmentMonitor(aligned, interleaver, options.get("on_bad_sample", "error")))
    return Monitors(monitors)


def _is_aligned(source: Source) -> bool:
    for index in range(len(source)):
        try:
            return isinstance(source.sample(index, np.random.default_rng(0)), AlignedSample)
        except BadSampleError:
            continue
    return False
