"""What the encoders with a backbone from a library share.

Shape legend: N items, T places in an item, C width of the features.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from data.configuration.locate import first_line
from data.types import Layout, MediaBatch
from encoders.base import Encoder
from encoders.pretrained.fine_tuning import FineTuning


class PretrainedEncoder(Encoder):
    """Items of equal shape -> backbone -> [N, T, C].

    A subclass builds its backbone, and defines `extract` (features of items of one shape) and `placed` (how they lie).
    Here, for every library alike:

    - Items of different shapes are never padded together, so that no backbone needs a mask and none can leak one.
    - The backbone always runs in evaluation mode, also while it is trained: no dropout, no dropped layers, no masked
      spectra, and the stored statistics of batch normalisation. So items do not influence one another.
    - `fine_tuning` says which weights are trained; those that its features do not depend on never are.
    - `lr_scale` multiplies the learning rate of this encoder's weights (not of its projector).
    - `cache`: features of a frozen encoder [T, C] are accepted in place of raw items, as a feature cache supplies them.

    Raises `ValueError` for a cache of an encoder that is trained, and fine-tuning that would train nothing.
    """

    def __init__(
        self,
        backbone: nn.Module,
        example_shape: tuple[int, ...],
        fine_tuning: FineTuning,
        lr_scale: float = 1.0,
        cache: bool = False,
    ) -> None:
        super().__init__()
        if lr_scale <= 0:
            raise ValueError(f"lr_scale={lr_scale} must be positive; fine_tuning=frozen trains nothing")
        self.backbone, self.example_shape = backbone.eval(), example_shape
        self.lr_scale, self.cache = lr_scale, False
        try:
            example = torch.zeros(1, *example_shape)
            with torch.no_grad():
                self.example_length, self.d_output = self.extract(example).shape[1:]
        except Exception as error:  # sizes that do not go together end in errors of any type
            raise ValueError(
                f"the architecture of {type(backbone).__name__} cannot encode an item of {example_shape}: "
                f"{first_line(error)}"
            ) from error
        if self.placed(example_shape).count != self.example_length:
            raise ValueError(
                f"{type(backbone).__name__} makes {self.example_length} features of an item of {example_shape} where "
                f"{self.placed(example_shape).count} are expected: models of this kind are not supported"
            )
        fine_tuning(self.backbone)
        self.is_frozen = not any(parameter.requires_grad for parameter in self.parameters())
        if not self.is_frozen:
            self._freeze_unused(example)
        self._enable_cache(cache)

    def extract(self, values: Tensor) -> Tensor:
        """Features [N, T, C] of items of one shape, [N, ...]."""
        raise NotImplementedError(f"{type(self).__name__} must define extract")

    def placed(self, shape: tuple[int, ...]) -> Layout:
        """How the features of one raw item of `shape` lie; `ValueError` if it does not fit."""
        raise NotImplementedError(f"{type(self).__name__} must define placed")

    def layout(self, shape: tuple[int, ...]) -> Layout:
        """How the features of an item of `shape` lie; an item of features has as many as there are, in their order."""
        if not self._is_features(shape):
            return self.placed(shape)
        raw = self.placed(self.example_shape)
        return raw if raw.grid is not None else Layout(shape[0], ticks=raw.ticks and (0.5, 1.0))

    def forward(self, media: MediaBatch) -> Tensor:
        """Features [N, T, C]."""
        shapes = [tuple(shape) for shape in media.shapes.tolist()]
        if self._is_features(shapes[0]):
            return media.values
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.is_frozen):
            return self._by_shape(media.values, shapes)

    def example_features(self) -> Tensor:
        """As of every encoder. No gradient depends on a frozen one: there zeros do as well and cost nothing."""
        if not self.is_frozen:
            return super().example_features()
        parameter = next(self.parameters())
        shape = (1, self.example_length, self.d_output)
        return torch.zeros(shape, device=parameter.device, dtype=parameter.dtype)

    def train(self, mode: bool = True) -> PretrainedEncoder:
        """The backbone stays in evaluation mode."""
        super().train(mode)
        self.backbone.eval()
        return self

    def _by_shape(self, values: Tensor, shapes: list[tuple[int, ...]]) -> Tensor:
        groups: dict[tuple[int, ...], list[int]] = {}
        for row, shape in enumerate(shapes):
            groups.setdefault(shape, []).append(row)
        if len(groups) == 1:
            return self.extract(values[_inside(shapes[0])])
        parts = [self.extract(values[rows][_inside(shape)]) for shape, rows in groups.items()]
        longest = max(part.shape[1] for part in parts)
        padded = torch.cat([nn.functional.pad(part, (0, 0, 0, longest - part.shape[1])) for part in parts])
        order = torch.tensor([row for rows in groups.values() for row in rows])
        return padded[order.argsort().to(padded.device)]

    def _is_features(self, shape: tuple[int, ...]) -> bool:
        return self.cache and len(shape) == 2 and shape[0] > 0 and shape[1] == self.d_output

    def _enable_cache(self, cache: bool) -> None:
        if cache and not self.is_frozen:
            raise ValueError("cache=true needs a frozen encoder: features of one that is trained change at every step")
        shape = (self.example_length, self.d_output)
        if cache and accepts(self, shape):
            raise ValueError(f"cache=true: features {shape} could be taken for raw items of this encoder")
        self.cache = cache

    def _freeze_unused(self, example: Tensor) -> None:
        """Weights that get no gradient (of layers after the chosen one, of poolers) would only be in the way."""
        with torch.enable_grad():
            total = self.extract(example).sum()
        if total.requires_grad:
            total.backward()
        for parameter in self.backbone.parameters():
            parameter.requires_grad_(parameter.requires_grad and parameter.grad is not None)
            parameter.grad = None
        if not any(parameter.requires_grad for parameter in self.backbone.parameters()):
            raise ValueError("fine_tuning chooses only weights on which the features do not depend")


def square(count: int) -> Layout:
    """The layout of `count` features of a square image: what has no place, then the largest square of patches.

    Class tokens and registers come first in every library, and are fewer than what the next larger square would need.
    """
    return Layout(count, (math.isqrt(count), math.isqrt(count)))


def image_preprocessing(size: int, mean: Sequence[float] | None, std: Sequence[float] | None) -> dict[str, Any]:
    """The node of a processor of images; null where the statistics are not known."""
    statistics = {"mean": mean and [float(x) for x in mean], "std": std and [float(x) for x in std]}
    return {"_target_": "data.media.image.ImageProcessor", "size": size, **statistics}


def accepts(encoder: Encoder, shape: tuple[int, ...]) -> bool:
    """Whether the encoder takes an item of `shape`."""
    try:
        encoder.layout(shape)
    except ValueError:
        return False
    return True


def tokens_of(x: Tensor, channels_last: bool = False) -> Tensor:
    """Features of any layout as [N, T, C]: maps [N, C, h, w] row by row, vectors [N, C] as one feature."""
    if x.ndim == 4:
        return (x.flatten(1, 2) if channels_last else x.flatten(2).transpose(1, 2)).contiguous()
    return x[:, None] if x.ndim == 2 else x


def strided_layout(num_samples: int, layers: Sequence[tuple[int, int]]) -> Layout:
    """The line of frames that unpadded convolutions, (kernel, stride) each, leave of `num_samples`, at least one."""
    reach = shortest_input(1, layers)
    return Layout(strided_length(num_samples, layers), ticks=(reach / 2, math.prod(stride for _, stride in layers)))


def strided_length(num_samples: int, layers: Iterable[tuple[int, int]]) -> int:
    """Frames that unpadded convolutions, (kernel, stride) each, leave of `num_samples`; less than 1: too short."""
    for kernel, stride in layers:
        num_samples = (num_samples - kernel) // stride + 1
    return num_samples


def shortest_input(num_frames: int, layers: Iterable[tuple[int, int]]) -> int:
    """Samples that unpadded convolutions need for `num_frames`."""
    for kernel, stride in reversed(list(layers)):
        num_frames = (num_frames - 1) * stride + kernel
    return num_frames


def _inside(shape: tuple[int, ...]) -> tuple[slice, ...]:
    return (slice(None), *(slice(size) for size in shape))
