"""What an ensemble costs and is made from: sums over its members, and each of them by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from data.storage.run_log import METRICS
from data.tokenizer import Tokenizer
from evaluation.provenance import environment, json_hash, skipped_in_training, training_facts
from evaluation.run import origin
from fusion.checkpoint import LoadedModel

# What a report says of each member.
OF_MEMBER = ("run", "checkpoint", "step", "seed", "checkpoint_hash")


def summed(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Numbers of several mappings, added up key by key; None where one of them is not known.

    What only some have is added up over these. What is no number is that of the first.
    """
    total: dict[str, Any] = {}
    for key in dict.fromkeys(key for part in parts for key in part):
        values = [part[key] for part in parts if key in part]
        if isinstance(values[0], Mapping):
            total[key] = summed(values)
        elif None in values:
            total[key] = None
        else:
            total[key] = sum(values) if isinstance(values[0], int | float) else values[0]
    return total


def run_folder(member: LoadedModel) -> Path:
    """The folder of its run."""
    return member.step_folder.resolve().parent.parent


def training(members: Sequence[LoadedModel]) -> tuple[dict[str, Any], int]:
    """What the trainings took together, and how many samples they skipped."""
    logs = [(run_folder(member) / METRICS, int(member.manifest["step"])) for member in members]
    return summed([training_facts(*log) for log in logs]), sum(skipped_in_training(*log) for log in logs)


def origins(members: Sequence[LoadedModel]) -> list[dict[str, Any]]:
    """The provenance of each member, as its own report has it."""
    return [
        origin(
            member,
            run_folder(member),
            int(member.manifest["step"]),
            json_hash(member.manifest),
            Tokenizer.load(member.tokenizer_path),
        )
        for member in members
    ]


def origin_of_all(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The provenance of the ensemble. Its name has the runs in it; a seed only if all members share it."""
    seeds = {str(where["seed"]): where["seed"] for where in found}
    hashes = {key: json_hash([where[key] for where in found]) for key in ("checkpoint_hash", "experiment_hash")}
    return {
        "run": "ensemble/" + "+".join(str(where["run"]).rpartition("/")[2] for where in found),
        "members": "; ".join(f"{where['run']}/{where['checkpoint']}" for where in found),
        "seed": next(iter(seeds.values())) if len(seeds) == 1 else None,
        **hashes,
        **environment(),
        "trained_on": found[0]["trained_on"],
    }
