"""What a training is made of, in the order that it can be refused in.

    configuration -> Data: sources, tokenizer -> model -> Reading: processors, stream of batches, objective, monitor

Everything here raises `BadInputError` of one line, before the run's folder exists.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from omegaconf import DictConfig

from data.batching.interleave import Interleaver
from data.batching.loader import BatchStream
from data.batching.mixture import Mixture
from data.batching.one_medium import OneMedium
from data.batching.rendering import render_ahead
from data.batching.without import check_removed, removed_modalities
from data.build import (
    Sources,
    build_interleaver,
    build_processors,
    build_sources,
    build_stream,
    build_tokenizer,
    build_validation,
    check_encoders,
    check_kinds,
    check_processors,
)
from data.instantiate import completed, instantiate
from data.progress import tell
from data.sources.base import Source
from data.tokenizer import Tokenizer
from data.types import BadInputError, Modality, Processor
from fusion.checkpoint import TOKENIZER
from fusion.model import FusionModel
from training.balance.base import Balance
from training.distributed import Processes
from training.objectives.base import Objective
from training.optimizers.schedules import Schedule
from training.preparation.encoder_choice import follow_data
from training.preparation.feature_cache import cached_processors, num_samples
from training.preparation.length import with_length
from training.preparation.preprocessing import follow_encoders
from training.runs.data_changes import OPTION, compare, describe
from training.runs.random_state import seed_objective
from training.trackers.base import Tracker


class Monitor(Protocol):
    """Asks a model the validation questions."""

    @property
    def metrics(self) -> Sequence[str]:
        """Names of what a call returns."""
        ...

    def __call__(self, model: torch.nn.Module, step: int, tracker: Tracker) -> dict[str, float]:
        """Scores by name; examples go to the tracker."""
        ...


class CheckAsked(Protocol):
    """Looks at what a model will be asked while it is trained and at the end."""

    def __call__(
        self,
        config: DictConfig,
        validation: Mapping[str, Source],
        model: FusionModel,
        tokenizer: Tokenizer,
        interleaver: Interleaver,
        reads: Collection[str],
    ) -> tuple[str, Sequence[str]]:
        """What was looked at, and what a person should know. Raises `BadInputError` for what could not be asked."""
        ...


MakeMonitor = Callable[[Mapping[str, Source], Tokenizer, Interleaver], Monitor]


NOT_BALANCED = (
    "balance: no sample of the first batch has media of several modalities; for such samples the option changes nothing"
)


@dataclass(frozen=True)
class Asked:
    """Whoever asks the model while it is trained and afterwards, without being imported by a training."""

    make_monitor: MakeMonitor
    check: CheckAsked


@dataclass(frozen=True)
class Data:
    """What is there before any model.

    held, notes: what the sources held, and what a person should know of it when a training goes on (see
    `training.runs.data_changes`). said: lines about what was chosen, for that person too.
    """

    sources: Sources
    validation: dict[str, Source]
    tokenizer: Tokenizer
    schedule: Schedule
    held: Mapping[str, Any]
    notes: Sequence[str]
    said: tuple[str, ...]


@dataclass(frozen=True)
class Reading:
    """What reads the data for a model, and what the model learns from them and is asked.

    notes: what a person should know of the questions; said: lines about what was chosen.
    """

    processors: Mapping[Modality, Processor]
    stream: BatchStream
    objective: Objective
    balance: Balance
    monitor: Monitor | None
    notes: Sequence[str]
    said: tuple[str, ...]


def prepare_data(config: DictConfig, checkpoint: Path | None) -> tuple[DictConfig, Data]:
    """The data, and the configuration with the length and the encoders that follow from them."""
    sources, validation = build_sources(config.data), build_validation(config.data)
    check_removed(removed_modalities(config.data), [*(source for source, _ in sources.values()), *validation.values()])
    config, length = with_length(config, sources, resumed=checkpoint is not None)
    schedule = build_schedule(config.schedule, config.trainer.max_steps)
    held, notes = describe(sources, validation), list[str]()
    if checkpoint:
        held, notes = compare(held, checkpoint, bool(config.get(OPTION)))
    tokenizer = Tokenizer.load(checkpoint / TOKENIZER) if checkpoint else build_tokenizer(config.data, sources)
    config, choice = follow_data(config, sources, validation)
    return config, Data(sources, validation, tokenizer, schedule, held, notes, (length, choice))


def prepare_reading(
    config: DictConfig, data: Data, model: FusionModel, asked: Asked, processes: Processes
) -> tuple[DictConfig, Reading]:
    """What reads for the model, and the configuration with the processors that follow from its encoders."""
    check_encoders(data.sources, data.validation, model.modalities)
    config, warnings = follow_encoders(config, model)
    processors = build_processors(config.data)
    check_processors(data.sources, data.validation, processors)
    interleaver = build_interleaver(config.data, data.tokenizer, processors, model.layouts, model.modalities)
    objective = build_objective(config.objective, model)
    balance = build_balance(config.get("balance"), model)
    check_kinds(data.sources, objective.reads, config.data.on_bad_sample)
    looked_at, notes = asked.check(config, data.validation, model, data.tokenizer, interleaver, objective.reads)
    if processes.is_main:
        tell(looked_at, *notes)
    stream = _stream(config, data, model, processors, objective, balance, processes)
    if balance.sees_alone and not any(part.sample_ids for part in stream[0].alone.values()):
        warnings = [*warnings, NOT_BALANCED]
    monitor = asked.make_monitor(data.validation, data.tokenizer, interleaver) if data.validation else None
    _check_best_metric(config.trainer.best_metric, monitor)
    return config, Reading(processors, stream, objective, balance, monitor, notes, tuple(warnings))


def build_objective(config: DictConfig, model: FusionModel) -> Objective:
    """The configured objective. Raises `BadInputError` if the model lacks what it needs."""
    objective = instantiate(config, "objective")
    try:
        objective.check(model)
    except ValueError as error:
        raise BadInputError(f"objective: {error}") from error
    return objective


def build_balance(config: DictConfig | None, model: FusionModel) -> Balance:
    """What is done about modalities that learn at different speeds; nothing for None.

    Raises `BadInputError` if the model does not fit.
    """
    if config is None:
        return Balance()
    balance = instantiate(config, "balance")
    try:
        balance.check(model)
    except ValueError as error:
        raise BadInputError(f"balance.{error}") from error
    return balance


def prepare_objective(
    objective: Objective, processes: Processes, tokenizer: Tokenizer, model: FusionModel, seed: int
) -> None:
    """Tells the objective of the model that is trained. Raises `BadInputError` for what it cannot use.

    Also for one that keeps the model's parameters, which would be trained and saved twice.
    """
    seed_objective(seed)
    try:
        objective.prepare(processes, tokenizer, model)
    except ValueError as error:
        raise BadInputError(f"objective: {error}") from error
    trained = {id(parameter) for parameter in model.parameters()}
    for name, parameter in objective.named_parameters():
        if id(parameter) in trained:
            raise BadInputError(
                f"objective: keeps the model's own parameters as {name}; keep a copy of them (copy.deepcopy), or take "
                "the model that `terms` is given"
            )


def build_schedule(config: DictConfig, max_steps: int) -> Schedule:
    """The configured schedule. Raises `BadInputError` if it cannot be that of so many steps."""
    schedule = instantiate(config, "schedule")
    try:
        with completed(config, "schedule"):
            schedule(0, max_steps)
    except BadInputError:
        raise
    except ValueError as error:
        raise BadInputError(f"schedule: {error}") from error
    return schedule


def _stream(
    config: DictConfig,
    data: Data,
    model: FusionModel,
    processors: Mapping[Modality, Processor],
    objective: Objective,
    balance: Balance,
    processes: Processes,
) -> BatchStream:
    """The batches of this process, with features in place of media where they are cached."""
    mixture = Mixture(data.sources, config.seed, config.data.samples_per_batch)
    render_ahead(mixture, num_samples(config))
    cached = cached_processors(config, model, mixture, processors, processes.device)
    reader = build_interleaver(config.data, data.tokenizer, cached, model.layouts, model.modalities)
    rank, world_size = processes.rank, processes.world_size
    one_medium = OneMedium(model.modalities, model.layouts) if balance.sees_alone else None
    stream = build_stream(config.data, config.seed, data.sources, reader, rank, world_size, objective.reads, one_medium)
    try:
        objective.check_data(stream)
    except ValueError as error:
        raise BadInputError(f"data.{error}") from error
    return stream


def _check_best_metric(name: str | None, monitor: Monitor | None) -> None:
    """Complains before the training about what the first validation would find."""
    if name is None:
        return
    if monitor is None:
        raise BadInputError(
            f"trainer.best_metric={name}: there is no validation to measure it; "
            "give data.validation (for data=manifest: data.validation_file=FILE), or trainer.best_metric=null"
        )
    if name not in monitor.metrics:
        names = [metric for metric in monitor.metrics if not metric.endswith("/skipped")]
        nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.0)[0]
        raise BadInputError(f"trainer.best_metric={name}: must be one of {', '.join(names)}; the nearest is {nearest}")
