"""How much faster training steps are when features of frozen encoders come from the cache."""

from __future__ import annotations

import statistics
import time
from copy import deepcopy
from dataclasses import dataclass

from omegaconf import DictConfig, OmegaConf

from data.batching.mixture import Mixture
from data.build import (
    build_interleaver,
    build_processors,
    build_sources,
    build_stream,
    build_tokenizer,
    check_encoders,
    check_kinds,
)
from data.device import choose_device
from data.instantiate import instantiate
from fusion.build import build_model
from training.distributed import Processes
from training.preparation.encoder_choice import follow_data
from training.preparation.feature_cache import cached_processors
from training.preparation.preprocessing import follow_encoders
from training.preparation.setup import build_objective, prepare_objective
from training.runs.random_state import seed_everything
from training.steps.accumulation import accumulate

# The first steps make room for gradients and optimizer states.
WARM_UP = 2


@dataclass(frozen=True)
class Timing:
    """fill_seconds: what filling the cache took, once. step_seconds: median of a step, its data included."""

    fill_seconds: float
    step_seconds: float
    losses: list[float]


def compare(config: DictConfig, num_steps: int) -> tuple[Timing, Timing]:
    """The same steps live and from the cache, in this order; every encoder that can is cached or is not."""
    live = deepcopy(config)
    OmegaConf.set_struct(live, False)
    for node in live.encoders.values():
        if node is not None and node.get("cache"):
            node.cache = False
    return measure(live, num_steps), measure(config, num_steps)


def measure(config: DictConfig, num_steps: int) -> Timing:
    """Times `num_steps` steps of a configuration, in this process alone, after a few that are not timed."""
    seed_everything(config.seed)
    config = deepcopy(config)
    config.trainer.max_steps = num_steps + WARM_UP
    device, sources = choose_device(config.trainer.device), build_sources(config.data)
    tokenizer = build_tokenizer(config.data, sources)
    config, _ = follow_data(config, sources, {})
    model = build_model(config, tokenizer.vocab_size)
    config, _ = follow_encoders(config, model)
    objective = build_objective(config.objective, model)
    check_kinds(sources, objective.reads, config.data.on_bad_sample)
    check_encoders(sources, {}, model.modalities)
    begun = time.perf_counter()
    mixture = Mixture(sources, config.seed, config.data.samples_per_batch)
    processors = cached_processors(config, model, mixture, build_processors(config.data), device)
    fill_seconds = time.perf_counter() - begun
    model = model.to(device).train()
    interleaver = build_interleaver(config.data, tokenizer, processors, model.layouts, model.modalities)
    stream = build_stream(config.data, config.seed, sources, interleaver, reads=objective.reads)
    processes = Processes(0, 1, device)
    prepare_objective(objective, processes, tokenizer, model, config.seed)
    optimizer = instantiate(config.optimizer, "optimizer")(model)
    optimizer.add(objective.to(device), "objective")
    seconds, losses = [], []
    for index in range(num_steps + WARM_UP):
        begun = time.perf_counter()
        totals = accumulate(model, objective, [stream[index].to(device)], processes)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(totals.mean))  # waits for the device
        seconds.append(time.perf_counter() - begun)
    return Timing(fill_seconds, statistics.median(seconds[WARM_UP:]), losses)
