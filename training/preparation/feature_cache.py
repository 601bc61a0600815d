"""Fills the caches of frozen encoders before training, so that no step runs them again.

An encoder with `cache: true` is run once over every medium that the training will read: which these are follows from
the numbers of the batches. From then on batches hold its features. Evaluation reads media as ever.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from data.bad_samples import reading
from data.batching.collate import pad_media
from data.batching.mixture import Mixture
from data.progress import with_progress
from data.sources.manifest import named_media
from data.storage.cache import cache_folder
from data.storage.feature_store import CachedFeatures, FeatureStore, add_part, json_hash, media_key
from data.types import AlignedSample, BadInputError, BadSampleError, Media, Modality, Processor, Sample
from fusion.model import FusionModel

ITEMS_PER_BATCH = 16
# Options of an encoder that its features do not depend on; mean and std are what its processor follows.
INDIFFERENT = ("cache", "lr_scale", "mean", "std", "if_held")
# Key of a medium -> the row and field of a sample with it, and the medium.
Needed = Mapping[str, tuple[str, Media]]


def cached_processors(
    config: DictConfig,
    model: FusionModel,
    mixture: Mixture,
    processors: Mapping[Modality, Processor],
    device: torch.device,
) -> dict[Modality, Processor]:
    """The processors; those of encoders with a `cache` that is true are replaced by readers of their features.

    Raises `BadInputError` for a processor that augments, and for stored features that are not what the encoder makes.
    """
    replaced = dict(processors)
    for name, processor in processors.items():
        encoder: Any = model.media_encoders[name].encoder if name in model.media_encoders else None
        if encoder is None or not encoder.cache:
            continue
        if getattr(processor, "augments", True):
            raise BadInputError(
                f"encoders.{name}.cache: features of augmented media cannot be kept, for each is met once; switch the "
                f"augmentation in data.processors.{name} off, or the cache"
            )
        header = feature_header(config, name, encoder)
        folder = cache_folder() / "features" / f"{name}-{json_hash(header)}"
        skips = config.data.on_bad_sample == "skip"
        media = needed_media(mixture, name, num_samples(config), skips)
        filler = _Filler(encoder.to(device), processor, device, skips)
        replaced[name] = CachedFeatures(filler.filled(FeatureStore(folder, header), media), processor)
        encoder.cpu()  # where the rest of the model is until the training begins
    return replaced


def feature_header(config: DictConfig, name: Modality, encoder: nn.Module) -> dict[str, str]:
    """Hashes of all that the features of a medium depend on."""
    options = OmegaConf.to_container(config.encoders[name], resolve=True)
    processor = OmegaConf.to_container(config.data.processors[name], resolve=True)
    assert isinstance(options, dict)
    return {
        "encoder": json_hash({key: value for key, value in options.items() if key not in INDIFFERENT}),
        "weights": weights_hash(encoder),
        "preprocessing": json_hash(processor),
    }


def weights_hash(module: nn.Module) -> str:
    """A hash of all parameters and buffers."""
    digest = hashlib.sha256()
    for name, value in module.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def needed_media(mixture: Mixture, name: Modality, num_samples: int, skips: bool) -> Needed:
    """Key -> where a medium stands, and the medium, of all of a modality in the first `num_samples` of the stream."""
    media: dict[str, tuple[str, Media]] = {}
    for position in with_progress(range(num_samples), f"{name} media of the training"):
        try:
            _, sample, _ = mixture.at(position)
            for where, item in named_media(sample):
                if item.modality == name:
                    media.setdefault(_key(sample, where, item), (f"{sample.name}: {where}", item))
        except BadSampleError:
            if not skips:
                raise
    return media


def _key(sample: Sample | AlignedSample, where: str, item: Media) -> str:
    try:
        return media_key(item)
    except BadSampleError as error:
        raise BadSampleError(f"{sample.name}: {where}: {error}") from error


class _Filler:
    """Runs an encoder over media that a store lacks."""

    def __init__(self, encoder: Any, processor: Processor, device: torch.device, skips: bool) -> None:
        self.encoder, self.processor, self.device, self.skips = encoder, processor, device, skips

    def filled(self, store: FeatureStore, media: Needed) -> FeatureStore:
        """The store with the features of all media that can be read."""
        self._check_one(store, media)
        missing = sorted(media.keys() - store.keys())
        if not missing:
            return store
        bar = with_progress(missing, "features, once")
        return add_part(store, json_hash(missing), self._features(bar, media), self.encoder.d_output)

    def _features(self, keys: Iterable[str], media: Needed) -> Iterator[tuple[str, np.ndarray]]:
        for some in _batches(keys, ITEMS_PER_BATCH):
            values = {key: item for key in some if (item := self._values(*media[key])) is not None}
            if values:
                yield from zip(values, self._encode(list(values.values())), strict=True)

    def _values(self, where: str, item: Media) -> Tensor | None:
        try:
            with reading(item.name):
                values = self.processor(item)
                _check_fit(self.encoder, item.modality, tuple(values.shape))
                return values
        except BadSampleError as error:
            if self.skips:
                return None  # refused again, and counted, where it is read
            raise BadSampleError(f"{where}: {error}") from error

    @torch.no_grad()
    def _encode(self, values: Sequence[Tensor]) -> Iterator[np.ndarray]:
        batch = pad_media("media", [(0, item) for item in values]).to(self.device)
        features = [features_TC for bucket in batch.buckets for features_TC in self.encoder(bucket).float().cpu()]
        for number, shape in zip(batch.places.argsort().tolist(), batch.shapes.tolist(), strict=True):
            yield features[number][: self.encoder.layout(tuple(shape)).count].numpy()

    def _check_one(self, store: FeatureStore, media: Needed) -> None:
        """Recomputes one that is stored: libraries change, and so may what they compute from the same weights."""
        key = min(media.keys() & store.keys(), default=None)
        if key is None:
            return
        ((_, expected),) = self._features([key], media)
        found = store[key].numpy()
        if found.shape != expected.shape or not np.allclose(
            found, expected, rtol=1e-3, atol=1e-3 * abs(expected).max()
        ):
            raise BadInputError(f"{store.folder}: its features are not what the encoder computes; delete this folder")


def _batches(keys: Iterable[str], size: int) -> Iterator[list[str]]:
    iterator = iter(keys)
    while items := list(itertools.islice(iterator, size)):
        yield items


def _check_fit(encoder: Any, modality: Modality, shape: tuple[int, ...]) -> None:
    try:
        encoder.layout(shape)
    except ValueError as error:
        raise BadSampleError(f"{modality} of shape {shape}: {error}") from error


def num_samples(config: DictConfig) -> int:
    """Positions of the stream that a training reads."""
    return config.trainer.max_steps * config.trainer.accumulation_steps * config.data.samples_per_batch
