"""On-the-fly gradient modulation: the modality that answers better learns slower."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from data.types import InterleavedBatch, Modality
from fusion.mode import switched
from fusion.model import FusionModel
from fusion.token_loss import token_losses
from training.balance.base import alone, flops_alone
from training.balance.modulation import Modulation
from training.steps.forward import Extra, Forward


class OgmGe(Modulation):
    """OGM-GE (Peng et al., CVPR 2022, arXiv:2203.15332), for any fusion method.

        score s_m: mean probability of the right token when m alone is seen, over the answers of an update
        ratio r_m = s_m / mean of the other scores        coefficient k_m = 1 - tanh(alpha * r_m) if r_m > 1, else 1

    Differences from the paper. It has two modalities and splits the linear head over their concatenated features to get
    a score of each; most methods have no such split, so here the model answers with the other media hidden, by a
    forward pass without gradients or dropout. Of more than two modalities, the others are averaged. The paper changes
    the encoders, its code their convolutions alone; here it is all weights of the modality's own. The paper scales
    gradients (`scales=gradient`). By default the update is scaled, and the noise with it; see `Modulation`.

    Only documents with media of several modalities are scored; without any in an update, all coefficients are 1.

    alpha: how much a modality that is ahead is held back. every: updates from one scoring to the next; between them the
    coefficients stay. noise: GE; without it this is OGM.
    """

    sees_alone = True

    def __init__(
        self,
        alpha: Annotated[float, Field(ge=0)] = 0.5,
        every: Annotated[int, Field(ge=1)] = 1,
        scales: str = "update",
        noise: bool = True,
    ) -> None:
        super().__init__(scales, noise)
        if alpha < 0:
            raise ValueError(f"alpha={alpha} must be 0 or more")
        if every < 1:
            raise ValueError(f"every={every} must be 1 or more")
        self.alpha, self.every = alpha, every
        self._sums: dict[Modality, list[float]] | None = None

    def extra(self, step: int) -> Extra | None:
        """Scores each medium alone, if it is due."""
        if step % self.every:
            return None
        self._sums = {name: [0.0, 0.0] for name in self.own}
        return self._score

    def _score(self, forward: Forward, batch: InterleavedBatch) -> dict[str, tuple[Tensor, int]]:
        """Before the pass with gradients: what is sharded is only put away by a backward pass.

        With several processes gradients are on, though nobody asks for them: only then a model goes through encoders
        that have nothing to read, and the weights of those must be gathered from all processes.
        """
        assert self._sums is not None
        found, several = {}, forward.processes.mesh is not None
        with torch.set_grad_enabled(several), switched(forward.model, training=False), forward.autocast():
            for name, part in alone(batch, forward.processes):
                losses_U = token_losses(forward.model, forward.model(part).states, part).detach()
                right, count = losses_U.neg().exp().sum(), len(losses_U)
                found[f"balance/score/{name}"] = (right, count)
                self._sums[name] = [self._sums[name][0] + float(right), self._sums[name][1] + count]
        return found

    def weigh(self) -> None:
        """New coefficients from the scores of all processes, if this update has any."""
        if self._sums is None:
            return
        sums = self.processes.sum([value for pair in self._sums.values() for value in pair])
        pairs = dict(zip(self._sums, zip(sums[::2], sums[1::2], strict=True), strict=True))
        scores = {name: right / count for name, (right, count) in pairs.items() if count}
        self.coefficients, self._sums = dict.fromkeys(self.own, 1.0) | coefficients(scores, self.alpha), None

    def flops(self, model: FusionModel, batch: InterleavedBatch) -> float:
        """A forward pass for each medium alone, in one of `every` updates."""
        return flops_alone(model, batch, lambda sample: sample.inference) / self.every


def coefficients(scores: Mapping[Modality, float], alpha: float) -> dict[Modality, float]:
    """What each modality is multiplied by, given its score; 1 without others, or if the others score nothing."""
    found = {}
    for name, score in scores.items():
        others = [other for modality, other in scores.items() if modality != name]
        mean = sum(others) / len(others) if others else 0.0
        ahead = math.isfinite(score) and mean > 0 and score > mean
        found[name] = 1 - math.tanh(alpha * score / mean) if ahead else 1.0
    return found
