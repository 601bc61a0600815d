"""One training from its configuration: data, model, what reads for it, trainer."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from omegaconf import DictConfig, OmegaConf

from data.batching.loader import loader
from data.instantiate import instantiate
from data.progress import tell
from fusion.build import build_model
from fusion.checkpoint import TOKENIZER, read_manifest, validate_targets
from fusion.model import FusionModel
from training.distributed import Processes, share_of_cores, start
from training.monitoring.slow_data import remedy
from training.preparation.anchoring import fit_shared_space
from training.preparation.costs import costs
from training.preparation.feature_cache import num_samples
from training.preparation.setup import (
    Asked,
    CheckAsked,
    Data,
    MakeMonitor,
    Reading,
    prepare_data,
    prepare_objective,
    prepare_reading,
)
from training.preparation.target import drafted, sized, wanted
from training.runs.random_state import seed_everything
from training.runs.run_folder import new_run_folder
from training.trackers.base import Tracker
from training.trackers.fan_out import build_tracker
from training.trainer import Trainer

ACCELERATOR_WORKERS = 4


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
        run_folder = _train(config, Asked(make_monitor, check_asked), checkpoint, processes)
        processes.barrier()  # a process that leaves while another still talks to it may abort
        return run_folder, processes.is_main
    finally:
        processes.close()


def _train(config: DictConfig, asked: Asked, checkpoint: Path | None, processes: Processes) -> Path:
    options = instantiate(config.trainer, "trainer")
    seed_everything(config.seed)
    config, data = prepare_data(config, checkpoint)
    config, model, reading = _model(config, data, asked, checkpoint, processes)
    if checkpoint is None:
        fit_shared_space(model, reading.stream, num_samples(config), processes.device)
    prepare_objective(reading.objective, processes, data.tokenizer, model, config.seed)
    spent = costs(config, model, reading.stream, reading.objective, reading.balance)
    run_folder = checkpoint.parent.parent if checkpoint else _shared_folder(config, processes)
    tracker = build_tracker(config.tracker, run_folder, processes.rank)
    if processes.is_main:
        tell(*data.said, *reading.said)
        data.tokenizer.save(run_folder / TOKENIZER)
    options = replace(options, max_steps=config.trainer.max_steps)
    plain = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
    workers = num_workers(config.data, processes.device)
    trainer = Trainer(
        model=model,
        objective=reading.objective,
        optimizer=instantiate(config.optimizer, "optimizer"),
        schedule=data.schedule,
        load=lambda begin, end: loader(reading.stream, begin, end, workers),
        options=options,
        run_folder=run_folder,
        config=plain,
        tokenizer_path=run_folder / TOKENIZER,
        tracker=tracker,
        evaluate=partial(reading.monitor, tracker=tracker) if reading.monitor else None,
        processes=processes,
        resume=checkpoint,
        seed=config.seed,
        data=data.held,
        notes=data.notes,
        balance=reading.balance,
        remedy=remedy(config, model.media_encoders, reading.processors, workers, processes.device.type == "cpu"),
    )
    tracker.start(f"{config.name}/{run_folder.name}", plain, _step(checkpoint))
    _fit(trainer, tracker, spent, reading.notes)
    return run_folder


def _model(
    config: DictConfig, data: Data, asked: Asked, checkpoint: Path | None, processes: Processes
) -> tuple[DictConfig, FusionModel, Reading]:
    """The model, what reads for it, and the configuration with all that follows from them.

    Where a size is wanted, which depends on what is read, a draft of the model is read for, and the model made of it.
    """
    vocab_size = data.tokenizer.vocab_size
    if checkpoint is not None or wanted(config) is None:
        model = build_model(config, vocab_size)
        config, reading = prepare_reading(config, data, model, asked, processes)
        return config, model, reading
    draft = drafted(config, vocab_size)
    config, reading = prepare_reading(config, data, draft.model, asked, processes)
    config, model = sized(config, draft, vocab_size, reading.stream, processes)
    return config, model, reading


def _fit(trainer: Trainer, tracker: Tracker, spent: dict[str, Any], notes: Any) -> None:
    """Trains, and writes the summary; the tracker is finished in any case."""
    try:
        for note in notes:
            tracker.alert("evaluation", note, "info")
        tracker.summary(spent)
        result = trainer.fit()
        tracker.summary({"steps": result.step, "seconds": result.seconds, "tokens": result.tokens, **result.metrics})
    finally:
        tracker.finish()


def num_workers(data: DictConfig, device: torch.device) -> int:
    """`data.num_workers`, or what is fast where it is null: none with a model on the CPU.

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


def _step(checkpoint: Path | None) -> int | None:
    if checkpoint is None:
        return None
    return int(read_manifest(checkpoint)["step"])
