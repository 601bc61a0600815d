"""Pictures of a shared space as numbers: a map of embeddings, and the gap between modalities.

Shape legend: n those of N that have it, E width of the shared space.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from data.types import AlignedSample, Modality
from evaluation.retrieval.embedding import Embedded
from evaluation.retrieval.partners import search

BINS = 40


def embedding_map(
    embedded: Mapping[Modality, Embedded], samples: Sequence[AlignedSample], field: str, max_samples: int, seed: int
) -> dict[str, Any]:
    """The first two principal components of all modalities together, for some samples drawn at random.

    explained: share of the variance of each component. points: modality -> [x, y, label] with the value of `field`.
    """
    chosen = np.random.default_rng(seed).permutation(len(samples))[:max_samples]
    shown = {name: np.isin(found.samples, chosen) for name, found in embedded.items()}
    values = np.concatenate([found.values[shown[name]] for name, found in embedded.items()]).astype(np.float64)
    values -= values.mean(axis=0)
    _, singular, right = np.linalg.svd(values, full_matrices=False)
    # The sign of a component is arbitrary; its largest weight is made positive, so that a map can be drawn again.
    axes = right[:2] * np.sign(right[:2][np.arange(len(right[:2])), np.abs(right[:2]).argmax(axis=1)])[:, None]
    points, start = {}, 0
    for name, found in embedded.items():
        places = found.samples[shown[name]]
        xy = values[start : start + len(places)] @ axes.T
        start += len(places)
        labels = [samples[place].metadata.get(field, "") for place in places]
        points[name] = [
            [round(float(x), 4), round(float(y), 4), label] for (x, y), label in zip(xy, labels, strict=True)
        ]
    explained = (singular**2 / max((singular**2).sum(), 1e-12))[:2]
    return {"field": field, "explained": [round(float(share), 4) for share in explained], "points": points}


def modality_gap(embedded: Mapping[Modality, Embedded]) -> dict[str, Any]:
    """For each pair of modalities, how far apart they lie (Liang et al., arXiv:2203.02053).

    distance: between the centres of the embeddings. matched, unmatched: mean cosine of partners, of all others. counts:
    histograms of both, over -1 to 1 in 40 bins. Equal contents count once (see `evaluation.retrieval.partners`).
    """
    gaps = {}
    for first, second in combinations(embedded, 2):
        found = search(embedded[first], embedded[second])
        if found is None or len(found.right) < 2:
            continue
        # Candidates of samples without the query's modality have no partner, and are no part of this.
        places, columns = np.unique(found.right[:, 1], return_inverse=True)
        a, b = embedded[first].values[found.queries], embedded[second].values[found.candidates[places]]
        cosines = np.clip(a @ b.T, -1, 1)  # rounding must put none outside of the histogram
        same = np.zeros(cosines.shape, dtype=bool)
        same[found.right[:, 0], columns.reshape(-1)] = True
        counts = {
            name: np.histogram(part, BINS, (-1, 1))[0].tolist()
            for name, part in (("matched", cosines[same]), ("unmatched", cosines[~same]))
        }
        gaps[f"{first}-{second}"] = {
            "distance": float(np.linalg.norm(a.mean(axis=0) - b.mean(axis=0))),
            "matched": float(cosines[same].mean()),
            "unmatched": float(cosines[~same].mean()) if not same.all() else None,
            "counts": counts,
        }
    return gaps
