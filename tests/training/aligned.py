"""Aligned samples in memory, some of which lack a modality, and a tiny model with a shared space."""

from __future__ import annotations

import numpy as np
import torch

from data.batching.interleave import Interleaver
from data.batching.loader import BatchStream
from data.batching.mixture import Mixture
from data.types import AUDIO, IMAGE, AlignedSample, Media, Text
from tests.data.memory import MemorySource, RawProcessor, tokenizer
from tests.training.tiny import tiny_model
from training import distributed
from training.objectives.contrastive import InfoNCE, Sigmoid
from training.objectives.next_token import NextToken
from training.objectives.weighted_sum import WeightedSum
from training.steps.accumulation import accumulate

# What a sample lacks, by its number; a quarter is complete.
LACKING = ("", "audio", "image", "text")
SPACE = {
    "_target_": "fusion.spaces.shared_space.SharedSpace",
    "_partial_": True,
    "d_embedding": 6,
    "scale": 10.0,
    "bias": -3.0,
}
OBJECTIVES = {
    "infonce": InfoNCE,
    "sigmoid": Sigmoid,
    "both": lambda: WeightedSum([NextToken(), InfoNCE()], [1, 3]),
}


class AlignedMemory:
    """Image, text and sound of a number; `lacking` as `LACKING`."""

    def __init__(self, num_samples=12, lacking=LACKING):
        self.num_samples, self.lacking = num_samples, lacking

    def __len__(self):
        return self.num_samples

    def sample(self, index, rng):
        drawn = np.random.default_rng(index)
        pixels = torch.tensor(drawn.standard_normal((3, 4, 4)), dtype=torch.float32)
        frames = torch.tensor(drawn.standard_normal((2 + index % 4, 3)), dtype=torch.float32)
        segments = {"image": Media(IMAGE, pixels), "text": Text(f"number {index}"), "audio": Media(AUDIO, frames)}
        lacking = self.lacking[index % len(self.lacking)]
        kept = tuple(segment for name, segment in segments.items() if name != lacking)
        return AlignedSample(str(index), kept, origin=f"pairs.jsonl:{index + 1}", metadata={"parity": str(index % 2)})

    def texts(self):
        return ()


class Doubled(AlignedMemory):
    """Every sample twice, so that batches hold equal ones."""

    def sample(self, index, rng):
        return super().sample(index // 2, rng)


def aligned_model(seed=0, **space):
    return tiny_model(seed, shared_space={**SPACE, **space})


def reader(model):
    return Interleaver(tokenizer(), {IMAGE: RawProcessor(), AUDIO: RawProcessor()}, model.layouts, model.modalities, 64)


def aligned_stream(model, samples_per_batch=6, reads=("aligned",), conversations=False, source=None, **options):
    sources = {"pairs": (source or AlignedMemory(), 1.0)}
    if conversations:
        sources["talk"] = (MemorySource(12), 1.0)
    return BatchStream(Mixture(sources, seed=0), reader(model), samples_per_batch, reads=reads, **options)


def gradients_of(kind, processes=None):
    """Loss, count and gradients of four micro-batches, which are split over the processes.

    Where conversations are among them, some processes have no aligned sample in some micro-batches.
    """
    objective, model = OBJECTIVES[kind](), aligned_model()
    place = {"rank": processes.rank, "world_size": processes.world_size} if processes else {}
    size = 3 if kind == "both" else 5
    source = Doubled(8, ("", "audio"))
    stream = aligned_stream(model, size, objective.reads, conversations=kind == "both", source=source, **place)
    batches = [stream[index] for index in range(4)]
    if processes:
        distributed.shard(model, processes)
    totals = accumulate(model, objective, batches, processes)
    found = {name: distributed.to_full(p.grad) for name, p in model.named_parameters()}
    aligned = [batch.alignment.num_samples if batch.alignment else 0 for batch in batches]
    return {"loss": totals.mean, "count": totals.count, "gradients": found, "aligned": aligned}
