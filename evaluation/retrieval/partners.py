"""Which candidates are right for which queries, where captions, pictures or clips repeat.

Equal contents are one query and one candidate. A candidate is right for a query if some sample holds both: a picture
with five captions, in five rows, is one picture that five captions are right for. So COCO and Flickr30k are scored as
open_clip scores them, and a picture counts once however many captions it has.

Shape legend: N items, Q queries, J keys or candidates (candidates), P pairs (pairs that belong together).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evaluation.retrieval.embedding import Embedded


@dataclass(frozen=True)
class Search:
    """One modality asked for another.

    queries, candidates: places of theirs among what was embedded, [Q] and [J]. right: [P, 2] pairs of a query and a
    candidate that belong together, both counted from 0 in these two, sorted; every query has one or more. asked: the
    sample that each query is taken from, the first of those that share it, [Q].
    """

    queries: np.ndarray
    candidates: np.ndarray
    right: np.ndarray
    asked: np.ndarray

    @property
    def num_right(self) -> np.ndarray:
        """Right candidates of each query, [Q]."""
        return np.bincount(self.right[:, 0], minlength=len(self.queries))


def search(first: Embedded, second: Embedded) -> Search | None:
    """Queries of samples that have both modalities, candidates of all that have the second; None without a query."""
    both, left, right = np.intersect1d(first.samples, second.samples, assume_unique=True, return_indices=True)
    if not len(both):
        return None
    query_places, query_numbers = _distinct(first.contents[left])
    candidates, candidate_numbers = _distinct(second.contents)
    pairs = np.unique(np.stack([query_numbers, candidate_numbers[right]], axis=1), axis=0)
    return Search(left[query_places], candidates, pairs, both[query_places])


def _distinct(contents_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The places where each content is met first, ascending, and for every place the number of its content."""
    _, first, numbers = np.unique(contents_N, return_index=True, return_inverse=True)
    order = np.argsort(first)
    return first[order], np.argsort(order)[numbers.reshape(-1)]
