"""Early fusion: every modality of a document in one sequence from the first layer on."""

from __future__ import annotations

from torch import Tensor

from fusion.method import FusionMethod
from fusion.sequence import EmbeddedSequence


class EarlyFusion(FusionMethod):
    """All tokens of a document see one another in every layer, with shared weights (Chameleon, arXiv:2405.09818).

    Chameleon turns images into discrete tokens that it can also generate; here media stay continuous features.
    """

    def groups(self, layer: int, sequence: EmbeddedSequence) -> Tensor:
        """Documents, in every layer."""
        return sequence.document_ids
