"""Fits a shared space that starts from frozen features (`fusion.spaces.ridge_space.RidgeSpace`) before the training
begins.

Shape legend: n those of N that have it, C width of the features.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from data.batching.collate import pad_media
from data.batching.loader import BatchStream
from data.progress import with_progress
from data.types import AlignedSample, BadInputError, BadSampleError, Modality
from fusion.mode import switched
from fusion.model import FusionModel
from fusion.spaces.ridge_space import RidgeSpace

# So many positions of the stream are read at most, and so many at once.
MOST_READ, AT_ONCE = 50_000, 64


def fit_shared_space(model: FusionModel, stream: BatchStream, num_positions: int, device: torch.device) -> None:
    """Fits the model's shared space, if it is one that can be, to what the training will read.

    num_positions: how far the training reads. Raises `BadInputError` where there is nothing to fit on.
    """
    if not isinstance(model.shared_space, RidgeSpace):
        return
    model.to(device)
    try:
        model.shared_space.fit(sample_features(model, stream, min(num_positions, MOST_READ), device))
    except ValueError as error:
        raise BadInputError(f"shared_space: {error}") from error
    finally:
        model.cpu()  # where it is until the training begins


@torch.no_grad()
def sample_features(
    model: FusionModel, stream: BatchStream, num_positions: int, device: torch.device
) -> dict[Modality, tuple[np.ndarray, np.ndarray]]:
    """Frozen modality -> the features of each sample's items [n, C], averaged over an item, and the samples [n].

    A sample that is drawn several times, in several looks, counts once, with the mean over its looks. Otherwise a
    regression's left-out error would be that of a sample that it has seen in other looks.
    """
    names = model.frozen_modalities
    numbers: dict[tuple[str, int], int] = {}
    sums: dict[Modality, dict[int, tuple[np.ndarray, int]]] = {name: {} for name in names}
    for start in with_progress(range(0, num_positions, AT_ONCE), "frozen features of the training"):
        items: dict[Modality, list[tuple[int, torch.Tensor]]] = {name: [] for name in names}
        for position in range(start, min(start + AT_ONCE, num_positions)):
            number = numbers.setdefault(stream.mixture.locate(position), len(numbers))
            for name, values in _media(stream, position):
                if name in items:
                    items[name].append((number, values))
        with switched(model, training=False):
            for name, given in items.items():
                if given:
                    _add(sums[name], model, name, given, device)
    return {name: _means(found) for name, found in sums.items() if found}


def _media(stream: BatchStream, position: int) -> list[tuple[Modality, torch.Tensor]]:
    """The media of the aligned sample at a position, without augmentation; none of a conversation."""
    try:
        _, sample, draws = stream.mixture.at(position)
        if not isinstance(sample, AlignedSample):
            return []
        documents = stream.interleaver.segments(stream.interleaver.chosen(sample, draws))
        return [item for document in documents for item in document.media]
    except BadSampleError:
        if stream.on_bad_sample == "error":
            raise
        return []


def _add(
    sums: dict[int, tuple[np.ndarray, int]],
    model: FusionModel,
    name: Modality,
    given: list[tuple[int, torch.Tensor]],
    device: torch.device,
) -> None:
    encoder: Any = model.media_encoders[name]
    means = encoder.means(pad_media(name, given).to(device)).double().cpu().numpy()
    for (number, _), mean in zip(given, means, strict=True):
        total, count = sums.get(number, (0.0, 0))
        sums[number] = (total + mean, count + 1)


def _means(sums: Mapping[int, tuple[np.ndarray, int]]) -> tuple[np.ndarray, np.ndarray]:
    places = sorted(sums)
    return np.stack([sums[place][0] / sums[place][1] for place in places]), np.array(places)
