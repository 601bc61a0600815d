"""Performance-dominant modality prioritisation: the best modality alone leads the training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from data.types import Modality
from fusion.model import FusionModel
from training.balance.modulation import Modulation

Coefficient = Annotated[float, Field(ge=0)]


class Pdmp(Modulation):
    """PDMP (Wei et al., arXiv:2604.05773), the opposite of OGM: what is better alone learns faster than the rest.

    From the abstract: unimodal models are trained independently and ranked, and asymmetric coefficients on the
    gradients of each modality let the best one dominate, whatever the model's structure and fusion method. Chosen here,
    for the paper's values were not at hand: the defaults of `prioritised` (its gamma_p) and `rest` (gamma_r), that
    coefficients are the same in all updates, and that they scale the update (see `Modulation`).

    ranking: all media of the model, the one that is best alone first. An independent model of the image alone is a
    training with `data.modality_dropout={audio: 1.0}`. What these cost is not in the operations of this training.
    """

    def __init__(
        self,
        ranking: Sequence[Modality],
        prioritised: Coefficient = 1.0,
        rest: Coefficient = 0.5,
        scales: str = "update",
    ) -> None:
        super().__init__(scales, noise=False)
        if not 0 <= rest <= prioritised:
            raise ValueError(f"rest={rest} must be from 0 to prioritised={prioritised}, or the best would not lead")
        self.ranking, self.prioritised, self.rest = list(ranking), prioritised, rest

    def check(self, model: FusionModel) -> None:
        """Raises `ValueError` for a ranking that is not of the model's media."""
        media = list(model.modalities[1:])
        if sorted(self.ranking) != media:
            raise ValueError(
                f"ranking=[{','.join(self.ranking)}] must name each medium of the model once, the best first; "
                f"it has {', '.join(media) or 'none'}"
            )

    def weigh(self) -> None:
        """The same coefficients in every update; 1 where there is only one medium, which leads nothing."""
        if len(self.ranking) > 1:
            best, *others = self.ranking
            self.coefficients = {best: self.prioritised, **dict.fromkeys(others, self.rest)}
