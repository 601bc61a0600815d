"""What every encoder of a medium offers, and the pair of encoder and projector that fusion uses.

Shape legend: N items, T places in an item, C width of the features, D `d_model`, E width of the shared space.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from data.types import Layout, MediaBatch, MediaItems
from encoders.projector import Projector, padding_mask


class Encoder(nn.Module):
    """Base class: raw values of one modality to a sequence of features.

    A subclass sets `d_output` (width C of its features) and `example_shape` (the shape of a small item that
    it accepts), and defines `layout` and `forward`. Items must not influence one another, and padding must
    not influence an item: the shared contract tests hold every configured encoder to both.
    """

    d_output: int
    example_shape: tuple[int, ...]
    # Times the optimizer's learning rate; a pretrained encoder may learn more slowly than the rest.
    lr_scale: float = 1.0
    # Whether its features are computed once and kept on disk; then an item may also be given as its features [T, C].
    cache: bool = False
    # Whether its weights were trained elsewhere, so that they expect what `preprocessing` says.
    is_pretrained: bool = False

    def layout(self, shape: tuple[int, ...]) -> Layout:
        """How many features one item of `shape` (before padding) becomes, and where they lie.

        Raises `ValueError` for an item that does not fit.
        """
        raise NotImplementedError(f"{type(self).__name__} must define layout")

    def forward(self, media: MediaBatch) -> Tensor:
        """Features [N, T, C]; item n has `layout(shapes[n]).count` of them, and what follows is padding."""
        raise NotImplementedError(f"{type(self).__name__} must define forward")

    def preprocessing(self) -> dict[str, Any]:
        """The node of a processor (its `_target_` and options) that prepares what the weights expect.

        Empty where the weights expect nothing of the kind: then the data decide.
        """
        return {}

    def example_features(self) -> Tensor:
        """Features [1, T, C] of one small item of zeros, which depend on every weight that is trained."""
        parameter = next(self.parameters())
        values = torch.zeros((1, *self.example_shape), device=parameter.device, dtype=parameter.dtype)
        return self(MediaBatch(values, torch.tensor([self.example_shape]), torch.zeros(1, dtype=torch.long)))


def check_convolutions(channels: Sequence[int], strides: Sequence[int], kernels: Sequence[int]) -> None:
    """Raises `ValueError` unless the three lists name the same convolutions, one entry each, and at least one.

    Kernels are odd, so that a convolution with half of its kernel as padding changes a length by its stride alone, and
    no smaller than their strides, so that it skips nothing.
    """
    for name, values in (("channels", channels), ("strides", strides), ("kernels", kernels)):
        if any(value < 1 for value in values):
            raise ValueError(f"{name}={list(values)} must all be 1 or more")
    if not channels or not len(channels) == len(strides) == len(kernels):
        raise ValueError(
            f"channels={list(channels)}, strides={list(strides)} and kernels={list(kernels)} must have one "
            "entry per convolution each"
        )
    if any(kernel % 2 == 0 or kernel < stride for kernel, stride in zip(kernels, strides, strict=True)):
        raise ValueError(f"kernels={list(kernels)} must be odd and at least strides={list(strides)}")


class MediaEncoder(nn.Module):
    """An encoder followed by a projector into the shared width.

    values [N, ...] -> encoder -> [N, T, C] -> projector -> [N, T', D] -> valid tokens [sum T', D]
    """

    def __init__(self, encoder: Encoder, projector: Callable[..., Projector], d_model: int) -> None:
        super().__init__()
        self.encoder: Encoder = encoder
        self.projector: Projector = projector(d_input=encoder.d_output, d_model=d_model)
        self._check_fit(d_model)

    def layout(self, shape: tuple[int, ...]) -> Layout:
        """How many tokens of the fused sequence one item takes, and where they lie. The only place that says so."""
        return self.projector.layout(self.encoder.layout(shape))

    def counts(self, media: MediaItems) -> list[int]:
        """Tokens of each item."""
        return [self.layout(tuple(shape)).count for shape in media.shapes.tolist()]

    def forward(self, media: MediaItems | None, anchor: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Tokens of all items after one another, [sum of counts, D], without padding; None: of an example.

        Buckets of items are encoded one by one. Where there is an `anchor`, means of an item's features [N, C] ->
        [N, E], each of the item's tokens has that after its own values: [sum of counts, D + E].
        """
        if media is None:
            return self._example_tokens().flatten(0, 1)
        parts = [self._tokens(bucket, anchor) for bucket in media.buckets]
        if len(parts) == 1:
            return parts[0]
        pairs = zip(parts, media.buckets, strict=True)
        items = [item for part, bucket in pairs for item in part.split(self.counts(bucket))]
        return torch.cat([items[number] for number in media.places.argsort().tolist()])

    def _tokens(self, media: MediaBatch, anchor: Callable[[Tensor], Tensor] | None) -> Tensor:
        features_NTC = self.encoder(media)
        layouts = [self.encoder.layout(tuple(shape)) for shape in media.shapes.tolist()]
        counts = [layout.count for layout in layouts]
        tokens_NTD = self.projector(features_NTC, torch.tensor(counts, device=features_NTC.device))
        if anchor is not None:
            anchors_NE = anchor(self._means(features_NTC, media))
            tokens_NTD = torch.cat([tokens_NTD, anchors_NE[:, None].expand(-1, tokens_NTD.shape[1], -1)], dim=-1)
        counts_N = torch.tensor([self.projector.layout(layout).count for layout in layouts], device=tokens_NTD.device)
        return tokens_NTD[~padding_mask(tokens_NTD, counts_N)]

    def means(self, media: MediaItems) -> Tensor:
        """The mean over the encoder's features of each item, [N, C], in float32 or more; no projector takes part."""
        means_NC = torch.cat([self._means(self.encoder(bucket), bucket) for bucket in media.buckets])
        return means_NC[media.places.argsort().to(means_NC.device)]

    def _means(self, features_NTC: Tensor, media: MediaBatch) -> Tensor:
        features_NTC = features_NTC.to(torch.promote_types(features_NTC.dtype, torch.float32))
        counts = [self.encoder.layout(tuple(shape)).count for shape in media.shapes.tolist()]
        counts_N = torch.tensor(counts, device=features_NTC.device)
        inside_NT = ~padding_mask(features_NTC, counts_N)
        return (features_NTC * inside_NT[..., None]).sum(dim=1) / counts_N[:, None]

    def _example_tokens(self, features_1TC: Tensor | None = None) -> Tensor:
        features_1TC = self.encoder.example_features() if features_1TC is None else features_1TC
        count = torch.tensor([features_1TC.shape[1]], device=features_1TC.device)
        return self.projector(features_1TC, count)

    def absent(self) -> Tensor:
        """A scalar 0 that depends on every parameter, for a batch without this modality.

        Without it, processes that do and do not have the modality would not agree which gradients to exchange,
        and hang.
        """
        return 0.0 * self(None).sum()

    @torch.no_grad()
    def _check_fit(self, d_model: int) -> None:
        """Raises `ValueError` unless encoder and projector make of the example what they say."""
        self.eval()
        try:
            self._check_example(d_model)
        finally:
            self.train()

    def _check_example(self, d_model: int) -> None:
        encoder, projector = self.encoder, self.projector
        names = f"{type(projector).__name__} does not fit {type(encoder).__name__}"
        features, layout = encoder.example_features(), encoder.layout(encoder.example_shape)
        expected = (1, layout.count, encoder.d_output)
        if tuple(features.shape) != expected:
            raise ValueError(f"{type(encoder).__name__} makes features {tuple(features.shape)} but promises {expected}")
        try:
            tokens = self._example_tokens(features)
        except RuntimeError as error:
            raise ValueError(f"{names}, whose features are {expected}: {str(error).splitlines()[0]}") from error
        expected = (1, projector.layout(layout).count, d_model)
        if tuple(tokens.shape) != expected:
            raise ValueError(f"{names}: it makes tokens {tuple(tokens.shape)} where {expected} are needed")
