"""What the configurations of a bake-off's trainings say before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from bakeoff.overrides import composable
from bakeoff.settings import Bakeoff, Tuning
from data.configuration.overrides import composed
from data.instantiate import instantiate_source, resolved
from data.types import BadInputError
from evaluation.before_training import check_rows
from evaluation.settings import given_tasks

Config = dict[str, Any]


def prepared(bakeoff: Bakeoff) -> Bakeoff:
    """The bake-off with a tuning. The tuning's schedule has the shape of that of the compared runs.

    Raises `BadInputError` if a contrast names a task that will not be evaluated, or the tuning another schedule.
    """
    shared = [*bakeoff.shared, *bakeoff.methods[bakeoff.reference]]
    compared = configuration(shared)
    check_tasks(bakeoff, compared)
    check_files(compared)
    if bakeoff.tuning is None:
        return bakeoff
    overrides = scaled_overrides(bakeoff.tuning, compared, configuration([*shared, *bakeoff.tuning.changes]))
    if overrides == bakeoff.tuning.changes:
        return bakeoff
    return replace(bakeoff, tuning=replace(bakeoff.tuning, overrides=overrides, options={}))


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
    for place, contrast in enumerate(bakeoff.primary):
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


def scaled_overrides(given: Tuning, compared: Config, tuning: Config) -> Sequence[str]:
    """The tuning's overrides, with a warm-up that is as large a part of its steps as in the compared runs.

    Fractions of a schedule scale by themselves; `schedule.warmup_steps`, a number of steps, does not. Raises
    `BadInputError` if the overrides change the schedule itself.
    """
    if tuning["schedule"] != compared["schedule"]:
        raise BadInputError(
            "bakeoff.tuning.overrides: changes the schedule, so that what is tuned would not be what is compared; "
            "leave schedule to bakeoff.base"
        )
    steps = compared["schedule"].get("warmup_steps")
    length, whole = tuning["trainer"]["max_steps"], compared["trainer"]["max_steps"]
    if steps is not None and (length is None or whole is None):
        raise BadInputError(
            "schedule.warmup_steps: is scaled with trainer.max_steps, which bakeoff.base and bakeoff.tuning.overrides "
            "must give; or give schedule.warmup_fraction"
        )
    if steps is None or length == whole:
        return given.changes
    return (*given.changes, f"schedule.warmup_steps={round(steps * length / whole)}")
