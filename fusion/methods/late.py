"""Late fusion: each modality alone in all layers but the last."""

from __future__ import annotations

from typing import Any

from fusion.methods.mid import MidFusion


class LateFusion(MidFusion):
    """Mid fusion with one common layer only, the last one.

    The late fusion of classifiers averages the scores of unimodal models; a generator has one stream of text that needs
    the others, so they meet in one layer of attention.
    """

    def __init__(self, d_model: int, num_layers: int, **stack: Any) -> None:
        super().__init__(d_model, fusion_layer=num_layers - 1, num_layers=num_layers, **stack)
