"""Training and decoding of the configured model on documents that are drawn, with its speed and its memory."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, cast

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from certify.documents import make_document
from data.batching.collate import collate, collate_prompts
from data.batching.document import Document
from data.batching.packing import pack
from data.instantiate import completed, instantiate
from data.storage.run_log import read_metrics
from data.types import TEXT, InterleavedBatch
from fusion.build import build_model
from fusion.generation.decoding import generate
from fusion.model import FusionModel
from training.monitoring.memory import PeakMemory
from training.objectives.next_token import NextToken
from training.options import TrainerOptions
from training.runs.random_state import seed_everything
from training.trackers.jsonl import JsonlTracker
from training.trainer import Trainer

VOCAB_SIZE = 320
# Each modality, followed by text, so many times in a document; few batches, which come again, so that they are learned.
ROUNDS, NUM_BATCHES, DOCUMENTS_PER_ROW = 2, 4, 4
NO_END = -1


@dataclass(frozen=True)
class Trained:
    """Losses of all steps; tokens in a second in the median step of the second half; the largest memory of an update.

    Memory is that of tensors on CUDA, else what the process takes, in MB; 0 where it cannot be measured.
    """

    losses: list[float]
    tokens_per_second: float
    peak_mb: float


def model_of(config: DictConfig) -> FusionModel:
    """The model of the configuration, with the same weights at every call."""
    seed_everything(config.seed)
    return build_model(config, VOCAB_SIZE)


def documents_for(model: FusionModel, count: int, seed: int) -> list[Document]:
    """Documents with media of all modalities, each followed by text."""
    rng = np.random.default_rng(seed)
    order = [part for _ in range(ROUNDS) for name in model.modalities[1:] for part in (name, TEXT)] or [TEXT] * ROUNDS
    documents = [make_document(model, VOCAB_SIZE, order, rng, str(number)) for number in range(count)]
    # Values in float32, as a data set has them.
    return [replace(d, media=tuple((name, values.float()) for name, values in d.media)) for d in documents]


def trained(config: DictConfig, device: str, **options: Any) -> Trained:
    """Trains by the trainer of this project, `config.steps` steps; options: other ones of the trainer."""
    model = model_of(config)
    batches = [_packed(documents_for(model, config.documents, seed)) for seed in range(NUM_BATCHES)]

    def load(start: int, stop: int) -> Iterator[InterleavedBatch]:
        return (batches[number % NUM_BATCHES] for number in range(start, stop))

    with tempfile.TemporaryDirectory() as folder, completed(config.optimizer, "optimizer"):
        plain = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
        tracker = JsonlTracker(Path(folder) / "run")
        tracker.start("run", plain)
        Trainer(
            model=model,
            objective=NextToken(),
            optimizer=instantiate(config.optimizer, "optimizer"),
            schedule=instantiate(config.schedule, "schedule"),
            load=load,
            options=TrainerOptions(max_steps=config.steps, log_every=1, device=device, **options),
            run_folder=Path(folder) / "run",
            config=plain,
            tracker=tracker,
            seed=config.seed,
        ).fit()
        steps = read_metrics(tracker.metrics_path)
    late = steps[len(steps) // 2 :]
    return Trained(
        [float(step["train/loss"]) for step in steps],
        median(step["train/tokens_per_second"] for step in late),
        max(step.get("memory/peak_mb", 0.0) for step in late),
    )


def decoded(config: DictConfig, device: torch.device) -> dict[str, float]:
    """Tokens in a second of cached decoding, a batch at once, and the largest memory meanwhile."""
    model = model_of(config).to(device).eval()
    prompts = collate_prompts(documents_for(model, config.documents, seed=0)).to(device)

    def decode(new_tokens: int) -> None:
        generate(model, prompts, end_id=NO_END, max_new_tokens=new_tokens)

    decode(2)
    memory = PeakMemory(device)
    memory.start()
    seconds = timed(lambda: decode(config.new_tokens))
    memory.stop()
    return {"tokens_per_second": config.documents * config.new_tokens / seconds, "peak_mb": memory.mb}


def timed(run: Callable[[], object]) -> float:
    """Seconds; answers are read by the CPU, so that nothing is under way any more when it returns."""
    begun = time.monotonic()
    run()
    return time.monotonic() - begun


def _packed(documents: list[Document]) -> InterleavedBatch:
    total, longest = sum(map(len, documents)), max(map(len, documents))
    return collate(pack(documents, max(longest, total * DOCUMENTS_PER_ROW // len(documents))))
