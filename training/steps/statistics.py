"""What the layers of a model say in a training, summed over the micro-batches of an update.

Shape legend: M modalities, X experts (or whatever else is counted).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from data.types import Modality
from fusion.hidden import Aux

# Name in the log -> a sum, and what it is divided by.
Pairs = dict[str, tuple[float, float]]


class Statistics:
    """Auxiliary losses per term (`train/aux/NAME`), and counts as shares of a modality (`experts/layer_1/text/0`)."""

    def __init__(self, modalities: Sequence[Modality]) -> None:
        self.modalities = modalities
        self._losses: dict[str, Tensor] = {}
        self._counts: dict[str, Tensor] = {}
        self._terms = 0

    def add(self, aux: Aux | None, num_terms: int) -> None:
        """Takes a micro-batch. Raises `ValueError` for counts that do not have a row for each modality."""
        if aux is None:
            return
        self._terms += num_terms
        for name, loss in aux.losses.items():
            self._losses[name] = self._losses.get(name, 0.0) + loss.detach() * num_terms
        for name, counts_MX in aux.counts.items():
            if counts_MX.ndim != 2 or len(counts_MX) != len(self.modalities):
                raise ValueError(
                    f"counts {name!r} have the shape {tuple(counts_MX.shape)}; it must be [modalities, what is "
                    f"counted], with {len(self.modalities)} modalities"
                )
            self._counts[name] = self._counts.get(name, 0) + counts_MX.detach()

    def pairs(self) -> Pairs:
        """What to add up and to divide; nothing of a modality if nothing of it was counted."""
        result = {f"train/aux/{name}": (float(loss), float(self._terms)) for name, loss in self._losses.items()}
        for name, counts_MX in self._counts.items():
            for modality, counts in zip(self.modalities, counts_MX.tolist(), strict=True):
                total = float(sum(counts))
                if total:
                    result |= {f"{name}/{modality}/{e}": (float(n), total) for e, n in enumerate(counts)}
        return result
