"""Whole bake-offs of other forms, by the command that a user types; every training is a real one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from certify.small_data import write_small_data
from tests.bakeoff.test_run import REPOSITORY, compare


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_data(tmp_path_factory.mktemp("data"), ("text", "audio", "image"))


def test_lengths_in_operations_and_a_stage_that_ends(tmp_path: Path, data: Path) -> None:
    """Without tuning; a stage that has no time trains nothing, and the next one goes on. An ensemble is one of them."""
    both = "{members: [early, late], lengths: [long]}"
    given = ("bakeoff.tuning=null", "bakeoff.seeds=[0]", "+bakeoff.budgets=[flops]", "bakeoff.contrasts=[]")
    stage = compare(tmp_path / "runs", data, *given, "+bakeoff.max_minutes=1e-9")
    assert (stage.returncode, stage.stderr) == (75, "")
    assert "the same command goes on from here" in stage.stdout
    assert not list((tmp_path / "runs" / "small").glob("*/ended.txt"))
    given = (*given, "+bakeoff.lengths={short: 3e9, long: 6e9}", "+bakeoff.points=2", f"+bakeoff.methods.both={both}")
    result = compare(tmp_path / "runs", data, *given)
    assert result.returncode == 0, result.stderr[-2000:]
    folder = tmp_path / "runs" / "small"
    names = {path.parent.name for path in folder.glob("*/ended.txt")}
    compared = {f"{method}-{length}-seed0" for method in ("early", "late-flops") for length in ("short", "long")}
    assert names == {"size-early", "size-late-flops", *compared}
    widths = {
        OmegaConf.load(folder / f"late-flops-{length}-seed0" / "config.yaml").d_model for length in ("short", "long")
    }
    assert len(widths) == 1
    assert "Nothing was tuned" in (folder / "bakeoff.md").read_text()
    content = json.loads((folder / "bakeoff.json").read_text())
    assert content["tuning"] == {"metric": None, "terms": None, "methods": {}}
    for row in content["rows"]:
        times = 2 if row["method"] == "both" else 1
        assert row["total_flops"] == pytest.approx(times * {"short": 3e9, "long": 6e9}[row["length"]], rel=0.4)
    assert {len(curve["samples"]) for curve in content["curves"]} <= {2, 3}
    assert {curve["task"] for curve in content["curves"]} == {"manifest"}


def test_a_bakeoff_on_ones_own_files_is_one_command(tmp_path: Path) -> None:
    """Without a validation, learning rates are tuned on rows that are held out; names of files need no quotes."""
    data = write_small_data(tmp_path / "my data, 1=a", ("text", "audio", "image"))
    small = {
        "d_model": 16,
        "mixer.num_heads": 2,
        "mixer.num_kv_heads": 2,
        "fusion.num_layers": 2,
        "trainer.max_steps": 2,
    }
    small |= {"compute_threads": 1, "data.samples_per_batch": 4, "tracker": "jsonl"}
    command = [
        *(sys.executable, str(REPOSITORY / "scripts" / "compare.py"), "experiment=bakeoff/manifest", "tracker=[]"),
        *(f"data.train={data}", f"data.evaluation={data}", "bakeoff.seeds=[0]", "bakeoff.contrasts=[]"),
        *("bakeoff.budgets=[flops]", "bakeoff.tuning.settings=1", "bakeoff.tuning.seeds=[7]", "bakeoff.parallel=2"),
        *(f"{'' if name in ('trainer.max_steps',) else '+'}bakeoff.options.{name}={v}" for name, v in small.items()),
        *(f"~bakeoff.methods.{name}" for name in ("mid", "bottleneck", "cross_attention", "concat")),
        *("~bakeoff.methods.mixture_of_transformers", "~bakeoff.methods.simbamm", "bakeoff.baselines=[early]"),
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    folder = tmp_path / "runs" / "bakeoff_manifest"
    assert {path.parent.name for path in folder.glob("*/ended.txt")} == {
        "size-early",
        "size-late-flops",
        "tune-early-lr0.008-adamw_lr0.003-seed7",
        "tune-late-lr0.008-adamw_lr0.003-seed7",
        "early-seed0",
        "late-flops-seed0",
    }
    config = OmegaConf.load(folder / "early-seed0" / "config.yaml")
    assert config.data.train == str(data)
    assert json.loads((folder / "bakeoff.json").read_text())["tuning"]["metric"] == "val/loss"
