"""What the configurations of a bake-off's trainings say before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from bakeoff.overrides import composable
from bakeoff.settings import Bakeoff
from data.configuration.overrides import composed
from data.instantiate import instantiate_source, resolved
from data.types import BadInputError
from evaluation.before_training import check_rows
from evaluation.settings import given_tasks

Config = dict[str, Any]


def check(bakeoff: Bakeoff) -> None:
    """Raises `BadInputError` for what would be found out after hours only.

    A contrast that names a task that will not be evaluated, files that cannot be read, and a warm-up in steps where
    trainings are of several lengths.
    """
    compared = configuration([*bakeoff.shared, *bakeoff.all_methods[bakeoff.reference].overrides])
    check_tasks(bakeoff, compared)
    check_files(compared)
    if bakeoff.lengths and compared["schedule"].get("warmup_steps") is not None:
        raise BadInputError(
            "schedule.warmup_steps: would be another part of every length; give schedule.warmup_fraction in its place"
        )


def configuration(overrides: Sequence[str]) -> Config:
    """Trainer, schedule, evaluation and `on_bad_sample` that train.py makes of some overrides, as plain values.

    Raises `BadInputError` if it does not know one of them.
    """
    try:
        config = composed("train", composable(overrides))
    except (HydraException, OmegaConfBaseException) as error:
        raise BadInputError(f"bakeoff: train.py cannot take these overrides: {' '.join(str(error).split())}") from error
    found = {name: resolved(config[name], name) for name in ("trainer", "schedule", "evaluation")}
    return {**found, "on_bad_sample": config.data.on_bad_sample}


def check_tasks(bakeoff: Bakeoff, compared: Config) -> None:
    """Raises `BadInputError` if a contrast names a task that will not be evaluated, here or at all."""
    tasks = given_tasks(compared.get("evaluation") or {})
    for name, parts in bakeoff.pooled.items():
        for task in parts:
            if task not in tasks:
                raise BadInputError(f"bakeoff.pooled.{name}: {task} must be one of {', '.join(tasks)}")
    for place, contrast in enumerate(bakeoff.primary):
        if contrast.task in bakeoff.pooled:
            continue
        where = f"bakeoff.contrasts[{place}]: task={contrast.task}"
        # A retrieval makes a task of each direction that a source is asked in.
        entry = tasks.get(contrast.task) or tasks.get(contrast.task.rpartition("/")[0])
        if entry is None:
            raise BadInputError(f"{where} must be one of {', '.join(tasks) or 'none'}, which the runs are evaluated on")
        # These alone may turn out not to be asked, and it may take a minute to find out.
        if entry.get("optional") and instantiate_source(entry, f"evaluation.tasks.{contrast.task}") is None:
            raise BadInputError(f"{where} needs what is not installed here, so that nobody would be asked it")


def check_files(compared: Config) -> None:
    """Raises `BadInputError` if a file of the evaluation, which comes after the tuning, cannot be asked."""
    evaluation = compared.get("evaluation") or {}
    if files := {name: entry for name, entry in given_tasks(evaluation).items() if "path" in entry}:
        check_rows({**evaluation, "tasks": files}, compared["on_bad_sample"])
