"""Examples of what a retrieval found, to look at and to listen to: queries, what belongs to them, what came first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from data.types import AlignedSample, Modality
from evaluation.page.examples import Example, spread
from evaluation.retrieval.answers import Direction, Hit, hits, segment_of
from evaluation.retrieval.embedding import Embedded


def retrieval_examples(
    task: str, direction: Direction, embedded: Mapping[Modality, Embedded], samples: Sequence[AlignedSample]
) -> list[Example]:
    """Some queries that found a right candidate first, and some that did not, spread evenly over their ranks."""
    order = np.argsort(direction.ranks, kind="stable").tolist()
    found = [place for place in order if direction.ranks[place] <= 1]
    places = [*spread(found), *spread(order[len(found) :])]
    name = f"{task}/{direction.name}"
    return [_example(name, hit, direction, samples) for hit in hits(direction, embedded, places, shown=1)]


def _example(name: str, hit: Hit, direction: Direction, samples: Sequence[AlignedSample]) -> Example:
    first, second = direction.modalities
    query, right, best = (samples[place] for place in (hit.query, hit.right, hit.candidates[0]))
    given = {"query": [segment_of(query, first)], "belongs to it": [segment_of(right, second)]}
    if not hit.are_right[0]:
        given["found first"] = [segment_of(best, second)]
    facts = {
        "sample": query.id,
        "found first": f"{best.id}, similarity {hit.similarities[0]:.3f}",
    }
    return Example(name, f"right candidate at rank {hit.rank:,g} of {direction.num_candidates:,}", given, facts)


def class_examples(
    name: str,
    modality: Modality,
    asked: Sequence[AlignedSample],
    expected: Sequence[str],
    given: Sequence[str],
) -> list[Example]:
    """Some media with the class that they have and the one that was chosen, right ones first."""
    rows = list(zip(asked, expected, given, strict=True))
    right, wrong = ([row for row in rows if (row[1] == row[2]) is kind] for kind in (True, False))
    return [
        Example(
            name,
            verdict,
            {"given": [segment_of(sample, modality)]},
            {"sample": sample.id, "expected class": truth, "given class": chosen},
        )
        for verdict, kind in (("right", right), ("wrong", wrong))
        for sample, truth, chosen in spread(kind)
    ]
