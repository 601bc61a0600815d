"""A whole bake-off on generated data, by the command that a user types; every training is a real one."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

from bakeoff.report.figures import draw
from bakeoff.report.report import ONE_SEED, track
from bakeoff.report.tables import DIFFERENCES, contrast, head, heading
from bakeoff.results.gather import Results
from bakeoff.run import run
from certify.small_data import write_small_data
from data.display.drawing import pixels
from data.instantiate import instantiate
from data.storage.run_log import read_metrics
from fusion.checkpoint import step_folders
from tests.training.tiny import same_metrics

REPOSITORY = Path(__file__).resolve().parents[2]
STEPS, CHECKPOINT_EVERY = 40, 5


def start(folder: Path, data: Path, *options: str) -> subprocess.Popen[str]:
    """The command as a process of its own."""
    base = [
        *("data=manifest", f"data.train={data}", f"data.validation_file={data}", f"data.evaluation={data}"),
        *("d_model=32", "mixer.num_heads=2", "mixer.num_kv_heads=2", "evaluation.audit=false", "compute_threads=1"),
        *("fusion.num_layers=2", f"trainer.max_steps={STEPS}", f"trainer.evaluate_every={STEPS // 2}"),
        *(f"trainer.checkpoint_every={CHECKPOINT_EVERY}", "schedule.warmup_fraction=0.05", "data.samples_per_batch=4"),
        *("optimizer=adamw", "tracker=jsonl", "data.num_workers=0"),
    ]
    rate = {"option": "optimizer.lr", "start": 0.003, "factor": 2, "least": 0.0015, "most": 0.006}
    settings = {
        "_target_": "bakeoff.settings.Bakeoff",
        "base": base,
        "methods": {"early": ["fusion=early"], "late": ["fusion=late"]},
        "tuning": {"_target_": "bakeoff.settings.Tuning", "options": [rate], "settings": 2, "seeds": [9]},
        "seeds": [0],
        "contrasts": [{"method": "late", "against": "early", "task": "manifest", "budget": "flops"}],
        "parallel": 2,
    }
    config = {"runs": str(folder), "name": "small", "output": None, "tracker": {}, "bakeoff": settings}
    folder.mkdir(exist_ok=True)
    path = folder / "small_bakeoff.yaml"
    hydra = "hydra: {output_subdir: null, run: {dir: .}}\n"
    path.write_text(hydra + OmegaConf.to_yaml(OmegaConf.create(config)), encoding="utf-8")
    command = [sys.executable, str(REPOSITORY / "scripts" / "compare.py"), "--config-path", str(folder)]
    return subprocess.Popen(
        [*command, "--config-name", path.stem, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)},
    )


def compare(folder: Path, data: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """The command, to its end."""
    process = start(folder, data, *options)
    out, errors = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, out, errors)


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


@pytest.fixture(scope="module")
def results(ended: Path) -> Results:
    """Read from what was trained: nothing is left to train."""
    config = OmegaConf.load(ended.parent / "small_bakeoff.yaml")
    return run(instantiate(config.bakeoff, "bakeoff"), ended.parent, ended.name, visible=False)


def test_methods_are_brought_to_the_cost_of_the_reference(ended: Path) -> None:
    rows = json.loads((ended / "bakeoff.json").read_text())["rows"]
    cost = {(row["method"], row["budget"]): row for row in rows}
    assert len(rows) == 4
    for budget, key in (("flops", "inference_flops"), ("parameters", "parameters")):
        reference, other = cost["early", budget][key], cost["late", budget][key]
        assert other == pytest.approx(reference, rel=0.02)
    assert cost["late", "flops"]["d_model"] >= cost["late", "parameters"]["d_model"]
    assert "| late | early |" in (ended / "bakeoff.md").read_text()
    assert (ended / "bakeoff.png").stat().st_size > 10_000


def test_every_row_has_a_score_and_all_costs(ended: Path) -> None:
    for row in json.loads((ended / "bakeoff.json").read_text())["rows"]:
        assert list(row["scores"]) == ["manifest"]
        assert 0 < row["scores"]["manifest"]["value"] <= 1
        measured = ("seconds", "memory_gb")
        for name in ("d_model", "parameters", "active", "inference_flops", "training_flops", *measured):
            assert row[name] > 0, name
        assert set(row["tuned"]) == {"optimizer.lr"}
        assert row["total_flops"] == pytest.approx(row["training_flops"] * STEPS * 4)
        assert row["active"] <= row["parameters"]
        assert row["training_flops"] > 2 * row["inference_flops"]


def markdown_tables(text: str) -> dict[str, list[dict[str, str]]]:
    """Rows by column of the first table below every heading."""
    found = {}
    for section in text.split("\n## ")[1:]:
        title, _, rest = section.partition("\n\n")
        lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in rest.split("\n\n")[0].splitlines()]
        found[title] = [dict(zip(lines[0], line, strict=True)) for line in lines[2:]]
    return found


def test_one_seed_has_neither_interval_nor_p_and_says_so(ended: Path) -> None:
    content = json.loads((ended / "bakeoff.json").read_text(encoding="utf-8"))
    (found,) = content["contrasts"]
    assert [found[key] for key in ("method", "against", "task", "budget")] == ["late", "early", "manifest", "flops"]
    assert [found[key] for key in ("p", "corrected")] == [None, None]
    for interval in (found["difference"], found["simultaneous"], content["rows"][0]["scores"]["manifest"]):
        assert (interval["low"], interval["high"]) == (None, None)
    assert (content["seeds"], content["smallest_p_by_sign_flips"]) == (1, None)
    text = (ended / "bakeoff.md").read_text(encoding="utf-8")
    assert ONE_SEED.format(score="Accuracy") in text
    assert "With one seed none of them can be tested." in text


def test_a_tracker_gets_the_tables_and_the_figure(ended: Path, results: Results, tmp_path: Path) -> None:
    """By the tracker that is always on: of the command, which tracks each time as a run of its own, and of a call."""
    track(results, {}, tmp_path, "small")
    found = [sorted(folder.glob("dashboard/*/samples/step_0"))[-1] for folder in (ended, tmp_path)]
    tables = markdown_tables((ended / "bakeoff.md").read_text(encoding="utf-8"))
    for samples in found:
        for terms in results.differences:
            rows = json.loads((samples / f"bakeoff-equal_{terms}.json").read_text(encoding="utf-8"))
            assert list(rows[0]) == head(results)
            assert rows == tables[heading(terms, results)]
        (row,) = json.loads((samples / "bakeoff-contrasts.json").read_text(encoding="utf-8"))
        assert list(row.values()) == contrast(results.contrasts[0])
        # What is a primary contrast at equal operations is none at equal parameters.
        assert not (samples / "bakeoff-differences_flops.json").exists()
        (row,) = json.loads((samples / "bakeoff-differences_parameters.json").read_text(encoding="utf-8"))
        assert tuple(row) == DIFFERENCES
        assert (row["method"], row["against"], row["task"]) == ("late", "early", "manifest")
        assert np.array_equal(np.asarray(Image.open(samples / "bakeoff.png")), pixels(draw(results)))


def test_tuning_has_the_length_and_the_schedule_of_the_compared_runs(ended: Path) -> None:
    found = [OmegaConf.load(ended / name / "config.yaml") for name in ("tune-late-lr0.003-seed9", "late-flops-seed0")]
    assert [config.trainer.max_steps for config in found] == [STEPS, STEPS]
    assert found[0].schedule == found[1].schedule
    assert found[0].d_model == found[1].d_model
    assert OmegaConf.load(ended / "size-late-flops" / "config.yaml").d_model == found[0].d_model


def test_runs_are_what_train_writes(ended: Path) -> None:
    folders = {path.name for path in ended.iterdir() if path.is_dir()}
    tries = {f"tune-{method}-lr{rate}-seed9" for method in ("early", "late") for rate in (0.003, 0.006)}
    assert {"early-seed0", "late-flops-seed0", "late-parameters-seed0", "logs", *tries} <= folders
    assert (ended / "late-flops-seed0" / "report.json").exists()
    assert not (ended / "tune-late-lr0.003-seed9" / "report.json").exists(), (
        "tuning must not read the questions of the test"
    )


def trainings(runs: Path) -> list[str]:
    """The command lines of the trainings into a folder, among all processes of this machine."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has just ended
            found.append(path.read_text(encoding="utf-8", errors="replace"))
    return [line for line in found if "train.py" in line and str(runs) in line]


