"""A whole bake-off on generated data, by the command that a user types; every training is a real one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from certify.small_data import write_small_data

REPOSITORY = Path(__file__).resolve().parents[2]


def compare(folder: Path, data: Path, *options: str) -> subprocess.CompletedProcess[str]:
    base = [
        *("data=manifest", f"data.train={data}", f"data.validation_file={data}", f"data.evaluation={data}"),
        *("d_model=32", "mixer.num_heads=2", "mixer.num_kv_heads=2", "evaluation.audit=false", "compute_threads=1"),
        *("fusion.num_layers=2", "trainer.max_steps=2", "trainer.evaluate_every=2", "data.samples_per_batch=4"),
        *("optimizer=adamw", "tracker=jsonl", "data.num_workers=0"),
    ]
    settings = {
        "_target_": "bakeoff.settings.Bakeoff",
        "base": base,
        "methods": {"early": ["fusion=early"], "late": ["fusion=late"]},
        "tuning": {"_target_": "bakeoff.settings.Tuning", "option": "optimizer.lr", "values": [0.001], "seed": 9},
        "seeds": [0],
        "resamples": 1000,
        "parallel": 2,
    }
    config = {"runs": str(folder), "name": "small", "output": None, "tracker": {}, "bakeoff": settings}
    folder.mkdir(exist_ok=True)
    path = folder / "small_bakeoff.yaml"
    hydra = "hydra: {output_subdir: null, run: {dir: .}}\n"
    path.write_text(hydra + OmegaConf.to_yaml(OmegaConf.create(config)), encoding="utf-8")
    command = [sys.executable, str(REPOSITORY / "scripts" / "compare.py"), "--config-path", str(folder)]
    return subprocess.run(
        [*command, "--config-name", path.stem, *options],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)},
        check=False,
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_data(tmp_path_factory.mktemp("data"), ("text", "audio", "image"))


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    result = compare(folder, data)
    assert result.returncode == 0, result.stderr[-2000:]
    assert "bake-off:" in result.stdout
    return folder / "small"


def test_methods_are_brought_to_the_cost_of_the_reference(ended: Path) -> None:
    rows = json.loads((ended / "bakeoff.json").read_text())["rows"]
    cost = {(row["method"], row["budget"]): row for row in rows}
    assert len(rows) == 4
    for budget, key in (("flops", "flops"), ("parameters", "parameters")):
        reference, other = cost["early", budget][key], cost["late", budget][key]
        assert other == pytest.approx(reference, rel=0.02)
    assert cost["late", "flops"]["d_model"] >= cost["late", "parameters"]["d_model"]
    assert "| late | early |" in (ended / "bakeoff.md").read_text()
    assert (ended / "bakeoff.png").stat().st_size > 10_000


def test_runs_are_what_train_writes(ended: Path) -> None:
    folders = {path.name for path in ended.iterdir() if path.is_dir()}
    assert {"early-seed0", "late-flops-seed0", "late-parameters-seed0", "tune-early-0.001", "logs"} <= folders
    assert (ended / "late-flops-seed0" / "report.json").exists()
    assert not (ended / "tune-late-0.001" / "report.json").exists(), "tuning must not read the questions of the test"


def test_a_killed_bakeoff_goes_on_with_what_is_missing(ended: Path, data: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in ended.glob("*/metrics.jsonl")}
    shutil.rmtree(ended / "late-flops-seed0")
    (ended / "late-flops-seed0").mkdir()  # killed before its first checkpoint
    (ended / "late-parameters-seed0" / "ended.txt").unlink()  # killed behind its last one
    result = compare(ended.parent, data)
    assert result.returncode == 0, result.stderr[-2000:]
    again = {path.parent.name for path, time in before.items() if path.stat().st_mtime_ns != time}
    assert "late-flops-seed0" in again
    assert again <= {"late-flops-seed0", "late-parameters-seed0"}, "what had ended is left alone"
    assert list(ended.glob("late-flops-seed0.interrupted-*"))
    assert (ended / "late-parameters-seed0" / "ended.txt").exists()


def test_other_options_under_the_same_name_are_refused(ended: Path, data: Path) -> None:
    result = compare(ended.parent, data, "bakeoff.tuning.seed=7")
    assert result.returncode == 2
    assert "was begun with other options" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_cost_that_no_size_has_is_one_line(tmp_path: Path, data: Path) -> None:
    method = "+bakeoff.methods.wide=['fusion=late','encoders.image.channels=[64,128,192,256]']"
    result = compare(tmp_path / "runs", data, method)
    assert result.returncode == 2
    assert "wide" in result.stderr
    log = (tmp_path / "runs" / "small" / "logs" / "tune-wide-0.001.log").read_text()
    assert "cannot be met within 2%" in log
