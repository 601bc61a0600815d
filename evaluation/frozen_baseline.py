"""Ridge regression between the features of a model's frozen encoders, beside which its shared space is reported.

Shape legend: N items, T features of an item, C width of the features, Q queries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import permutations
from typing import Any

import numpy as np
import torch

from data.collate import pad_media
from data.interleave import Interleaver
from data.types import TEXT, AlignedSample, BadSampleError, MediaBatch, Modality
from evaluation.embedding import Embedded
from evaluation.ridge import ridge_ranks
from fusion.model import FusionModel

# The fewest pairs that a regression can be fitted on.
FEWEST = 2


def frozen_modalities(model: FusionModel) -> list[Modality]:
    """The media whose encoders have no weight that is trained, in the order of the model's modalities."""
    return [
        name
        for name in model.modalities
        if name != TEXT and not any(weight.requires_grad for weight in _encoder(model, name).parameters())
    ]


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
        """See `ridge_directions`; candidates and queries are the samples of which the model made embeddings."""
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

    As in `evaluation.embedding.embed`, a sample that cannot be read is left out as a whole and the reason added to
    `skipped`, or raised as `BadSampleError` where that is None.
    """
    found: dict[Modality, list[tuple[int, np.ndarray]]] = {name: [] for name in modalities}
    places = list(places)
    for start in range(0, len(places), batch_size):
        items: dict[Modality, list[tuple[int, Any]]] = {name: [] for name in modalities}
        for place in places[start : start + batch_size]:
            try:
                documents = interleaver.segments(samples[place])
            except BadSampleError as reason:
                if skipped is None:
                    raise
                skipped.append(str(reason))
                continue
            for name, values in (item for document in documents for item in document.media):
                if name in items:
                    items[name].append((place, values))
        for name, listed in items.items():
            if listed:
                means_NC = _means(_encoder(model, name), pad_media(name, listed))
                found[name] += zip((place for place, _ in listed), means_NC, strict=True)
        advance(len(places[start : start + batch_size]))
    return {
        name: Embedded(np.stack([values for _, values in items]), np.array([place for place, _ in items]))
        for name, items in found.items()
        if items
    }


def ridge_directions(
    train: Mapping[Modality, Embedded], test: Mapping[Modality, Embedded]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Every modality to every other, by name ("image_to_sentence"): ranks [Q] and the samples asked [Q].

    Directions that no two training samples teach, or no test sample asks, are left out.
    """
    found = {}
    for first, second in permutations([name for name in test if name in train], 2):
        taught, left, right = _common(train[first], train[second])
        asked, queries, targets = _common(test[first], test[second])
        if len(taught) >= FEWEST and len(asked):
            placed = ridge_ranks(
                train[first].values[left],
                train[second].values[right],
                test[first].values[queries],
                test[second].values,
                targets,
            )
            found[f"{first}_to_{second}"] = (placed, asked)
    return found


def _common(first: Embedded, second: Embedded) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The samples that have both modalities, and their places in each."""
    return np.intersect1d(first.samples, second.samples, assume_unique=True, return_indices=True)


def _means(encoder: Any, media: MediaBatch) -> np.ndarray:
    """[N, C]: the mean over the true features of each item."""
    device = next((weight.device for weight in encoder.parameters()), torch.device("cpu"))
    features_NTC = encoder(media.to(device)).float()
    counts_N = torch.tensor([encoder.num_tokens(tuple(shape)) for shape in media.shapes.tolist()], device=device)
    inside_NT = torch.arange(features_NTC.shape[1], device=device) < counts_N[:, None]
    return ((features_NTC * inside_NT[..., None]).sum(dim=1) / counts_N[:, None]).cpu().numpy()


def _encoder(model: FusionModel, name: Modality) -> Any:
    return model.media_encoders[name].encoder