def scores_and_costs(bakeoff: Path) -> Mapping[str, Any]:
    """All of bakeoff.json but what measures the machine."""
    content = json.loads((bakeoff / "bakeoff.json").read_text(encoding="utf-8"))
    rows = [
        {key: row[key] for key in row.keys() - {"seconds", "inference_seconds", "memory_gb"}} for row in content["rows"]
    ]
    return {**content, "rows": rows}


@pytest.mark.skipif(sys.platform != "linux", reason="Linux ends a training with the process that started it")
def test_killed_within_a_training_it_goes_on_from_there(ended: Path, data: Path, tmp_path: Path) -> None:
    """SIGKILL, which nobody can answer: the training ends too, and the rerun ends as the bake-off that ran through."""
    name, runs = "late-flops-seed0", tmp_path / "runs"
    shutil.copytree(ended, runs / "small", ignore=shutil.ignore_patterns(f"{name}*", "bakeoff.*"))
    broken = runs / "small" / name
    process = start(runs, data)
    try:
        while not step_folders(broken / "checkpoints") and process.poll() is None:
            time.sleep(0.005)
        alive = trainings(runs)
    finally:
        process.kill()
    errors = process.communicate()[1]
    assert process.returncode == -signal.SIGKILL, errors[-2000:]
    assert len(alive) == 1
    deadline = time.monotonic() + 60
    while trainings(runs) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not trainings(runs)
    reached = step_folders(broken / "checkpoints")[-1].name
    assert CHECKPOINT_EVERY <= int(reached.removeprefix("step_")) < STEPS, "it ended before its time"
    assert not (broken / "ended.txt").exists()

    result = compare(runs, data)
    assert result.returncode == 0, result.stderr[-2000:]
    log = (runs / "small" / "logs" / f"{name}.log").read_text(encoding="utf-8")
    assert f"resuming {broken} from {reached}\n" in log
    assert not list(broken.parent.glob(f"{name}.interrupted-*"))
    metrics = [read_metrics(folder / "metrics.jsonl") for folder in (broken, ended / name)]
    assert same_metrics(*metrics, prefixes=("train/loss", "train/learning_rate", "grad_norm", "val/", "data/"))
    assert [line["step"] for line in metrics[0] if "val/accuracy" in line] == [STEPS // 2, STEPS]
    weights = [
        (folder / "checkpoints" / f"step_{STEPS}" / "model.safetensors").read_bytes()
        for folder in (broken, ended / name)
    ]
    assert weights[0] == weights[1]
    assert scores_and_costs(runs / "small") == scores_and_costs(ended)


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
    result = compare(ended.parent, data, "+bakeoff.options.trainer.clip_norm=0.5")
    assert result.returncode == 2
    assert "was begun with other options" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_cost_that_no_size_has_is_one_line(tmp_path: Path, data: Path) -> None:
    method = "+bakeoff.methods.wide=['fusion=late','encoders.image.channels=[64,128,192,256]']"
    result = compare(tmp_path / "runs", data, method)
    assert result.returncode == 2
    assert "wide" in result.stderr
    log = (tmp_path / "runs" / "small" / "logs" / "size-wide-flops.log").read_text()
    assert "cannot be met within 2%" in log
