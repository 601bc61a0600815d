"""Reading checkpoints: found, verified, and turned back into a model.

A checkpoint is a folder `RUN/checkpoints/step_N` with `model.safetensors`, `config.yaml`, `tokenizer.json`, perhaps
`ema.safetensors`, for going on `training.pt` and perhaps `objective.safetensors`, and `manifest.json` with the SHA-256
of each. `training/runs/checkpoint.py` writes it.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import safetensors
import safetensors.torch
import tokenizers
import torch
import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor, nn

from data.instantiate import instantiate
from data.types import BadInputError
from encoders.pretrained.weights import mismatch
from fusion.build import build_model
from fusion.model import FusionModel
from fusion.moved_targets import moved

MANIFEST, CONFIG, TOKENIZER = "manifest.json", "config.yaml", "tokenizer.json"
WEIGHTS, AVERAGED_WEIGHTS, TRAINING = "model.safetensors", "ema.safetensors", "training.pt"
OBJECTIVE = "objective.safetensors"
# A stored configuration may name classes of these packages only, and of those that the user trusts by naming them in
# the environment, separated by commas. A checkpoint cannot say it of itself.
PACKAGES = ("data", "encoders", "fusion", "training", "evaluation", "serving", "certify")
TRUSTED_PACKAGES = "INTERFUSE_PACKAGES"
# Of functions only these: others of this project load what they are given, write files, or start programs.
FUNCTIONS = (
    "data.sources.emoji.emoji_splits",
    "training.optimizers.groups.adamw",
    "training.optimizers.groups.muon",
    "training.optimizers.schedules.cosine",
    "training.optimizers.schedules.trapezoid",
)
# Interpolations that cannot make a mapping, and so no `_target_` that is not written out: another value, or one with a
# default, a variable of the environment, the time.
PLAIN_INTERPOLATION = re.compile(r"\$\{(?:[^${}:]+|(?:oc\.select|oc\.env|now):[^${}]*)\}")


@dataclass(frozen=True)
class LoadedModel:
    """A model in evaluation mode and what came with it. `uses_ema`: its weights are the moving average."""

    model: FusionModel
    tokenizer_path: Path
    config: DictConfig
    step_folder: Path
    uses_ema: bool
    manifest: dict[str, Any]

    def learned_from(self, kind: str) -> bool:
        """Whether the objective of the training read samples of this kind; a checkpoint that names none may have."""
        objective = self.config.get("objective")
        return objective is None or kind in instantiate(objective, "objective").reads


def load_model(path: Path | str, device: torch.device | str = "cpu", *, which: str = "newest") -> LoadedModel:
    """The model of a run or of one of its steps, rebuilt from the configuration that is stored with it.

    `which` (`newest` or `best`) chooses among the steps of a run. Takes the averaged weights if there are any. Nothing
    outside this project's packages and the trusted ones is instantiated. Raises `BadInputError` for a folder that is
    missing, damaged or does not fit.
    """
    step_folder = resolve(path, which)
    manifest = verify(step_folder)
    config = read_config(step_folder / CONFIG)
    validate_targets(config)
    check_model_config(config, step_folder / CONFIG)
    tokenizer_path = step_folder / TOKENIZER
    if not tokenizer_path.exists():
        raise BadInputError(f"{tokenizer_path}: missing, without it the model cannot read or write text")
    vocab_size = _vocab_size(tokenizer_path)
    # Building draws random weights; whoever loads a model must not have their generator moved by that.
    with torch.random.fork_rng(devices=[]):
        model = build_model(config, vocab_size)
    uses_ema = (step_folder / AVERAGED_WEIGHTS).exists()
    weights = read_weights(step_folder, averaged=uses_ema)
    check_weights(model, weights, step_folder)
    model.load_state_dict(weights)
    return LoadedModel(model.to(device).eval(), tokenizer_path, config, step_folder, uses_ema, manifest)


def stored_config(path: Path | str, which: str = "newest") -> DictConfig:
    """The configuration that is stored with a checkpoint, which is not verified; `path` and `which` as in `load_model`.

    Raises `BadInputError` if there is no checkpoint, or its configuration is missing or damaged.
    """
    return read_config(resolve(path, which) / CONFIG)


def read_config(file: Path) -> DictConfig:
    """A stored configuration, with classes of older versions under their names of today.

    Raises `BadInputError` if the file is missing or damaged.
    """
    try:
        config = OmegaConf.load(file)
    except FileNotFoundError:
        raise BadInputError(f"{file}: missing, the checkpoint is incomplete") from None
    except OSError as error:
        raise BadInputError(f"{file}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError, OmegaConfBaseException) as error:
        raise BadInputError(f"{file}: damaged, it is not a configuration in YAML") from error
    if not isinstance(config, DictConfig):
        raise BadInputError(f"{file}: must hold a mapping")
    return cast(DictConfig, OmegaConf.create(moved(OmegaConf.to_container(config))))


def check_model_config(config: DictConfig, file: Path) -> None:
    """Raises `BadInputError` if what a model and its data are built from is not there, or is of another kind."""
    for name in ("data", "encoders", "encoders.text", "projector", "fusion"):
        # A model alone needs no data.
        if not isinstance(OmegaConf.select(config, name), DictConfig) and (name != "data" or name in config):
            raise BadInputError(f"{file}: {name}: must be a mapping, or no model can be built")
    d_model = config.get("d_model")
    if not isinstance(d_model, int) or isinstance(d_model, bool) or d_model < 1:
        raise BadInputError(f"{file}: d_model={d_model}: must be a whole number above 0")


def _vocab_size(path: Path) -> int:
    try:
        return tokenizers.Tokenizer.from_file(str(path)).get_vocab_size()
    except Exception as error:  # the library raises nothing more special
        raise BadInputError(f"{path}: damaged, it is not a tokenizer") from error


def step_folders(checkpoints: Path) -> list[Path]:
    """The complete checkpoints in a folder, oldest first."""
    found = [folder for folder in checkpoints.glob("step_*") if re.fullmatch(r"step_\d+", folder.name)]
    return sorted(found, key=lambda folder: int(folder.name[5:]))


def resolve(path: Path | str, which: str = "newest") -> Path:
    """The step's folder that is meant by `path`: a run, its `checkpoints`, or a step itself.

    Raises `BadInputError` if there is none, with the nearest name that exists; or no best one where that is asked for.
    """
    if which not in ("newest", "best"):
        raise BadInputError(f"which={which}: must be newest or best")
    path = Path(path)
    if (path / MANIFEST).exists():
        if which == "best":
            raise BadInputError(f"which=best: {path} is a single checkpoint already; name its run, or leave which out")
        return path
    if not path.is_dir():
        raise BadInputError(f"checkpoint {path} does not exist{_nearest(path)}")
    steps = step_folders(path / "checkpoints") or step_folders(path)
    if not steps:
        raise BadInputError(f"{path} has no checkpoint: neither checkpoints/step_N nor {MANIFEST} is in it")
    if which == "newest":
        return steps[-1]
    if (best := best_step(steps)) is None:
        raise BadInputError(
            f"which=best: no checkpoint of {path} has a score, for that needs a training with a validation and "
            "trainer.best_metric=METRIC; leave which out for the newest"
        )
    return best


def best_step(steps: Sequence[Path]) -> Path | None:
    """The step with the best score in its manifest; None if none has a score. The earlier one if they are equal."""
    scored = [(step, score) for step in steps if (score := read_manifest(step).get("score")) is not None]
    if not scored:
        return None
    sign = -1.0 if scored[-1][1]["mode"] == "min" else 1.0
    return max(scored, key=lambda item: sign * item[1]["value"])[0]


def read_manifest(step_folder: Path) -> dict[str, Any]:
    """The manifest. Raises `BadInputError` if it is missing or not JSON."""
    path = step_folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        manifest["files"].items()
    except FileNotFoundError:
        raise BadInputError(f"{path}: missing, the checkpoint is incomplete") from None
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BadInputError(f"{path}: damaged, it is not a manifest in JSON") from None
    return manifest


def verify(step_folder: Path) -> dict[str, Any]:
    """The manifest, after every file has been found to be as it was written. Raises `BadInputError` otherwise."""
    manifest = read_manifest(step_folder)
    for name, written in manifest["files"].items():
        path = step_folder / name
        if not path.is_file():
            raise BadInputError(f"{path}: missing, the checkpoint is incomplete")
        size = path.stat().st_size
        if size != written["bytes"]:
            raise BadInputError(f"{path}: truncated or changed, it has {size} of {written['bytes']} bytes")
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != written["sha256"]:
                raise BadInputError(f"{path}: damaged, its SHA-256 is not the one in {MANIFEST}")
    return manifest


def read_weights(step_folder: Path, averaged: bool) -> dict[str, Tensor]:
    """The weights by name, whole, on the CPU; `averaged`: the moving average."""
    path = step_folder / (AVERAGED_WEIGHTS if averaged else WEIGHTS)
    if not path.exists():
        raise BadInputError(f"{path}: missing; was the run trained with trainer.ema_decay?")
    return read_tensors(path)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors by name. Raises `BadInputError` if the file does not hold any."""
    try:
        return safetensors.torch.load_file(path)
    except safetensors.SafetensorError as error:
        raise BadInputError(f"{path}: damaged, it does not hold weights") from error


