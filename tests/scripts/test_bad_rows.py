"""A manifest with every kind of bad row is trained on, validated on and evaluated on, where bad rows are skipped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module

from certify.small_data import write_small_data
from data.storage.run_log import read_metrics
from scripts.train import main
from tests.data.bad_rows import ROWS, lines, write_media


def test_every_kind_of_bad_row_is_skipped_and_counted_in_every_stage(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    good = write_small_data(tmp_path / "data", ("text", "image", "audio"))
    write_media(good.parent)
    path = good.parent / "mixed.jsonl"
    path.write_text(good.read_text() + lines(*(row for row, _ in ROWS.values())))
    overrides = [
        *("data=manifest", "data.on_bad_sample=skip", "data.samples_per_batch=16", "data.num_workers=0", "run=one"),
        *(f"data.train={path}", f"data.validation_file={path}", f"data.evaluation={path}", f"runs={tmp_path}/runs"),
        *("name=small", "tracker=jsonl", "d_model=16", "fusion.num_layers=1", "schedule.warmup_steps=1"),
        *("compute_threads=1", "trainer.log_every=1", "trainer.max_steps=4", "trainer.evaluate_every=2"),
        *("evaluation.audit=false", "trainer.device=cpu"),
    ]
    with initialize_config_module("conf", version_base="1.3"):
        main.__wrapped__(compose("train", overrides))  # type: ignore[attr-defined]
    logged = read_metrics(tmp_path / "runs" / "small" / "one" / "metrics.jsonl")
    assert [row["val/skipped"] for row in logged if "val/skipped" in row] == [len(ROWS)] * 2
    assert [row["data/skipped"] for row in logged if "data/skipped" in row][-1] > len(ROWS) // 2
    report = json.loads((tmp_path / "runs" / "small" / "one" / "report.json").read_text())
    assert report["data"]["skipped_in_evaluation"] == len(ROWS)
    assert " at 0x" not in json.dumps(report) + capfd.readouterr().out
