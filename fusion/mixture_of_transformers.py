"""Mixture of transformers: all modalities see one another in every layer, each with weights of its own."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from fusion.early import EarlyFusion
from fusion.mixers.base import Mixer


class MixtureOfTransformers(EarlyFusion):
    """Early fusion with a set of weights for each modality (arXiv:2411.04996): as many operations, more parameters.

    The paper's modalities are text, image and speech tokens that are all predicted; here text alone is.
    """

    def __init__(
        self,
        d_model: int,
        num_modalities: int,
        num_layers: int,
        mixer: Callable[..., Mixer],
        feed_forward: Callable[..., nn.Module],
        bidirectional_media: bool = False,
    ) -> None:
        super().__init__(d_model, num_modalities, num_layers, mixer, feed_forward, "per_modality", bidirectional_media)
