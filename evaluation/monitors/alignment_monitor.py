"""Validation during training where the samples are aligned: recall in every direction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from torch import nn

from data.batching.interleave import Interleaver
from data.chat import ChatTokenizer
from data.sources.aligned import is_aligned
from data.sources.base import Source
from data.types import AlignedSample, BadSampleError, Media, Modality
from evaluation.answering.context import WORDS
from evaluation.insight.preview import picture, sound
from evaluation.metrics.scores import MAIN_RECALL
from evaluation.monitors.monitor import Gallery, Monitor, spread
from evaluation.retrieval.answers import WITHIN, Direction, hits, segment_of, words_of
from evaluation.retrieval.embedding import Embedded, embed, read_aligned
from evaluation.retrieval.evaluate import directions, possible_directions

# Options that a monitor of either kind has.
OF_BOTH = ("on_bad_sample", "num_examples", "image_cell", "audio_cell")
# How many of the first candidates an example shows.
NUM_FIRST = 3
COLUMNS = ("task", "query", "right", "rank", "first", "second", "third")
CHANCE = "_chance"
# Directions are averaged as far as chance is at most so many times what it is in the hardest one.
COMPARABLE = 2.0


class AlignmentMonitor:
    """Called as `monitor(model, step, tracker)`: asks every modality of every source for every other.

    Logs to the tracker a table of about `num_examples` queries, spread evenly over and within the directions, with what
    they found; `image_cell` and `audio_cell` as in `Monitor`.
    """

    def __init__(
        self,
        sources: Mapping[str, Source],
        interleaver: Interleaver,
        on_bad_sample: str = "error",
        num_examples: int = 8,
        image_cell: Callable[..., Any] | None = None,
        audio_cell: Callable[..., Any] | None = None,
    ) -> None:
        self._skipped: list[str] | None = [] if on_bad_sample == "skip" else None
        self._samples = {name: read_aligned(source, self._skipped) for name, source in sources.items()}
        self._interleaver, self._num_examples = interleaver, num_examples
        self._image_cell, self._audio_cell = image_cell, audio_cell

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
        rows: list[list[Any]] = []
        for name, samples in self._samples.items():
            embedded = embed(model, self._interleaver, samples, skipped=self._skipped)  # type: ignore[arg-type]
            asked_of = directions(embedded)
            shown = -(-self._num_examples // max(len(asked_of) * len(self._samples), 1)) if tracker is not None else 0
            for direction, asked in asked_of.items():
                rows += self._rows(f"{name}/{direction}", asked, embedded, samples, shown)
                recall = float((asked.ranks <= WITHIN).mean())
                found[f"val/{name}/{direction}/{MAIN_RECALL}"] = (recall, asked.chance()[MAIN_RECALL])
        if tracker is not None and rows:
            tracker.table(step, "val/retrieval", COLUMNS, rows)
        found[f"val/{MAIN_RECALL}"] = comparable_mean(list(found.values()))
        return {
            name + suffix: value
            for name, pair in found.items()
            for suffix, value in zip(("", CHANCE), pair, strict=True)
        }

    def _rows(
        self,
        task: str,
        asked: Direction,
        embedded: Mapping[Modality, Embedded],
        samples: Sequence[AlignedSample],
        count: int,
    ) -> list[list[Any]]:
        """Some queries at even distances: what was asked, what is right, its rank, and what came first."""
        if not count:
            return []
        places = spread(range(len(asked.ranks)), count)
        first, second = asked.modalities
        rows = []
        for hit in hits(asked, embedded, places, NUM_FIRST):
            found = [self._cell(samples[place], second) for place in hit.candidates]
            found += [""] * (NUM_FIRST - len(found))
            query, right = self._cell(samples[hit.query], first), self._cell(samples[hit.right], second)
            rows.append([task, query, right, hit.rank, *found])
        return rows

    def _cell(self, sample: AlignedSample, modality: Modality) -> Any:
        """A picture, a playable clip, or words, as of a medium that an encoder reads and nobody can look at."""
        medium, words = segment_of(sample, modality), words_of(sample, modality)
        if not isinstance(medium, Media) or modality in WORDS:
            return words
        with suppress(BadSampleError):
            if self._image_cell is not None:
                return self._image_cell(picture(medium))
        with suppress(BadSampleError):
            if self._audio_cell is not None:
                return self._audio_cell(*sound(medium), caption=words)
        return words


def comparable_mean(found: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Mean recall and mean chance of the directions where chance is at most twice the least; 0 of none."""
    least = min((random for _, random in found), default=0.0)
    kept = [pair for pair in found if pair[1] <= COMPARABLE * least]
    return tuple(np.mean(kept, axis=0).tolist()) if kept else (0.0, 0.0)


class Monitors:
    """Several monitors as one: a `Monitor` of conversations with an `AlignmentMonitor`."""

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
    sources: Mapping[str, Source], tokenizer: ChatTokenizer, interleaver: Interleaver, **options: Any
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
        shared = {name: options[name] for name in OF_BOTH if name in options}
        monitors.append(AlignmentMonitor(aligned, interleaver, **shared))
    return Monitors(monitors)