def check_weights(model: nn.Module, weights: Mapping[str, Tensor], step_folder: Path) -> None:
    """Raises `BadInputError` naming the first tensor that differs, and both shapes."""
    if (found := mismatch(model.state_dict(), weights)) is not None:
        name, here, there = found
        raise BadInputError(
            f"{step_folder}: of another architecture: {name} is {there} in the checkpoint and {here} in the model"
        )


def validate_targets(config: Any) -> None:
    """Raises `BadInputError` unless every `_target_` is a class or one of `FUNCTIONS` of this project.

    Packages that the environment variable `INTERFUSE_PACKAGES` names count as this project's, with all functions. A
    name inside a package is not enough (`data.media.audio.torch.load` is torch's): the object must be defined there.
    Interpolations that could make a `_target_` that is not written out (`${oc.decode:..}`) are refused too.
    """
    packages = (*PACKAGES, *trusted_packages())
    plain = OmegaConf.to_container(config) if OmegaConf.is_config(config) else config
    for key, text in _texts(plain):
        if not _is_plain(text):
            raise BadInputError(
                f"{key}={text} is not allowed in a configuration that is stored with weights: of interpolations only "
                "${OTHER.OPTION}, ${oc.select:..}, ${oc.env:..} and ${now:..} without braces inside are"
            )
    for key, target in _targets(plain):
        if not _is_defined_in(packages, target):
            package = target.partition(".")[0]
            hint = f"; if {package} is yours, set {TRUSTED_PACKAGES}={package}" if package not in packages else ""
            raise BadInputError(
                f"{key}={target} is not allowed in a configuration that is stored with weights: only classes, and "
                f"functions that make parts of a model or training, that are defined in {', '.join(packages)} are{hint}"
            )


