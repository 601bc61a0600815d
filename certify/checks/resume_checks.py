"""Training that is killed without warning and resumed, against training that is left alone."""

from __future__ import annotations

import math
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from certify.context import Context
from certify.result import BIT_EQUAL, Result, at_most
from certify.small_data import write_small_data
from data.instantiate import instantiate
from data.storage.run_log import METRICS, read_metrics
from training.preparation.length import FEWEST_STEPS

TRAIN = Path(__file__).parents[2] / "scripts" / "train.py"
STEPS, CHECKPOINT_EVERY = 16, 3
# A kill falls on one of these steps or up to two later, so that no two fall together.
KILLS_FROM = (3, 7, 11)
# A process that shows no progress for so long is given up.
PATIENCE_SECONDS = 300.0
# What measures the machine, not the training.
MEASUREMENTS = ("seconds", "time/", "memory/", "train/tokens_per_second")


def resumed_equals_unbroken(context: Context) -> Result:
    """Killed with SIGKILL at three random steps and resumed by `train.py resume=`: every logged number must agree.

    The data are generated, the steps are few, and half-way the model is evaluated; everything else is as configured.
    """
    kills = random_steps(context.seed)
    with tempfile.TemporaryDirectory() as folder:
        training = Training(write_config(context.config, Path(folder), context.model.modalities))
        unbroken = training.start("unbroken")
        try:
            broken = training.killed_and_resumed("broken", kills)
            wait(unbroken, training.run_folder("unbroken"))
        finally:
            kill(unbroken)
        names = differences(training.run_folder("unbroken"), broken)
    detail = names[0] if names else f"{STEPS} steps, killed behind steps {', '.join(map(str, kills))}"
    return at_most("resumed after SIGKILL = never interrupted", len(names), BIT_EQUAL, detail)


def random_steps(seed: int) -> list[int]:
    """Three steps to kill at: after the first checkpoint, apart from one another, and before the end."""
    rng = random.Random(seed)
    return [rng.randint(start, start + 2) for start in KILLS_FROM]


