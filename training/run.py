"""One training from its configuration: data, tokenizer, model, trainer."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from omegaconf import DictConfig, OmegaConf

from data.build import (
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
from data.interleave import Interleaver
from data.loader import BatchStream, loader
from data.mixture import Mixture, Source
from data.progress import tell
from data.rendering import render_ahead
from data.tokenizer import Tokenizer
from data.types import BadInputError
from fusion.build import build_model
from fusion.checkpoint import validate_targets
from fusion.counting import active_parameters, parameter_counts, sample_flops, trainable_parameters
from fusion.model import FusionModel
from fusion.sizing import QUANTITIES, solve
from training.anchoring import fit_shared_space
from training.data_changes import OPTION, compare, describe
from training.distributed import Processes, share_of_cores, start
from training.encoder_choice import follow_data
from training.feature_cache import cached_processors, num_samples
from training.length import with_length
from training.objectives.base import Objective
from training.preprocessing import follow_encoders
from training.random_state import seed_everything
from training.run_folder import new_run_folder
from training.schedules import Schedule
from training.slow_data import remedy
from training.trackers.base import Tracker
from training.trackers.fan_out import build_tracker
from training.trainer import Trainer

ACCELERATOR_WORKERS = 4


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


def train(
    config: DictConfig,
    make_monitor: MakeMonitor,
    checkpoint: Path | None = None,
    check_asked: CheckAsked = lambda *asked: ("", ()),
) -> tuple[Path, bool]:
    """Trains; returns the run folder and whether this process is the one that reports.

    `checkpoint` is the step folder to go on from. Everything that can be refused (configuration, data, model) is
    refused before the run folder is made. Nothing outside this project's packages and the trusted ones is
    instantiated, for nothing else could be loaded from the checkpoints.
    """
    validate_targets(config)
    torch.set_num_threads(config.compute_threads or share_of_cores())
    processes = start(config.trainer.device)
    try:
        run_folder = _train(config, make_monitor, checkpoint, check_asked, processes)
        processes.barrier()  # a process that leaves while another still talks to it may abort
        return run_folder, processes.is_main
    finally:
        processes.close()


def _train(
    config: DictConfig,
    make_monitor: MakeMonitor,
    checkpoint: Path | None,
    check_asked: CheckAsked,
    processes: Processes,
) -> Path:
    options = instantiate(config.trainer, "trainer")
    seed_everything(config.seed)
    sources, validation = build_sources(config.data), build_validation(config.data)
    config, length = with_length(config, sources, resumed=checkpoint is not None)
    options = replace(options, max_steps=config.trainer.max_steps)
    schedule = build_schedule(config.schedule, config.trainer.max_steps)
    held, notes = describe(sources, validation), list[str]()
    if checkpoint:
        held, notes = compare(held, checkpoint, bool(config.get(OPTION)))
    tokenizer = Tokenizer.load(checkpoint / "tokenizer.json") if checkpoint else build_tokenizer(config.data, sources)
    config, choice = follow_data(config, sources, validation)
    model = build_model(config, tokenizer.vocab_size)
    check_encoders(sources, validation, model.modalities)
    config, warnings = follow_encoders(config, model)
    processors = build_processors(config.data)
    check_processors(sources, validation, processors)
    interleaver = build_interleaver(config.data, tokenizer, processors, model.num_tokens, model.modalities)
    objective = build_objective(config.objective, model)
    check_kinds(sources, objective.reads, config.data.on_bad_sample)
    looked_at, asked_notes = check_asked(config, validation, model, tokenizer, interleaver, objective.reads)
    if processes.is_main:
        tell(looked_at, *asked_notes)
    mixture = Mixture(sources, config.seed, config.data.samples_per_batch)
    render_ahead(mixture, num_samples(config))
    cached = cached_processors(config, model, mixture, processors, processes.device)
    reader = build_interleaver(config.data, tokenizer, cached, model.num_tokens, model.modalities)
    stream = build_stream(
        config.data, config.seed, sources, reader, processes.rank, processes.world_size, objective.reads
    )
    _check_data(objective, stream)
    monitor = make_monitor(validation, tokenizer, interleaver) if validation else None
    _check_best_metric(config.trainer.best_metric, monitor)
    if checkpoint is None and any(_targets(config).values()):
        config = _sized(config, tokenizer.vocab_size, stream, processes)
        seed_everything(config.seed)  # the same weights as if this size had been configured
        model = build_model(config, tokenizer.vocab_size)
    if checkpoint is None:
        fit_shared_space(model, stream, num_samples(config), processes.device)
    costs = _costs(config, model, stream)
    run_folder = checkpoint.parent.parent if checkpoint else _shared_folder(config, processes)
    tracker = build_tracker(config.tracker, run_folder, processes.rank)
    if processes.is_main:
        tell(length, choice, *warnings)
        tokenizer.save(run_folder / "tokenizer.json")
    workers = num_workers(config.data, processes.device)
    plain = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
    trainer = Trainer(
        model=model,
        objective=objective,
        optimizer=instantiate(config.optimizer, "optimizer"),
        schedule=schedule,
        load=lambda begin, end: loader(stream, begin, end, workers),
        options=options,
        run_folder=run_folder,
        config=plain,
        tokenizer_path=run_folder / "tokenizer.json",
        tracker=tracker,
        evaluate=partial(monitor, tracker=tracker) if monitor else None,
        processes=processes,
        resume=checkpoint,
        seed=config.seed,
        data=held,
        notes=notes,
        remedy=remedy(config, model.media_encoders, processors, workers, processes.device.type == "cpu"),
    )
    tracker.start(f"{config.name}/{run_folder.name}", plain, _step(checkpoint))
    try:
        for note in asked_notes:
            tracker.alert("evaluation", note, "info")
        tracker.summary(costs)
        result = trainer.fit()
        tracker.summary({"steps": result.step, "seconds": result.seconds, "tokens": result.tokens, **result.metrics})
    finally:
        tracker.finish()
    return run_folder


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


def build_objective(config: DictConfig, model: FusionModel) -> Objective:
    """The configured objective. Raises `BadInputError` if the model lacks what it needs."""
    objective = instantiate(config, "objective")
    try:
        objective.check(model)
    except ValueError as error:
        raise BadInputError(f"objective: {error}") from error
    return objective


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


def _check_data(objective: Objective, stream: BatchStream) -> None:
    try:
        objective.check_data(stream)
    except ValueError as error:
        raise BadInputError(f"data.{error}") from error


def num_workers(data: DictConfig, device: torch.device) -> int:
    """`data.num_workers`, or what is fast where it is null: none beside a model on the CPU.

    A model's threads wait for one another after every operation, so that a worker which takes a core from one of them
    holds up all. On 2 cores the default experiment takes 0.42 s a step without and 0.48 s with one.
    """
    if data.get("num_workers") is not None:
        return int(data.num_workers)
    return 0 if device.type == "cpu" else min(ACCELERATOR_WORKERS, share_of_cores())


def _shared_folder(config: DictConfig, processes: Processes) -> Path:
    """The main process makes the folder, the others learn its name."""
    made = str(new_run_folder(config)) if processes.is_main else ""
    return Path(next(name for name in processes.gather(made) if name))


def _targets(config: DictConfig) -> dict[str, float | None]:
    return {name: (config.get("target") or {}).get(name) for name in QUANTITIES}


def _sized(config: DictConfig, vocab_size: int, stream: BatchStream, processes: Processes) -> DictConfig:
    """The configuration of the size that `target` asks for, measured on the main process's part of the first batch."""
    wanted = {name: value for name, value in _targets(config).items() if value is not None}
    if len(wanted) > 1:
        raise BadInputError(f"target: only one of {', '.join(QUANTITIES)} may be given")
    ((quantity, value),) = wanted.items()
    found = solve(config, vocab_size, quantity, value, stream[0]).config if processes.is_main else None
    return next(item for item in processes.gather(found) if item is not None)


def _costs(config: DictConfig, model: FusionModel, stream: BatchStream) -> dict[str, Any]:
    """Parameters, and operations of a training sample: forward alone (inference), and all that training does for it.

    Both by part. An update of the optimizer is shared by its samples.
    """
    parameters = {f"parameters/{name}": count for name, count in parameter_counts(model).items()}
    samples = stream.samples_per_batch * config.trainer.get("accumulation_steps", 1)
    with completed(config.optimizer, "optimizer"):
        optimizer = instantiate(config.optimizer, "optimizer")(model).flops() / samples
    found = sample_flops(model, stream[0])
    flops = {"flops/inference": found.inference, "flops/training": found.training + optimizer}
    flops |= {f"flops/inference/{name}": forward for name, forward in found.forward.items()}
    flops |= {f"flops/training/{name}": both for name, both in found.training_parts.items()}
    used = {"parameters/active": active_parameters(model), "parameters/trainable": trainable_parameters(model)}
    return {**parameters, **used, **flops, "flops/training/optimizer": optimizer}


def _step(checkpoint: Path | None) -> int | None:
    if checkpoint is None:
        return None
    return int(json.loads((checkpoint / "manifest.json").read_text(encoding="utf-8"))["step"])
