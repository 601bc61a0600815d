"""Sweeps by Hydra: one after the other, in parallel on this machine, and as a scheduler's jobs run here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from certify.small_data import write_small_data
from data.storage.run_log import read_metrics

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("launcher", ["basic", "joblib", "submitit_local"])
def test_every_value_of_a_sweep_is_a_run(launcher: str, tmp_path: Path) -> None:
    data = write_small_data(tmp_path / "data", ("text", "audio", "image"))
    options = [
        *("data=manifest", f"data.train={data}", "d_model=16", "mixer.num_heads=2", "mixer.num_kv_heads=1"),
        *("fusion.num_layers=1", "trainer.max_steps=2", "trainer.log_every=1", "data.samples_per_batch=4"),
        *("data.num_workers=0", "optimizer=adamw", "tracker=jsonl", "compute_threads=1", f"runs={tmp_path / 'runs'}"),
        *("name=sweep", "run=seed${seed}", "seed=0,1", f"hydra/launcher={launcher}"),
    ]
    if launcher == "joblib":
        options.append("hydra.launcher.n_jobs=2")
    ended = subprocess.run(
        [sys.executable, str(REPOSITORY / "scripts" / "train.py"), "-m", *options],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)},
        timeout=240,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    losses = [read_metrics(tmp_path / "runs" / "sweep" / f"seed{seed}" / "metrics.jsonl") for seed in (0, 1)]
    assert [[row["step"] for row in rows] for rows in losses] == [[1, 2], [1, 2]]
    assert losses[0][0]["train/loss"] != losses[1][0]["train/loss"]
