"""Mixture of transformers: all modalities see one another in every layer, each with weights of its own."""

from __future__ import annotations

from typing import Any

from fusion.methods.early import EarlyFusion


class MixtureOfTransformers(EarlyFusion):
    """Early fusion with a set of weights for each modality (arXiv:2411.04996): as many operations, more parameters.

    The paper's modalities are text, image and speech tokens that are all predicted; here text alone is.
    """

    def __init__(self, d_model: int, **stack: Any) -> None:
        super().__init__(d_model, weights="per_modality", **stack)
