"""The folder of a run: made once, never overwritten, with the configuration and the environment that made it."""

from __future__ import annotations

import json
import platform
import shlex
import sys
import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from data.device import cores
from data.software import git, installed
from data.storage.atomic_write import write_text
from data.types import BadInputError
from fusion.checkpoint import CONFIG, read_config, resolve, validate_targets
from training.runs.data_changes import OPTION

PACKAGES = ("interfuse", "torch", "torchvision", "torchaudio", "hydra-core", "tokenizers", "numpy", "trackio")


def new_run_folder(config: DictConfig) -> Path:
    """Makes `<runs>/<name>/<run>` and writes config.yaml and environment.json into it.

    Without `run`, the folder is called after the time and the seed, with a number if another one has that name. This
    happens where jobs of a sweep begin in the same second. Raises `BadInputError` when the folder that `run` names
    exists.
    """
    parent = Path(config.runs).expanduser() / config.name
    folder = _made(parent / config.run) if config.run else _unnamed(parent, config.seed)
    if folder is None:
        folder = parent / config.run
        raise BadInputError(
            f"{folder} exists and is never overwritten: choose another name with run=..., or resume={folder}"
        )
    write_text(folder / CONFIG, OmegaConf.to_yaml(config, resolve=True))
    write_text(folder / "environment.json", json.dumps(environment(config.seed), indent=2) + "\n")
    return folder


def _unnamed(parent: Path, seed: int) -> Path:
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-seed{seed}"
    names = (name if number == 1 else f"{name}-{number}" for number in count(1))
    return next(folder for name in names if (folder := _made(parent / name)))


def _made(folder: Path) -> Path | None:
    """The folder, made now; None if it was there, also if another process was faster."""
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        if not folder.exists():  # something else is in the way
            raise
        return None
    return folder


def resumed_run(path: str, overrides: Sequence[str]) -> tuple[Path, Path, DictConfig]:
    """Run folder, checkpoint and configuration of the run to go on with; values in `overrides` replace its own.

    Raises `BadInputError` when the run's configuration is missing, or an override names something that is not in it.
    """
    step_folder = resolve(Path(path)).absolute()  # resume=. has parents too
    run_folder = step_folder.parent.parent
    if not (run_folder / CONFIG).exists():
        raise BadInputError(f"{run_folder / 'config.yaml'}: missing; a resume needs the whole folder of the run")
    config = read_config(run_folder / CONFIG)
    validate_targets(config)  # before anything asks for the signature of what it names
    OmegaConf.set_struct(config, True)
    for override in overrides:
        key, _, _ = override.partition("=")
        if key == "resume":
            continue
        if key == OPTION:  # a run from before this option may be resumed with it
            OmegaConf.set_struct(config, False)
            config[OPTION] = None
            OmegaConf.set_struct(config, True)
        node = OmegaConf.select(config, key, throw_on_missing=False)
        if (node is None and key not in config) or isinstance(node, DictConfig):
            raise BadInputError(f"{override}: a resumed run keeps its own groups; only values that it has may change")
        OmegaConf.update(config, key, OverridesParser.create().parse_override(override).value())
    return run_folder, step_folder, config


def environment(seed: int) -> dict[str, Any]:
    """What a result depends on in addition to its configuration: versions, commit, machine, seed."""
    return {
        "seed": seed,
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "commit": git("rev-parse", "HEAD"),
        "uncommitted_changes": bool(git("status", "--porcelain")),
        "python": platform.python_version(),
        "packages": {name: installed(name) for name in PACKAGES},
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": cores(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()
