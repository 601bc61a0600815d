"""Ridge regression between the features of a model's frozen encoders: it is reported next to the shared space.

Shape legend: N items, T places in an item, C width of the features, Q queries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import permutations
from typing import Any

import numpy as np
import torch

from data.batching.collate import pad_media
from data.batching.interleave import Interleaver
from data.types import AlignedSample, BadSampleError, MediaItems, Modality
from evaluation.retrieval.embedding import Embedded
from evaluation.retrieval.partners import search
from evaluation.retrieval.ridge import ridge_ranks
from fusion.model import FusionModel

# The fewest pairs that a regression can be fitted on.
FEWEST = 2


def frozen_modalities(model: FusionModel) -> list[Modality]:
    """The media with encoders that have no trained weight, in the order of the model's modalities."""
    return model.frozen_modalities


class RidgeBaseline:
    """A regression from the features of every frozen encoder of a model to those of every other.

    training: the samples that it is fitted on; none make a baseline without directions. For the others see
    `pooled_features`.
    """

    def __init__(
        self,
        model: FusionModel,
        interleaver: Interleaver,
        training: Sequence[AlignedSample],
        *,
        batch_size: int = 128,
        skipped: list[str] | None = None,
        advance: Callable[[int], None] = lambda done: None,
    ) -> None:
        self._features = partial(
            pooled_features,
            model,
            interleaver,
            modalities=frozen_modalities(model),
            batch_size=batch_size,
            advance=advance,
        )
        self._train = self._features(training, range(len(training)), skipped=skipped)

    def directions(
        self, samples: Sequence[AlignedSample], embedded: Mapping[Modality, Embedded]
    ) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """See `ridge_directions`; candidates and queries are the samples that the model made embeddings of."""
        if len(self._train) < 2:
            return {}
        places = np.unique(np.concatenate([found.samples for found in embedded.values()]))
        return ridge_directions(self._train, self._features(samples, places.tolist()))


@torch.inference_mode()
def pooled_features(
    model: FusionModel,
    interleaver: Interleaver,
    samples: Sequence[AlignedSample],
    places: Iterable[int],
    modalities: Sequence[Modality],
    *,
    batch_size: int = 128,
    skipped: list[str] | None = None,
    advance: Callable[[int], None] = lambda done: None,
) -> dict[Modality, Embedded]:
    """What the encoders make of the samples at `places`, without projector: the mean over each item's features.

    As in `evaluation.retrieval.embedding.embed`, a sample that cannot be read is left out as a whole. The reason is
    added to `skipped`, or raised as `BadSampleError` where that is None.
    """
    found: dict[Modality, list[tuple[int, int, np.ndarray]]] = {name: [] for name in modalities}
    places = list(places)
    for start in range(0, len(places), batch_size):
        items: dict[Modality, list[tuple[int, int, Any]]] = {name: [] for name in modalities}
        for place in places[start : start + batch_size]:
            try:
                documents = interleaver.segments(samples[place])
            except BadSampleError as reason:
                if skipped is None:
                    raise
                skipped.append(str(reason))
                continue
            for document in documents:
                for name, values in document.media:
                    if name in items:
                        items[name].append((place, document.content, values))
        for name, given in items.items():
            if given:
                samples_N, contents_N, values_N = zip(*given, strict=True)
                means_NC = _means(
                    model.media_encoders[name], pad_media(name, list(zip(samples_N, values_N, strict=True)))
                )
                found[name] += zip(samples_N, contents_N, means_NC, strict=True)
        advance(len(places[start : start + batch_size]))
    return {name: Embedded.of(items) for name, items in found.items() if items}


def ridge_directions(
    train: Mapping[Modality, Embedded], test: Mapping[Modality, Embedded]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Every modality to every other, by name ("image_to_sentence"): ranks [Q] and the samples asked [Q].

    Directions that no two training samples teach, or no test sample asks, are left out.
    """
    found = {}
    for first, second in permutations([name for name in test if name in train], 2):
        taught, left, right = np.intersect1d(
            train[first].samples, train[second].samples, assume_unique=True, return_indices=True
        )
        asked = search(test[first], test[second])
        if len(taught) >= FEWEST and asked is not None:
            placed = ridge_ranks(
                train[first].values[left],
                train[second].values[right],
                test[first].values[asked.queries],
                test[second].values[asked.candidates],
                asked.right,
            )
            found[f"{first}_to_{second}"] = (placed, asked.asked)
    return found


def _means(encoder: Any, media: MediaItems) -> np.ndarray:
    """[N, C]: the mean over the true features of each item."""
    device = next((weight.device for weight in encoder.parameters()), torch.device("cpu"))
    return encoder.means(media.to(device)).cpu().numpy()