@dataclass(frozen=True)
class Training:
    """Runs train.py, or a script like it, on a configuration that lies in a file."""

    config_path: Path
    script: Path = TRAIN

    def run_folder(self, run: str) -> Path:
        """Where a run's files are."""
        config = OmegaConf.load(self.config_path)
        return Path(config.runs) / config.name / run

    def start(self, run: str, resume: bool = False) -> subprocess.Popen[bytes]:
        """A process of its own, with workers that die with it."""
        choice = f"resume={self.run_folder(run)}" if resume else f"run={run}"
        flags = ["--config-path", str(self.config_path.parent), "--config-name", self.config_path.stem]
        command = [sys.executable, str(self.script), *flags, choice]
        with self.config_path.with_name(f"{run}.log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    def killed_and_resumed(self, run: str, kills: Sequence[int]) -> Path:
        """A run that is killed as soon as each of these steps is logged, and resumed; returns its folder."""
        for index, step in enumerate(kills):
            kill_behind(self.start(run, resume=index > 0), self.run_folder(run), step)
        wait(self.start(run, resume=True), self.run_folder(run))
        return self.run_folder(run)


def write_config(config: DictConfig, folder: Path, modalities: Sequence[str]) -> Path:
    """The same configuration, resolved, with small generated data and few steps, as a file for train.py.

    Processors, augmentation, optimizer, precision, averaging and accumulation stay as they are.
    """
    config = deepcopy(config)
    OmegaConf.set_struct(config, False)
    kinds = instantiate(config.objective, "objective").reads
    paths = {kind: str(write_small_data(folder / kind, modalities, kind)) for kind in kinds}
    sources = {kind: {"_target_": "data.sources.manifest.ManifestSource", "path": path} for kind, path in paths.items()}
    config.data.sources = None  # or the entries would be merged
    config.data.sources = {kind: {"weight": 1.0, "source": source} for kind, source in sources.items()}
    config.data.validation = None
    config.data.validation = sources
    config.data.samples_per_batch = 4
    config.evaluation, config.tracker, config.resume = None, {}, None
    config.runs, config.name = str(folder / "runs"), "certify"
    config.compute_threads = 1
    shorter = STEPS / (config.trainer.max_steps or FEWEST_STEPS)
    few = {"max_steps": STEPS, "log_every": 1, "checkpoint_every": CHECKPOINT_EVERY, "compile": False}
    unlimited = dict.fromkeys(("max_epochs", "max_seconds", "patience", "best_metric"))
    for key, value in {**few, **unlimited, "evaluate_every": STEPS // 2}.items():
        config.trainer[key] = value
    for key, value in config.schedule.items():
        if str(key).endswith("_steps") and value is not None:
            config.schedule[key] = int(value * shorter)
    path = folder / "small.yaml"
    OmegaConf.save(OmegaConf.create(OmegaConf.to_container(config, resolve=True)), path)
    hydra = "defaults: [_self_]\nhydra: {output_subdir: null, run: {dir: .}}\n"
    path.write_text(hydra + path.read_text(encoding="utf-8"), encoding="utf-8")
    return path


def kill_behind(process: subprocess.Popen[bytes], run_folder: Path, step: int) -> None:
    """Kills a training and its workers with SIGKILL once metrics.jsonl shows `step`.

    Raises `RuntimeError` when it ended by itself or came nowhere, for then nothing would be tested.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    try:
        while last_step(run_folder) < step and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
    finally:
        reached, code = last_step(run_folder), kill(process)
    if code != -signal.SIGKILL or reached < step:
        raise RuntimeError(f"not killed behind step {step}, but ended at {reached} with code {code}{_log(run_folder)}")


def kill(process: subprocess.Popen[bytes]) -> int:
    """Kills a training and its workers, unless it is over; returns its exit code."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait()


def last_step(run_folder: Path) -> int:
    """The newest step in metrics.jsonl; -1 without any."""
    path = run_folder / METRICS
    rows = read_metrics(path) if path.exists() else []
    return int(rows[-1]["step"]) if rows else -1


def differences(unbroken: Path, resumed: Path) -> list[str]:
    """What differs between two runs: logged numbers other than measurements, and the bytes of the last weights.

    Weights are those of the model, and of the objective if it has some.
    """
    expected, found = (_numbers(folder) for folder in (unbroken, resumed))
    names = [
        f"step {step} {name}: {found.get((step, name))} not {value}"
        for (step, name), value in expected.items()
        if not _same(found.get((step, name)), value)
    ]
    names += [f"step {step} {name}: logged only when resumed" for step, name in found.keys() - expected.keys()]
    for owner in ("model", "objective"):
        weights = [folder / "checkpoints" / f"step_{STEPS}" / f"{owner}.safetensors" for folder in (unbroken, resumed)]
        one, other = (path.read_bytes() if path.exists() else b"" for path in weights)
        if one != other:
            names.append(f"the final weights of the {owner} differ")
    return names if expected else ["nothing was logged"]


def _numbers(run_folder: Path) -> dict[tuple[int, str], Any]:
    rows = read_metrics(run_folder / METRICS)
    return {
        (int(row["step"]), name): value
        for row in rows
        for name, value in row.items()
        if not name.startswith(MEASUREMENTS)
    }


def _same(found: Any, expected: Any) -> bool:
    both_nan = all(isinstance(value, float) and math.isnan(value) for value in (found, expected))
    return both_nan or (found == expected and type(found) is type(expected))


def wait(process: subprocess.Popen[bytes], run_folder: Path) -> None:
    """Raises `RuntimeError` if a training does not end well."""
    try:
        code: int | None = process.wait(PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        code = None
    finally:
        kill(process)
    if code is None:
        raise RuntimeError(f"the training did not end in {PATIENCE_SECONDS:.0f} s{_log(run_folder)}")
    if code != 0:
        raise RuntimeError(f"the training ended with code {code}{_log(run_folder)}")


def _log(run_folder: Path) -> str:
    """The last complaint that a training printed."""
    path = run_folder.parent.parent.parent / f"{run_folder.name}.log"
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n") if path.exists() else []
    return next((f": {line}" for line in reversed(lines) if "error: " in line.lower()), "")
