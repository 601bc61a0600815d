"""Mid fusion: each modality alone in the lower layers, all together in the upper ones."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from fusion.method import FusionMethod
from fusion.sequence import EmbeddedSequence


class MidFusion(FusionMethod):
    """Below `fusion_layer` a token sees its own modality in its document, from there on all of the document.

    None is the middle of the stack. These are the modality-specific and the shared layers of Nagrani et al. (MBT,
    arXiv:2107.00135, section 3.2), without its bottleneck. The lower layers run on folded groups: a short
    row for each modality instead of a masked long one.
    """

    def __init__(self, d_model: int, fusion_layer: int | None = None, **stack: Any) -> None:
        super().__init__(d_model, **stack)
        num_layers = len(self.blocks)
        self.fusion_layer = num_layers // 2 if fusion_layer is None else fusion_layer
        if not 0 <= self.fusion_layer < num_layers:
            raise ValueError(f"fusion_layer={fusion_layer} must be from 0 to num_layers - 1 = {num_layers - 1}")

    def groups(self, layer: int, sequence: EmbeddedSequence) -> Tensor:
        """Modalities of documents, then documents."""
        return sequence.modality_groups if layer < self.fusion_layer else sequence.document_ids
