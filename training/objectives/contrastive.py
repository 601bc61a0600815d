"""Contrastive objectives over the segments of aligned samples, for every pair of modalities.

Shape legend: R aligned samples of this process, M modalities, E width of the shared space, n samples of this process
that have both modalities of a pair, N those of all processes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from data.loader import ALIGNED
from data.types import InterleavedBatch
from fusion.shared_space import SharedSpace
from training.distributed import gather_rows
from training.objectives.base import LossTerms, Objective


@dataclass(frozen=True)
class Pair:
    """The samples that have both modalities of a pair.

    first, second: their embeddings in this process, [n, E]; all_first, all_second: in all processes, [N, E]. targets:
    the places of the samples of this process among all, [n]. scale, bias: scalars; bias is None if there is none.
    """

    name: str
    first: Tensor
    second: Tensor
    all_first: Tensor
    all_second: Tensor
    targets: Tensor
    scale: Tensor
    bias: Tensor | None


class Contrastive(Objective):
    """Base class: the mean over pairs of modalities of the mean loss of the samples that have both.

    A micro-batch is one set of samples to tell apart, over all processes together: accumulating does not enlarge the
    set, and weighs micro-batches by their numbers of samples. A subclass defines `pair_loss`.
    """

    reads = (ALIGNED,)

    def terms(self, model: nn.Module, hidden_BLD: Tensor, batch: InterleavedBatch) -> LossTerms:
        """The loss as a sum over the aligned samples of this process; groups are named "contrastive/text-image"."""
        space = _shared_space(model)
        embeddings_RME, present_RM = space(hidden_BLD, batch)
        everyone_RME, start = gather_rows(embeddings_RME)
        everywhere_RM, _ = gather_rows(present_RM)
        pairs = list(_pairs(space, embeddings_RME, present_RM, everyone_RME, everywhere_RM, start))
        total, groups = embeddings_RME.sum() * 0.0, {}
        for pair in pairs:
            # In full precision: similarities of bfloat16 times a scale of 100 would be off by 0.4.
            with torch.autocast(embeddings_RME.device.type, enabled=False):
                loss = self.pair_loss(pair)
            # Over all processes these sums are the number of samples times the mean over pairs of mean losses.
            total = total + loss * (len(everyone_RME) / (len(pairs) * len(pair.all_first)))
            if len(pair.targets):
                groups[f"contrastive/{pair.name}"] = (loss.detach(), len(pair.targets))
        return LossTerms(total, len(embeddings_RME), groups)

    def pair_loss(self, pair: Pair) -> Tensor:
        """The loss of the samples of this process, summed."""
        raise NotImplementedError(f"{type(self).__name__} must define pair_loss")

    def check(self, model: nn.Module) -> None:
        """Raises `ValueError` if the model has no shared space."""
        _shared_space(model)


class InfoNCE(Contrastive):
    """Symmetric cross-entropy: each sample finds its partner among all, in both directions (CLIP, arXiv:2103.00020)."""

    def pair_loss(self, pair: Pair) -> Tensor:
        """Mean of both directions, in nats."""
        forth_nN = pair.scale * pair.first @ pair.all_second.T
        back_nN = pair.scale * pair.second @ pair.all_first.T
        losses = [functional.cross_entropy(logits, pair.targets, reduction="sum") for logits in (forth_nN, back_nN)]
        return (losses[0] + losses[1]) / 2


class Sigmoid(Contrastive):
    """Every pair of samples is judged alone, as belonging together or not (SigLIP, arXiv:2303.15343)."""

    def pair_loss(self, pair: Pair) -> Tensor:
        """Sum over all pairs of -log sigmoid(z (scale * similarity + bias)), z = 1 for partners, else -1."""
        assert pair.bias is not None
        logits_nN = pair.scale * pair.first @ pair.all_second.T + pair.bias
        is_partner_nN = functional.one_hot(pair.targets, len(pair.all_second))
        return -functional.logsigmoid((2 * is_partner_nN - 1) * logits_nN).sum()

    def check(self, model: nn.Module) -> None:
        """Raises `ValueError` if the model has no shared space, or one without a bias."""
        if _shared_space(model).logit_bias is None:
            raise ValueError("the sigmoid loss needs a bias; choose shared_space=linear_with_bias")


def _shared_space(model: nn.Module) -> SharedSpace:
    space = getattr(model, "shared_space", None)
    if space is None:
        raise ValueError("a contrastive loss needs embeddings; choose shared_space=linear")
    return space


def _pairs(
    space: SharedSpace,
    embeddings_RME: Tensor,
    present_RM: Tensor,
    everyone_RME: Tensor,
    everywhere_RM: Tensor,
    start: int,
) -> Iterator[Pair]:
    """Every pair of modalities that any sample of any process has; the same pairs in every process.

    everyone, everywhere: as the first two, of all processes; this process begins at `start` there.
    """
    scales = space.scale
    for index, (first, second) in enumerate(space.pairs):
        here_R = present_RM[:, first] & present_RM[:, second]
        everywhere_R = everywhere_RM[:, first] & everywhere_RM[:, second]
        if not bool(everywhere_R.any()):
            continue
        mine_nME, all_NME = embeddings_RME[here_R], everyone_RME[everywhere_R]
        before = int(everywhere_R[:start].sum())
        yield Pair(
            name=f"{space.modalities[first]}-{space.modalities[second]}",
            first=mine_nME[:, first],
            second=mine_nME[:, second],
            all_first=all_NME[:, first],
            all_second=all_NME[:, second],
            targets=before + torch.arange(len(mine_nME), device=mine_nME.device),
            scale=scales[index],
            bias=None if space.logit_bias is None else space.logit_bias[index],
        )
