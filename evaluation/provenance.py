"""What a report was made from: checkpoint, configuration, data, software, machine."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from data.device import cores
from data.software import git, installed
from data.storage.run_log import last_values

PACKAGES = ("interfuse", "torch", "torchvision", "torchaudio", "numpy", "tokenizers")
# What may differ between runs of one experiment: the seed, where a run lies, who watches it, on what it runs.
NOT_THE_EXPERIMENT = ("seed", "run", "runs", "resume", "resume_with_changed_data", "tracker", "compute_threads")


def json_hash(content: Any) -> str:
    """sha256 of a JSON value, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def config_hashes(config: Mapping[str, Any]) -> dict[str, str]:
    """`config_hash` of everything, and `experiment_hash` that all seeds of one experiment share."""
    experiment = {key: value for key, value in config.items() if key not in NOT_THE_EXPERIMENT}
    return {"config_hash": json_hash(config), "experiment_hash": json_hash(experiment)}


def environment() -> dict[str, Any]:
    """Software and machine of the evaluation."""
    return {
        "commit": commit(),
        "versions": {"python": platform.python_version()} | {name: installed(name) for name in PACKAGES},
        "machine": {
            "platform": f"{platform.system()} {platform.machine()}",
            "cores": cores(),
            "threads": torch.get_num_threads(),
        },
    }


def training_environment(run_folder: Path) -> dict[str, Any] | None:
    """Command, commit and machine of the training, from the run's `environment.json`; None if there is none."""
    try:
        found = json.loads((run_folder / "environment.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    wanted = ("command", "commit", "uncommitted_changes", "processor", "cores", "device")
    return {key: found[key] for key in wanted if key in found}


def training_data(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What the sources of the training held, by their place in the configuration, and the steps where that changed.

    Nothing of a checkpoint that is too old to say it.
    """
    data = manifest.get("data") or {}
    changes = {"data_changes": "; ".join(data["changes"])} if data.get("changes") else {}
    return {"sources": data["sources"], **changes} if data else {}


def commit() -> str | None:
    """The commit of this code, with "+changes" if files differ from it; None outside a repository."""
    head, changes = git("rev-parse", "HEAD"), git("status", "--porcelain")
    return None if head is None or changes is None else head + ("+changes" if changes else "")


def training_facts(metrics: Path, step: int) -> dict[str, Any]:
    """Cost of the training up to `step`, from the run's own log; None where the log does not say."""
    found = last_values(metrics, step)
    return {"seconds": found.get("seconds"), "steps": step, "tokens": found.get("tokens")}


def skipped_in_training(metrics: Path, step: int) -> int:
    """Samples that the training skipped up to `step`, as its log counts them."""
    return int(last_values(metrics, step).get("data/skipped", 0))
