"""Mixture of transformers: all modalities see one another in every layer, each with weights of its own."""

from __future__ import annotations

from typing import Any

from fusion.methods.early import EarlyFusion


class MixtureOfTransformers(EarlyFusion):
    """Early fusion with a set of weights for each modality (arXiv:2411.04996): as many operations, more parameters.

    The paper's modalities are text, image and speech tokens that are all predicted; here text alone is. This is a name
    for `early` with `weights="per_modality"`. Raises `ValueError` for other weights.
    """

    def __init__(self, d_model: int, weights: str = "per_modality", **stack: Any) -> None:
        if weights != "per_modality":
            raise ValueError(f"weights={weights!r} must be per_modality; with shared weights it is fusion=early")
        super().__init__(d_model, weights=weights, **stack)
