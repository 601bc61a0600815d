"""What a retrieval found: the rank of every query and the candidates that came first, to look at and to analyse.

Shape legend: Q queries, J keys or candidates (candidates), k a chosen few (candidates that are shown), E width of the
shared space.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data.types import AlignedSample, Media, Modality, Segment
from evaluation.answering.context import words_in
from evaluation.metrics.ranking import best, chance, ranks
from evaluation.retrieval.embedding import Embedded, modality_of
from evaluation.retrieval.partners import Search, search

# How many of the first candidates a row of answers has.
SHOWN = 5
# A query counts as right up to this rank, that of the main metric.
WITHIN = 10


@dataclass(frozen=True)
class Direction:
    """One modality asked for another. ranks: of the best right candidate of each query, [Q], from 1."""

    modalities: tuple[Modality, Modality]
    search: Search
    ranks: np.ndarray

    @staticmethod
    def ask(embedded: Mapping[Modality, Embedded], first: Modality, second: Modality) -> Direction | None:
        """Asks `first` for `second`; None if no sample has both. Equal contents are asked, and offered, once."""
        asked = search(embedded[first], embedded[second])
        if asked is None:
            return None
        queries, candidates = embedded[first].values[asked.queries], embedded[second].values[asked.candidates]
        return Direction((first, second), asked, ranks(queries, candidates, asked.right))

    @property
    def name(self) -> str:
        """As in reports: "image_to_text"."""
        return "_to_".join(self.modalities)

    @property
    def asked(self) -> np.ndarray:
        """The sample that each query is taken from, [Q]."""
        return self.search.asked

    @property
    def num_right(self) -> np.ndarray:
        """Right candidates of each query, [Q]."""
        return self.search.num_right

    @property
    def num_candidates(self) -> int:
        """How many are offered."""
        return len(self.search.candidates)

    def chance(self) -> dict[str, float]:
        """What random orders reach here."""
        return chance(self.num_candidates, self.num_right)


@dataclass(frozen=True)
class Hit:
    """A query with its right candidate (the best placed of several) and the first ones that were found.

    place: its number among the queries. query, right and candidates: numbers of samples, which hold them. rank: of the
    right one. similarities: to the candidates; are_right: whether each of these is right.
    """

    place: int
    query: int
    right: int
    rank: float
    candidates: tuple[int, ...]
    similarities: tuple[float, ...]
    are_right: tuple[bool, ...]


def hits(
    direction: Direction, embedded: Mapping[Modality, Embedded], places: Sequence[int] | None = None, shown: int = SHOWN
) -> Iterator[Hit]:
    """What the queries at some places found, or all of them."""
    first, second = (embedded[name] for name in direction.modalities)
    asked = direction.search
    chosen = np.arange(len(asked.queries)) if places is None else np.asarray(places, dtype=int)
    queries_QE, candidates_JE = first.values[asked.queries[chosen]], second.values[asked.candidates]
    found_Qk, similarity_Qk = best(queries_QE, candidates_JE, shown)
    of_candidates = second.samples[asked.candidates]
    starts = np.searchsorted(asked.right[:, 0], [chosen, chosen + 1])
    for row, place in enumerate(chosen.tolist()):
        right = asked.right[starts[0, row] : starts[1, row], 1]
        nearest = right[(candidates_JE[right] @ queries_QE[row]).argmax()]
        yield Hit(
            place,
            int(asked.asked[place]),
            int(of_candidates[nearest]),
            float(direction.ranks[place]),
            tuple(of_candidates[found_Qk[row]].tolist()),
            tuple(similarity_Qk[row].tolist()),
            tuple(np.isin(found_Qk[row], right).tolist()),
        )


def retrieval_rows(
    task: str,
    direction: Direction,
    embedded: Mapping[Modality, Embedded],
    samples: Sequence[AlignedSample],
    clusters: Sequence[str],
) -> list[dict[str, Any]]:
    """One row a query, as `evaluation.reports.answers` has them for questions; "correct" is a rank of at most ten.

    "expected" is the right candidate, "answer" the first one; "best" has the first five with their similarity.
    """
    first, second = direction.modalities
    return [
        {
            "task": f"{task}/{direction.name}",
            "id": samples[hit.query].id,
            "cluster": own,
            "query": words_of(samples[hit.query], first),
            "expected": words_of(samples[hit.right], second),
            "answer": words_of(samples[hit.candidates[0]], second),
            "rank": hit.rank,
            "correct": hit.rank <= WITHIN,
            "best": [
                {
                    "id": samples[place].id,
                    "candidate": words_of(samples[place], second),
                    "similarity": round(value, 4),
                    "right": right,
                }
                for place, value, right in zip(hit.candidates, hit.similarities, hit.are_right, strict=True)
            ],
            **({"metadata": dict(samples[hit.query].metadata)} if samples[hit.query].metadata else {}),
        }
        for hit, own in zip(hits(direction, embedded), clusters, strict=True)
    ]


def segment_of(sample: AlignedSample, modality: Modality) -> Segment:
    """The segment of a modality; samples that are embedded have one of each."""
    return next(segment for segment in sample.segments if modality_of(segment) == modality)


def words_of(sample: AlignedSample, modality: Modality) -> str:
    """What a sample holds of a modality, for a reader: its text, its file, or the sample that it belongs to."""
    segment = segment_of(sample, modality)
    if (words := words_in(segment)) is not None:
        return words
    source = segment.source if isinstance(segment, Media) else None
    if isinstance(source, Path):
        return str(source)
    if isinstance(source, bytes):  # of any other kind, a text that its encoder reads
        with suppress(UnicodeDecodeError):
            if "".join((text := source.decode()).split()).isprintable():
                return text
    return f"{modality} of {sample.id}"
