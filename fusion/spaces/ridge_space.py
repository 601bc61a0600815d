"""A shared space that starts from ridge regressions between the features of frozen encoders, and learns what they miss.

Shape legend: N items, C width of the features, E width of the shared space, D `d_model`, S segments.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from data.types import Modality
from fusion.spaces.ridge import fit_ridge
from fusion.spaces.shared_space import SharedSpace

# The fewest samples with both modalities that a regression is fitted on.
FEWEST = 2
# Standard deviation of the weights that make learned parts, at the start.
SMALL = 1e-3


class Anchor(nn.Module):
    """Mean features of a frozen encoder [N, C] -> [N, E]: what they say of the features of every frozen encoder.

    A block for each of them, of length 1 divided by the root of their number: the features themselves without their
    mean, and what a ridge regression predicts of the others. So the inner product of two anchors is the mean over
    blocks of the cosine that judges a regression (`evaluation.retrieval.ridge`), in both directions at once. Nothing
    here is trained. Until it is fitted all blocks are 0.
    """

    mean: Tensor
    fitted: Tensor

    def __init__(self, own: Modality, widths: Mapping[Modality, int]) -> None:
        super().__init__()
        self.own, self.names = own, list(widths)
        self.register_buffer("mean", torch.zeros(widths[own]))
        self.register_buffer("fitted", torch.zeros(()))
        others = {name: width for name, width in widths.items() if name != own}
        self.regressions = nn.ModuleDict({name: nn.Linear(widths[own], width) for name, width in others.items()})
        self.requires_grad_(False)
        for parameter in self.parameters():
            nn.init.zeros_(parameter)

    def fit(self, features: Mapping[Modality, tuple[np.ndarray, np.ndarray]]) -> None:
        """Fits the regressions to every other modality. See `RidgeSpace.fit`."""
        for other, regression in self.regressions.items():
            assert isinstance(regression, nn.Linear)
            ridge = fit_ridge(*common(features, self.own, other))
            assign(regression.weight, ridge.weights.T)
            assign(regression.bias, ridge.bias)
        assign(self.mean, features[self.own][0].mean(axis=0, dtype=np.float64))
        self.fitted.fill_(1.0)

    def forward(self, means_NC: Tensor) -> Tensor:
        """Anchors [N, E]."""
        with torch.autocast(means_NC.device.type, enabled=False):
            x = means_NC.to(self.mean.dtype)
            own = self.fitted * (x - self.mean)
            blocks = [own if name == self.own else self.regressions[name](x) for name in self.names]
            units = [nn.functional.normalize(block, dim=-1) for block in blocks]
            return torch.cat(units, dim=-1) / math.sqrt(len(units))


class RidgeSpace(SharedSpace):
    """A shared space: media with frozen encoders bring their anchor, and learn in addition what it misses.

        frozen medium:  [anchor of its features, bounded(head(mean of the segment's hidden states))] -> length 1
        any other:      head(mean of the segment's hidden states) -> length 1

    The learned part is as good as 0 at the start, where similarities are those of the regressions. It grows to a length
    of at most `residual` where the anchor has 1. So a training on few samples cannot forget the frozen features in
    favour of what it learned by heart. Media without an anchor (text, and encoders that are trained) are learned into
    the whole space.

    d_embedding: width of the learned part, and of everything for a model with fewer than two frozen encoders.
    """

    def __init__(
        self,
        d_model: int,
        modalities: Sequence[Modality],
        d_embedding: int = 128,
        scale: float = 1 / 0.07,
        bias: float | None = None,
        residual: float = 0.35,
    ) -> None:
        super().__init__(d_model, modalities, d_embedding, scale, bias)
        if not residual > 0:
            raise ValueError(f"residual={residual} must be above 0")
        self.d_model, self.residual = d_model, residual

    def meet(self, frozen: Mapping[Modality, int]) -> None:
        """Makes the anchors of the frozen encoders, name -> width of their features."""
        if len(frozen) < 2:
            return
        d_learned, self.d_anchor = self.d_embedding, sum(frozen.values())
        self.d_embedding = self.d_anchor + d_learned
        self.anchors = nn.ModuleDict({name: Anchor(name, frozen) for name in frozen})
        widths = {name: d_learned if name in frozen else self.d_embedding for name in self.modalities}
        heads = {name: nn.Linear(self.d_model, width, bias=False) for name, width in widths.items()}
        for name in frozen:
            # Not 0: if two learned parts are both 0, neither has a gradient.
            nn.init.normal_(heads[name].weight, std=SMALL)
        self.heads = nn.ModuleDict(heads)

    def embed(self, name: Modality, pooled_SD: Tensor) -> Tensor:
        """Anchor and learned part [S, E]."""
        learned = self.heads[name](pooled_SD[:, : self.d_model])
        if name not in self.anchors:
            return learned
        bounded = self.residual * learned / (1 + learned.square().sum(dim=-1, keepdim=True)).sqrt()
        return torch.cat([pooled_SD[:, self.d_model :], bounded], dim=-1)

    def fit(self, features: Mapping[Modality, tuple[np.ndarray, np.ndarray]]) -> None:
        """Fits every regression in closed form.

        features: modality -> mean features [n, C] and the numbers of the samples that they are of [n], ascending.

        Raises:
            ValueError: fewer than two frozen encoders, or no two samples with both media of some two of them.
        """
        if len(self.anchors) < 2:
            raise ValueError(f"needs two frozen encoders or more, has {', '.join(self.anchors) or 'none'}")
        for anchor in self.anchors.values():
            assert isinstance(anchor, Anchor)
            anchor.fit(features)


def common(
    features: Mapping[Modality, tuple[np.ndarray, np.ndarray]], first: Modality, second: Modality
) -> tuple[np.ndarray, np.ndarray]:
    """The features of the samples that have both modalities. Raises `ValueError` if they are fewer than two."""
    found: list[np.ndarray] = [np.array([], dtype=int)] * 3
    if first in features and second in features:
        one, other = features[first][1], features[second][1]
        found = list(np.intersect1d(one, other, assume_unique=True, return_indices=True))
    if len(found[0]) < FEWEST:
        raise ValueError(f"{len(found[0])} training samples have both {first} and {second}; needs {FEWEST} or more")
    return features[first][0][found[1]], features[second][0][found[2]]


@torch.no_grad()
def assign(parameter: Tensor, values: np.ndarray) -> None:
    """Copies an array into a parameter or buffer of any precision."""
    parameter.copy_(torch.from_numpy(np.ascontiguousarray(values)))
