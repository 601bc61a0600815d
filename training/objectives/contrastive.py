"""Contrastive objectives over the segments of aligned samples, for every pair of modalities.

Shape legend: B rows of a batch, L tokens in a row, D `d_model`, S segments, R rows laid out anew (aligned samples of
this process), M modalities, E width of the shared space, n those of N that have it (samples of this process with both
modalities of a pair), N items (those of all processes).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from data.batching.loader import BatchStream
from data.sources.aligned import is_aligned
from data.sources.base import ALIGNED
from data.types import InterleavedBatch
from fusion.spaces.shared_space import SharedSpace
from training.distributed import gather_rows
from training.objectives.base import LossTerms, Objective

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pair:
    """The samples that have both modalities of a pair.

    first, second: their embeddings in this process, [n, E]; all_first, all_second: in all processes, [N, E]. targets:
    the places of the samples of this process among all, [n]. equal: [n, N], true for the others that hold the same in
    one of the two modalities. These are neither partners nor wrong (a caption of two pictures, the same row twice).
    scale, bias: scalars; bias is None if there is none.
    """

    name: str
    first: Tensor
    second: Tensor
    all_first: Tensor
    all_second: Tensor
    targets: Tensor
    equal: Tensor
    scale: Tensor
    bias: Tensor | None


class Contrastive(Objective):
    """Base class: the mean over pairs of modalities of the mean loss of the samples that have both.

    A micro-batch is one set of samples to tell apart, over all processes together: accumulating does not enlarge the
    set, and weighs micro-batches by their numbers of samples. Samples that hold the same are not told apart. A subclass
    defines `pair_loss`.
    """

    reads = (ALIGNED,)

    def __init__(self) -> None:
        super().__init__()
        self._said: set[str] = set()

    def terms(self, model: nn.Module, hidden_BLD: Tensor, batch: InterleavedBatch) -> LossTerms:
        """The loss as a sum over the aligned samples of this process; groups are named "contrastive/text-image"."""
        space = _shared_space(model)
        embeddings_RME, present_RM = space(hidden_BLD, batch)
        everyone_RME, start = gather_rows(embeddings_RME)
        everywhere_RM, _ = gather_rows(present_RM)
        contents_RM = _contents(batch, present_RM)
        pairs = list(
            _pairs(
                space,
                _Rows(embeddings_RME, present_RM, contents_RM),
                _Rows(everyone_RME, everywhere_RM, gather_rows(contents_RM)[0]),
                start,
            )
        )
        total, groups = embeddings_RME.sum() * 0.0, {}
        for pair in pairs:
            # In full precision: similarities of bfloat16 times a scale of 100 would be off by 0.4.
            with torch.autocast(embeddings_RME.device.type, enabled=False):
                loss = self.pair_loss(pair)
            # Over all processes these sums are the number of samples times the mean over pairs of mean losses.
            total = total + loss * (len(everyone_RME) / (len(pairs) * len(pair.all_first)))
            self._say_if_alone(pair)
            if len(pair.targets):
                groups[f"contrastive/{pair.name}"] = (loss.detach(), len(pair.targets))
        return LossTerms(total, len(embeddings_RME), groups)

    def _say_if_alone(self, pair: Pair) -> None:
        """Warns once of a pair of modalities where a micro-batch has nothing to tell apart."""
        if pair.name in self._said or not bool((pair.equal.sum(dim=1) + 1 == len(pair.all_first)).any()):
            return
        self._said.add(pair.name)
        logger.warning(
            "%s: in a micro-batch of %d samples with both, one is like all others or alone, so that it is told from "
            "none and teaches nothing; larger data.samples_per_batch help, or rows that differ",
            pair.name,
            len(pair.all_first),
        )

    def pair_loss(self, pair: Pair) -> Tensor:
        """The loss of the samples of this process, summed."""
        raise NotImplementedError(f"{type(self).__name__} must define pair_loss")

    def check(self, model: nn.Module) -> None:
        """Raises `ValueError` if the model has no shared space."""
        _shared_space(model)

    def check_data(self, stream: BatchStream) -> None:
        """Raises `ValueError` for batches of one sample, and for a source that every batch would hold twice."""
        size = stream.samples_per_batch
        if size < 2:
            raise ValueError(
                f"samples_per_batch={size} must be at least 2: a contrastive objective tells the samples of a "
                "micro-batch apart, and one alone has a loss of 0"
            )
        for name, source in stream.mixture.sources.items():
            share = stream.mixture.share(name, size)
            if share > len(source) and is_aligned(source):
                raise ValueError(
                    f"sources.{name}: has {len(source)} samples, and a batch takes {share} of it, so that every batch "
                    f"would hold some twice; samples_per_batch={size} must be at most "
                    f"{max(2, size * len(source) // share)}, or the source larger"
                )


class InfoNCE(Contrastive):
    """Symmetric cross-entropy: each sample finds its partner among all, in both directions (CLIP, arXiv:2103.00020)."""

    def pair_loss(self, pair: Pair) -> Tensor:
        """Mean of both directions, in nats."""
        forth_nN = pair.scale * pair.first @ pair.all_second.T
        back_nN = pair.scale * pair.second @ pair.all_first.T
        losses = [
            functional.cross_entropy(logits.masked_fill(pair.equal, -torch.inf), pair.targets, reduction="sum")
            for logits in (forth_nN, back_nN)
        ]
        return (losses[0] + losses[1]) / 2


class Sigmoid(Contrastive):
    """Every pair of samples is judged alone, as belonging together or not (SigLIP, arXiv:2303.15343)."""

    def pair_loss(self, pair: Pair) -> Tensor:
        """Sum over pairs of -log sigmoid(z (scale * similarity + bias)), z = 1 for partners, else -1; no equals."""
        assert pair.bias is not None
        logits_nN = pair.scale * pair.first @ pair.all_second.T + pair.bias
        is_partner_nN = functional.one_hot(pair.targets, len(pair.all_second))
        return -functional.logsigmoid((2 * is_partner_nN - 1) * logits_nN).masked_fill(pair.equal, 0.0).sum()

    def check(self, model: nn.Module) -> None:
        """Raises `ValueError` if the model has no shared space, or one without a bias."""
        if _shared_space(model).logit_bias is None:
            raise ValueError("the sigmoid loss needs a bias; choose shared_space=linear_with_bias")


def _shared_space(model: nn.Module) -> SharedSpace:
    space = getattr(model, "shared_space", None)
    if space is None:
        raise ValueError("a contrastive loss needs embeddings; choose shared_space=linear")
    return space


@dataclass(frozen=True)
class _Rows:
    """Aligned samples: embeddings [R, M, E], which of them are there [R, M], and what they hold [R, M]."""

    embeddings: Tensor
    present: Tensor
    contents: Tensor


def _contents(batch: InterleavedBatch, present_RM: Tensor) -> Tensor:
    """What each sample holds in each modality, [R, M], as numbers that equal contents share; 0 of what it lacks."""
    contents_RM = torch.zeros(present_RM.shape, dtype=torch.long, device=present_RM.device)
    if batch.alignment is None:
        return contents_RM
    there_S = batch.alignment.modality_ids >= 0
    rows, columns, contents = (
        ids[there_S] for ids in (batch.alignment.samples, batch.alignment.modality_ids, batch.alignment.contents)
    )
    return contents_RM.index_put((rows, columns), contents)


def _pairs(space: SharedSpace, mine: _Rows, everyone: _Rows, start: int) -> Iterator[Pair]:
    """Every pair of modalities that any sample of any process has; the same pairs in every process.

    mine: the samples of this process, which begin at `start` among those of everyone.
    """
    scales = space.scale
    for index, (first, second) in enumerate(space.pairs):
        here_R = mine.present[:, first] & mine.present[:, second]
        everywhere_R = everyone.present[:, first] & everyone.present[:, second]
        if not bool(everywhere_R.any()):
            continue
        mine_nME, all_NME = mine.embeddings[here_R], everyone.embeddings[everywhere_R]
        before = int(everywhere_R[:start].sum())
        targets = before + torch.arange(len(mine_nME), device=mine_nME.device)
        equal_nNM = mine.contents[here_R][:, None] == everyone.contents[everywhere_R][None]
        equal_nN = equal_nNM[..., first] | equal_nNM[..., second]
        yield Pair(
            name=f"{space.modalities[first]}-{space.modalities[second]}",
            first=mine_nME[:, first],
            second=mine_nME[:, second],
            all_first=all_NME[:, first],
            all_second=all_NME[:, second],
            targets=targets,
            equal=equal_nN.scatter(1, targets[:, None], False),
            scale=scales[index],
            bias=None if space.logit_bias is None else space.logit_bias[index],
        )