def trusted_packages() -> tuple[str, ...]:
    """The packages that the user trusts like this project's, from the environment."""
    return tuple(name.strip() for name in os.environ.get(TRUSTED_PACKAGES, "").split(",") if name.strip())


def _targets(node: Any, key: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(node, Mapping):
        for name, child in node.items():
            place = f"{key}.{name}" if key else str(name)
            if name == "_target_":
                yield place, str(child)
            else:
                yield from _targets(child, place)
    elif isinstance(node, list):
        for index, child in enumerate(node):
            yield from _targets(child, f"{key}[{index}]")


def _is_defined_in(packages: Sequence[str], target: str) -> bool:
    module_name, _, name = target.rpartition(".")
    if module_name.partition(".")[0] not in packages:
        return False
    try:
        found = getattr(importlib.import_module(module_name), name, None)
    except ImportError:
        return False
    known = isinstance(found, type) or target in FUNCTIONS or module_name.partition(".")[0] not in PACKAGES
    return known and isinstance(found, type | type(_is_defined_in)) and found.__module__ == module_name


def _texts(node: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """All values that are text, with their places."""
    if isinstance(node, Mapping):
        for name, child in node.items():
            yield from _texts(child, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list):
        for index, child in enumerate(node):
            yield from _texts(child, f"{key}[{index}]")
    elif isinstance(node, str):
        yield key, node


def _is_plain(text: str) -> bool:
    """Whether all interpolations in it are plain; from the innermost outwards."""
    found = 1
    while found:
        text, found = PLAIN_INTERPOLATION.subn("#", text)
    return "${" not in text


def _nearest(path: Path) -> str:
    """A hint at the nearest name in the deepest folder of `path` that exists."""
    parent = next((folder for folder in path.parents if folder.is_dir()), Path())
    wanted = path.relative_to(parent).parts[0]
    names = [folder.name for folder in parent.iterdir() if folder.is_dir()]
    close = difflib.get_close_matches(wanted, names, n=1, cutoff=0.4)
    return f"; did you mean {parent / close[0]}?" if close else ""
