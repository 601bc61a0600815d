"""Writing checkpoints, and going on from them. `fusion/checkpoint.py` describes the folder and reads it."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import pickle
import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from data.types import BadInputError
from fusion.checkpoint import (
    AVERAGED_WEIGHTS,
    CONFIG,
    MANIFEST,
    OBJECTIVE,
    TOKENIZER,
    TRAINING,
    WEIGHTS,
    best_step,
    check_weights,
    read_tensors,
    read_weights,
    step_folders,
    verify,
)
from training.distributed import assign

FORMAT = 1
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class CheckpointContents:
    """What one checkpoint holds. All tensors are whole and on the CPU.

    training: the state of everything but the weights, of plain values and tensors. score: the best checkpoint is chosen
    by this value, as {"name", "value", "mode"}; None if this step was not evaluated. data: what the sources held (see
    `training.runs.data_changes`). objective: parameters and buffers of the objective, if it has any.
    """

    step: int
    weights: Mapping[str, Tensor]
    averaged_weights: Mapping[str, Tensor] | None
    training: Mapping[str, Any]
    config: Mapping[str, Any]
    tokenizer_path: Path | None = None
    score: Mapping[str, Any] | None = None
    data: Mapping[str, Any] | None = None
    objective: Mapping[str, Tensor] = field(default_factory=dict)


def save(checkpoints: Path, contents: CheckpointContents) -> Path:
    """Writes `checkpoints/step_N` under a temporary name and renames it when all of it is on the disk.

    Raises `BadInputError` if the disk is full; then nothing of the new checkpoint remains, and all others do.
    """
    folder = checkpoints / f"step_{contents.step}"
    temporary = checkpoints / f"step_{contents.step}.tmp"
    try:
        checkpoints.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(checkpoints)
        temporary.mkdir()
        files = {name: _write(temporary / name, content) for name, content in _files(contents).items()}
        _write(temporary / MANIFEST, json.dumps(_manifest(contents, files), indent=2).encode())
        if folder.exists():
            _remove(folder)
        temporary.rename(folder)
        _sync(checkpoints)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            raise BadInputError(f"{folder}: not written, the disk is full; earlier checkpoints are intact") from error
        raise
    return folder


def prune(checkpoints: Path, keep: int) -> None:
    """Deletes all but the newest `keep` checkpoints and the one with the best score."""
    steps = step_folders(checkpoints)
    best = best_step(steps)
    for folder in steps[:-keep]:
        if folder != best:
            _remove(folder)


def load_training(step_folder: Path) -> dict[str, Any]:
    """The verified `training` part. Raises `BadInputError` if the checkpoint is damaged or holds no such part."""
    verify(step_folder)
    if not (step_folder / TRAINING).exists():
        raise BadInputError(f"{step_folder / TRAINING}: missing, this checkpoint can be evaluated but not resumed")
    try:
        state = torch.load(step_folder / TRAINING, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise BadInputError(f"{step_folder / TRAINING}: damaged, it does not hold the state of a training") from error
    if not isinstance(state, dict):
        raise BadInputError(f"{step_folder / TRAINING}: damaged, it does not hold the state of a training")
    return state


def load_weights(model: nn.Module, step_folder: Path) -> None:
    """Gives a model, sharded or not, the weights of a checkpoint. Raises `BadInputError` if they do not fit."""
    weights = read_weights(step_folder, averaged=False)
    check_weights(model, weights, step_folder)
    for name, target in model.state_dict().items():
        assign(target, weights[name])


def load_objective(objective: nn.Module, step_folder: Path) -> None:
    """Gives an objective its state of a checkpoint. Raises `BadInputError` if it does not fit."""
    path = step_folder / OBJECTIVE
    state = read_tensors(path) if path.exists() else {}
    check_weights(objective, state, path)
    for name, target in objective.state_dict().items():
        assign(target, state[name])


def _files(contents: CheckpointContents) -> dict[str, bytes]:
    """The files' contents by name, so that a failing write is an `OSError` whichever library made it."""
    training = io.BytesIO()
    torch.save(dict(contents.training), training)
    files = {
        WEIGHTS: safetensors.torch.save(dict(contents.weights)),
        TRAINING: training.getvalue(),
        CONFIG: OmegaConf.to_yaml(OmegaConf.create(dict(contents.config))).encode(),
    }
    if contents.averaged_weights is not None:
        files[AVERAGED_WEIGHTS] = safetensors.torch.save(dict(contents.averaged_weights))
    if contents.objective:
        files[OBJECTIVE] = safetensors.torch.save(dict(contents.objective))
    if contents.tokenizer_path is not None:
        files[TOKENIZER] = contents.tokenizer_path.read_bytes()
    return files


def _manifest(contents: CheckpointContents, files: dict[str, dict[str, Any]]) -> dict[str, Any]:
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    score = dict(contents.score) if contents.score else None
    known = {"format": FORMAT, "step": contents.step, "score": score, "versions": versions, "files": files}
    return known if contents.data is None else known | {"data": dict(contents.data)}


def _write(path: Path, content: bytes) -> dict[str, Any]:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _remove(folder: Path) -> None:
    """Deletes a checkpoint such that it is never seen half deleted."""
    doomed = folder.with_name(f"{folder.name}.old.tmp")
    shutil.rmtree(doomed, ignore_errors=True)
    folder.rename(doomed)
    shutil.rmtree(doomed)


def _remove_leftovers(checkpoints: Path) -> None:
    """What a killed process left half written or half deleted."""
    for folder in checkpoints.glob("step_*.tmp"):
        shutil.rmtree(folder)


def _sync(folder: Path) -> None:
    """Makes a rename survive a loss of power, where folders can be opened."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
