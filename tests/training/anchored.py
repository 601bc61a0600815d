"""Gradients and an update of a model whose shared space starts from frozen features, in one process or several."""

from __future__ import annotations

from functools import partial

import torch

from data.batching.loader import BatchStream
from data.batching.mixture import Mixture
from data.types import AUDIO, IMAGE
from tests.evaluation.retrieval.test_frozen_baseline import Meaning
from tests.fusion.spaces.test_ridge_space import frozen_model, reader
from training import distributed
from training.objectives.contrastive import InfoNCE
from training.optimizers.groups import muon
from training.preparation.anchoring import fit_shared_space
from training.steps.accumulation import accumulate

ROWS, PER_BATCH = 24, 8
optimizer = partial(muon, lr=0.02, adamw_lr=1e-2, weight_decay=0.1)


def anchored_update(processes=None):
    """Loss, gradients of three micro-batches, and whole weights and buffers before and after the update with them."""
    model = frozen_model(IMAGE, AUDIO)
    place = {"rank": processes.rank, "world_size": processes.world_size} if processes else {}
    mixture = Mixture({"pairs": (Meaning(ROWS), 1.0)}, 0, PER_BATCH)
    stream = BatchStream(mixture, reader(model), PER_BATCH, reads=("aligned",), **place)
    fit_shared_space(model, stream, ROWS, torch.device("cpu"))
    batches = [stream[index] for index in range(3)]
    if processes:
        distributed.shard(model, processes)
    before = distributed.full_state_dict(model)
    steps = optimizer(model)
    totals = accumulate(model, InfoNCE(), batches, processes)
    learned = {name: p for name, p in model.named_parameters() if p.grad is not None}
    gradients = {name: distributed.to_full(p.grad).clone() for name, p in learned.items()}
    steps.step()
    after = distributed.full_state_dict(model)
    return {"loss": totals.mean, "gradients": gradients, "before": before, "after": after}
