"""What every encoder of a medium offers, and the pair of encoder and projector that fusion uses.

Shape legend: N items, T features of an item, C width of the features, D `d_model`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from data.types import BadInputError, MediaBatch
from encoders.projector import Projector, padding_mask


class Encoder(nn.Module):
    """Base class: raw values of one modality to a sequence of features.

    A subclass sets `d_output` (width C of its features) and `example_shape` (the shape of a small item that
    it accepts), and defines `num_tokens` and `forward`. Items must not influence one another, and padding must
    not influence an item: the shared contract tests hold every configured encoder to both.
    """

    d_output: int
    example_shape: tuple[int, ...]

    def num_tokens(self, shape: tuple[int, ...]) -> int:
        """Features that one item of `shape` (before padding) becomes."""
        raise NotImplementedError(f"{type(self).__name__} must define num_tokens")

    def forward(self, media: MediaBatch) -> Tensor:
        """Features [N, T, C]; item n has `num_tokens(shapes[n])` of them, and what follows is padding."""
        raise NotImplementedError(f"{type(self).__name__} must define forward")


def check_convolutions(channels: Sequence[int], strides: Sequence[int], kernels: Sequence[int]) -> None:
    """Raises `ValueError` unless the three lists name the same convolutions, one entry each, and at least one."""
    if not channels or not len(channels) == len(strides) == len(kernels):
        raise ValueError(
            f"channels={list(channels)}, strides={list(strides)} and kernels={list(kernels)} must have one "
            "entry per convolution each"
        )


def _check(module: nn.Module, output: Tensor, counts: Sequence[int], width: int) -> None:
    expected = (len(counts), max(counts), width)
    if output.dim() != 3 or len(output) != len(counts) or output.shape[1] < max(counts) or output.shape[2] != width:
        raise BadInputError(
            f"{type(module).__name__} returned a tensor of shape {tuple(output.shape)} where its num_tokens and its "
            f"width promise {expected}"
        )


class MediaEncoder(nn.Module):
    """An encoder followed by a projector into the shared width.

    values [N, ...] -> encoder -> [N, T, C] -> projector -> [N, T', D] -> valid tokens [sum T', D]
    """

    def __init__(self, encoder: Encoder, projector: Callable[..., Projector], d_model: int) -> None:
        super().__init__()
        self.d_model = d_model
        self.encoder: Encoder = encoder
        self.projector: Projector = projector(d_input=encoder.d_output, d_model=d_model)

    def num_tokens(self, shape: tuple[int, ...]) -> int:
        """Tokens of the fused sequence that one item takes. The only place where this is computed."""
        return self.projector.num_tokens(self.encoder.num_tokens(shape))

    def counts(self, media: MediaBatch) -> list[int]:
        """Tokens of each item."""
        return [self.num_tokens(tuple(shape)) for shape in media.shapes.tolist()]

    def forward(self, media: MediaBatch) -> Tensor:
        """Tokens of all items after one another, [sum of counts, D], without padding.

        Raises `BadInputError` when encoder or projector return another shape than they promise.
        """
        features_NTC = self.encoder(media)
        counts = [self.encoder.num_tokens(tuple(shape)) for shape in media.shapes.tolist()]
        _check(self.encoder, features_NTC, counts, self.encoder.d_output)
        tokens_NTD = self.projector(features_NTC, torch.tensor(counts, device=features_NTC.device))
        counts = [self.projector.num_tokens(count) for count in counts]
        _check(self.projector, tokens_NTD, counts, self.d_model)
        return tokens_NTD[~padding_mask(tokens_NTD, torch.tensor(counts, device=tokens_NTD.device))]

    def absent(self) -> Tensor:
        """A scalar 0 that depends on every parameter, for a batch without this modality.

        Without it, processes that do and do not have the modality would disagree on which gradients to exchange,
        and hang.
        """
        parameter = next(self.parameters())
        values = torch.zeros((1, *self.encoder.example_shape), device=parameter.device, dtype=parameter.dtype)
        shapes = torch.tensor([self.encoder.example_shape])
        return 0.0 * self(MediaBatch(values, shapes, torch.zeros(1, dtype=torch.long))).sum()
