"""Killed trainings are compared bit by bit, and a resumption that forgets something is caught."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_module

from certify.checks.resume_checks import (
    CHECKPOINT_EVERY,
    STEPS,
    Training,
    differences,
    kill_behind,
    last_step,
    random_steps,
    wait,
    write_config,
)

FORGETFUL = """
from scripts.train import main
from training.optimizers.groups import Optimizers

Optimizers.load_state_dict = lambda self, states: None
main()
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Trainings of a small model: left alone, killed three times, killed once and resumed by a forgetful trainer."""
    folder = tmp_path_factory.mktemp("resume")
    with initialize_config_module("conf", version_base="1.3"):
        config = compose("train", overrides=["d_model=32"])
    training = Training(write_config(config, folder, ("text", "audio", "image")))
    (folder / "forgetful.py").write_text(FORGETFUL, encoding="utf-8")
    forgetful = Training(training.config_path, folder / "forgetful.py")
    names = {name: training.run_folder(name) for name in ("unbroken", "killed", "forgetful")}
    unbroken = training.start("unbroken")
    kill_behind(training.start("killed"), names["killed"], 4)
    shutil.copytree(names["killed"], names["forgetful"])
    for step in (8, 11):
        kill_behind(training.start("killed", resume=True), names["killed"], step)
    wait(unbroken, names["unbroken"])
    last = [(training.start("killed", resume=True), names["killed"])]
    last.append((forgetful.start("forgetful", resume=True), names["forgetful"]))
    for process, run_folder in last:
        wait(process, run_folder)
    return names


def test_killed_three_times_equals_unbroken(runs: dict[str, Path]) -> None:
    assert differences(runs["unbroken"], runs["killed"]) == []


def test_the_check_kills_three_times_at_random_steps() -> None:
    chosen = [random_steps(seed) for seed in range(50)]
    assert len({tuple(kills) for kills in chosen}) > 5
    for kills in chosen:
        assert len(set(kills)) == 3
        assert kills == sorted(kills)
        assert kills[0] >= CHECKPOINT_EVERY
        assert kills[-1] < STEPS


def test_every_step_was_logged(runs: dict[str, Path]) -> None:
    for run_folder in runs.values():
        assert last_step(run_folder) == STEPS


def test_forgetting_the_optimizer_is_caught(runs: dict[str, Path]) -> None:
    names = differences(runs["unbroken"], runs["forgetful"])
    assert any("train/loss" in name for name in names)
    assert "the final weights of the model differ" in names
    assert not any(name.startswith(("step 1 ", "step 2 ", "step 3 ")) for name in names)


def write_run(folder: Path, rows: list[dict[str, Any]], weights: bytes = b"weights") -> Path:
    checkpoint = folder / "checkpoints" / f"step_{STEPS}"
    checkpoint.mkdir(parents=True)
    (checkpoint / "model.safetensors").write_bytes(weights)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "metrics.jsonl").write_text(text, encoding="utf-8")
    return folder


ROWS = [
    {"step": 1, "seconds": 0.1, "tokens": 7, "train/loss": 0.5, "time/step": 0.1},
    {"step": 2, "seconds": 0.2, "tokens": 14, "train/loss": 0.25, "time/step": 0.1},
]


@pytest.mark.parametrize(
    ("rows", "weights", "found"),
    [
        (ROWS, b"weights", []),
        ([ROWS[0], ROWS[1] | {"seconds": 9.0, "time/step": 9.0}], b"weights", []),
        ([ROWS[0], ROWS[1] | {"train/loss": 0.25000000000000006}], b"weights", ["step 2 train/loss"]),
        (ROWS[:1], b"weights", ["step 2 step", "step 2 tokens", "step 2 train/loss"]),
        ([*ROWS, {"step": 3, "train/loss": 0.1}], b"weights", ["step 3 step", "step 3 train/loss"]),
        (ROWS, b"others", ["the final weights"]),
    ],
)
def test_differences(tmp_path: Path, rows: list[dict[str, Any]], weights: bytes, found: list[str]) -> None:
    names = differences(write_run(tmp_path / "unbroken", ROWS), write_run(tmp_path / "resumed", rows, weights))
    assert len(names) == len(found)
    assert all(any(name.startswith(start) for name in names) for start in found)


def test_the_weights_of_an_objective_are_compared_where_it_has_some(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, ROWS) for name in ("unbroken", "resumed")]
    for folder, weights in zip(runs, (b"one", b"other"), strict=True):
        (folder / "checkpoints" / f"step_{STEPS}" / "objective.safetensors").write_bytes(weights)
        assert differences(*runs) == ["the final weights of the objective differ"]
    (runs[1] / "checkpoints" / f"step_{STEPS}" / "objective.safetensors").write_bytes(b"one")
    assert differences(*runs) == []
