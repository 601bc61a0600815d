"""Every tracker on its real library: what is logged can be read back, and a resumed run has no double steps."""

from __future__ import annotations

import json
import math
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from data.storage.run_log import read_metrics
from data.types import BadInputError
from training.trackers.base import AudioCell, ImageCell
from training.trackers.fan_out import FanOut, build_tracker
from training.trackers.html_table import html_table
from training.trackers.jsonl import JsonlTracker, truncate_after
from training.trackers.media import pcm, pixels
from training.trackers.trackio import TrackioTracker, overview
from training.trackers.wandb import WandbTracker

TRACKIO = {"_target_": "training.trackers.trackio.TrackioTracker"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder of runs for the module: trackio reads its place once a process."""
    return tmp_path_factory.mktemp("runs")


def picture() -> np.ndarray:
    """One pixel that is orange, in black."""
    return np.pad(np.array([[[255, 128, 0]]], np.uint8), ((1, 2), (2, 3), (0, 0)))


def tone() -> torch.Tensor:
    return 0.25 * torch.sin(torch.arange(800) * 0.3)


def metrics_at(step: int) -> dict[str, float]:
    return {"train/loss": 1 / (step + 1), "tokens": step * 10, "seconds": 0.5 * step}


# --- files


def test_a_line_is_strict_json_in_a_fixed_order(tmp_path: Path) -> None:
    tracker = JsonlTracker(tmp_path / "run")
    tracker.start("run", {})
    tracker.log(3, {"train/loss": torch.tensor(0.5), "b": np.float32(2), "tokens": 7, "seconds": 1.5})
    line = (tmp_path / "run" / "metrics.jsonl").read_text()
    assert line == '{"step": 3, "seconds": 1.5, "tokens": 7, "train/loss": 0.5, "b": 2.0}\n'


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_lacks_come_back(tmp_path: Path, value: float) -> None:
    tracker = JsonlTracker(tmp_path / "run")
    tracker.start("run", {})
    tracker.log(1, {"train/loss": value})

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    read = json.loads(tracker.metrics_path.read_text(), parse_constant=refuse)
    assert str(float(read["train/loss"])) == str(value)


def test_a_resumed_file_equals_an_unbroken_one(tmp_path: Path) -> None:
    whole, broken = JsonlTracker(tmp_path / "whole"), JsonlTracker(tmp_path / "broken")
    for tracker, last in ((whole, 9), (broken, 7)):
        tracker.start("run", {})
        for step in range(last + 1):
            tracker.log(step, metrics_at(step))
            tracker.alert("spike", f"at {step}")
    with broken.metrics_path.open("a") as file:
        file.write('{"step": 8, "train/lo')  # as a power cut leaves it
    resumed = JsonlTracker(tmp_path / "broken")
    resumed.start("run", {}, resume_step=4)
    for step in range(5, 10):
        resumed.log(step, metrics_at(step))
        resumed.alert("spike", f"at {step}")
    assert resumed.metrics_path.read_bytes() == whole.metrics_path.read_bytes()
    assert resumed.alerts_path.read_bytes() == whole.alerts_path.read_bytes()


def test_a_new_run_does_not_write_into_an_old_one(tmp_path: Path) -> None:
    JsonlTracker(tmp_path).log(1, {"a": 1.0})
    with pytest.raises(BadInputError, match=r"metrics.jsonl: already holds a run; .* resume=run"):
        JsonlTracker(tmp_path).start("run", {})
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == 1


def test_a_broken_line_inside_the_file_is_named_and_nothing_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\nnonsense\n{"step": 2}\n')
    with pytest.raises(BadInputError, match=r"metrics.jsonl:2: not a JSON object with a step"):
        truncate_after(path, 1)
    assert path.read_text().count("\n") == 3


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    tracker = JsonlTracker(tmp_path)
    tracker.start("run", {})
    tracker.metrics_path.symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        tracker.log(1, {"a": 1.0})


def test_media_become_files_that_open(tmp_path: Path) -> None:
    tracker = JsonlTracker(tmp_path)
    tracker.start("run", {})
    tracker.image(5, "attention/layer_0", torch.from_numpy(picture()).permute(2, 0, 1) / 255)
    tracker.audio(5, "question", tone(), 8000)
    tracker.histogram(5, "gate", torch.tensor([0.0, 1.0, math.nan]))
    rows = [[ImageCell(picture(), "it"), AudioCell(tone(), 8000), "<b>red & round</b>", 0.5]]
    tracker.table(5, "samples", ["image", "question", "answer", "score"], rows)
    tracker.summary({"parameters": 7, "accuracy": 0.1})
    tracker.summary({"accuracy": np.float32(0.5), "name": "run"})
    folder = tmp_path / "samples" / "step_5"
    assert np.array_equal(np.asarray(Image.open(folder / "attention-layer_0.png")), picture())
    samples, rate = soundfile.read(folder / "question.wav")
    assert rate == 8000
    assert np.allclose(samples, tone().numpy(), atol=1e-4)  # one step of 16 bits, and no normalisation
    assert sum(json.loads((folder / "gate.histogram.json").read_text())["counts"]) == 2
    read = json.loads((folder / "samples.json").read_text())
    assert read == [{"image": "it", "question": "", "answer": "<b>red & round</b>", "score": 0.5}]
    assert json.loads((tmp_path / "summary.json").read_text()) == {"parameters": 7, "accuracy": 0.5, "name": "run"}


def test_a_page_of_samples_plays_and_cannot_be_hijacked() -> None:
    page = html_table("t", ["a", "b", "c"], [[ImageCell(picture()), AudioCell(tone(), 8000), "<script>x</script>"]])
    assert 'src="data:image/png;base64,' in page
    assert '<audio controls src="data:audio/flac;base64,' in page
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 3), (3, 4, 6)])
def test_pictures_of_every_layout_have_one_orientation(shape: tuple[int, ...]) -> None:
    image = np.zeros(shape, np.float32)
    image[(slice(None), 1, 2) if shape[0] == 3 else (1, 2)] = 1.0
    shown = pixels(image)
    assert shown.shape == (4, 6, 3)
    assert np.argwhere(shown[:, :, 0] == 255).tolist() == [[1, 2]]


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(ValueError, match=r"\(2, 2, 2\)"):
        pixels(np.zeros((2, 2, 2)))
    with pytest.raises(ValueError, match=r"\(2, 9\)"):
        pcm(np.zeros((2, 9)))


# --- trackio


def log_steps(tracker: FanOut | TrackioTracker, steps: range) -> None:
    for step in steps:
        tracker.log(step, {"train/loss": torch.tensor(1 / (step + 1)), "train/rate": 0.1})


def stored(run_name: str) -> list[dict]:
    from trackio.sqlite_storage import SQLiteStorage

    record = SQLiteStorage.get_latest_run_record_by_name("interfuse", run_name)
    assert record is not None
    return SQLiteStorage.get_logs("interfuse", run_name, run_id=record["id"])


def test_trackio_gives_back_everything(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tracker = build_tracker({"trackio": TRACKIO}, runs / "early" / "one")
    tracker.start("early/one", {"trainer": {"steps": 3}, "_hidden": None})
    log_steps(tracker, range(3))
    tracker.image(2, "attention", picture(), caption="layer 0")
    tracker.audio(2, "question", tone(), 8000, caption="what is it?")
    tracker.table(2, "samples", ["image", "heard"], [[ImageCell(picture()), AudioCell(tone(), 8000)]])
    tracker.histogram(2, "gate", torch.rand(100))
    tracker.alert("spike", "loss rose", "error")
    tracker.summary({"accuracy": 0.75, "name": "x"})
    tracker.finish()
    assert capsys.readouterr().out == ""

    import trackio
    from trackio.utils import MEDIA_DIR

    logs = stored("early-one")
    losses = [(line["step"], line["train/loss"]) for line in logs if "train/loss" in line]
    assert losses == [(step, pytest.approx(1 / (step + 1))) for step in range(3)]
    found = {name: value for line in logs for name, value in line.items() if isinstance(value, dict)}
    assert found["attention"]["caption"] == "layer 0"
    shown = Image.open(MEDIA_DIR / found["attention"]["file_path"]).convert("RGB")
    assert np.array_equal(np.asarray(shown), picture())
    samples, rate = soundfile.read(MEDIA_DIR / found["question"]["file_path"])
    assert rate == 8000
    assert np.allclose(samples, tone().numpy(), atol=1e-4)
    page = (MEDIA_DIR / found["samples"]["file_path"]).read_text()
    assert "<audio controls" in page
    assert sum(found["gate"]["values"]) == 100
    assert [line["summary/accuracy"] for line in logs if "summary/accuracy" in line] == [0.75]
    run = next(run for run in trackio.Api().runs("interfuse") if run.name == "early-one")
    assert run.config["trainer"] == {"steps": 3}
    assert run.config["_Group"] == "early"
    assert [(alert["title"], alert["level"], alert["step"]) for alert in run.alerts()] == [("spike", "error", 2)]
    assert Path(MEDIA_DIR).is_relative_to(runs / ".trackio")


def test_trackio_continues_the_same_run_without_double_steps(runs: Path) -> None:
    first = TrackioTracker(runs / "early" / "two")
    first.start("early/two", {})
    log_steps(first, range(8))
    first.image(7, "attention", picture())
    first.finish()
    second = TrackioTracker(runs / "early" / "two")
    second.start("early/two", {}, resume_step=4)
    log_steps(second, range(5, 10))
    second.finish()

    import trackio

    assert [line["step"] for line in stored("early-two")] == list(range(10))
    assert [run.name for run in trackio.Api().runs("interfuse")].count("early-two") == 1


def test_the_page_begins_with_loss_and_validation() -> None:
    metrics = {
        "train/loss": 0.5,
        "train/loss/easy_vqa/audio": 0.6,
        "val/accuracy": 0.7,
        "val/easy_vqa/typed/accuracy": 0.8,
        "val/skipped": 0.0,
        "attention/layer_1/text_to_image": 0.2,
        "seconds": 3.0,
    }
    assert overview(metrics) == {"overview/train_loss": 0.5, "overview/val_accuracy": 0.7}
    assert overview({"grad_norm/total": 1.0}) == {}


def test_nothing_to_show_is_no_reason_to_fail(runs: Path, caplog: pytest.LogCaptureFixture) -> None:
    tracker = build_tracker({"trackio": TRACKIO}, runs / "early" / "three")
    tracker.start("early/three", {})
    tracker.histogram(1, "gate", torch.full((3,), math.nan))
    tracker.table(1, "samples", ["image"], [])
    tracker.log(1, {"train/loss": math.nan})
    tracker.finish()
    assert [math.isnan(line["train/loss"]) for line in stored("early-three") if "train/loss" in line] == [True]
    assert caplog.messages == []


def test_a_broken_dashboard_leaves_the_files(tmp_path: Path) -> None:
    """In a process of its own, where the store is no database."""
    folder = tmp_path / "runs" / "early" / "one"
    (tmp_path / "runs" / ".trackio").mkdir(parents=True)
    (tmp_path / "runs" / ".trackio" / "interfuse.db").write_bytes(b"no database " * 1000)
    program = (
        "import sys; from pathlib import Path; from training.trackers.fan_out import build_tracker\n"
        f"tracker = build_tracker({{'trackio': {TRACKIO!r}}}, Path(sys.argv[1]))\n"
        "tracker.start('early/one', {})\n"
        "tracker.log(1, {'a': 1.0}); tracker.log(2, {'a': 1.0}); tracker.finish()\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(folder)], capture_output=True, text=True, check=True)
    assert len(read_metrics(folder / "metrics.jsonl")) == 2
    assert done.stdout == ""
    assert "trackio failed" in done.stderr
    assert "Traceback" not in done.stderr


# --- wandb


def test_wandb_offline_keeps_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    tracker = WandbTracker(tmp_path / "early" / "one")
    tracker.run_folder.mkdir(parents=True)
    tracker.start("early/one", {"steps": 3})
    tracker.log(1, {"train/loss": torch.tensor(0.125)})
    tracker.table(1, "samples", ["image", "heard"], [[ImageCell(picture()), AudioCell(tone(), 8000)]])
    tracker.image(1, "attention", picture(), "layer 0")
    tracker.audio(1, "question", tone(), 8000, "what is it?")
    tracker.histogram(1, "gate", torch.rand(10))
    tracker.alert("spike", "loss rose")
    tracker.summary({"accuracy": 0.5})
    tracker.finish()
    folder = next((tmp_path / "early" / "one" / "wandb").glob("offline-run-*"))
    written = (folder / "run-early-one.wandb").read_bytes()
    for expected in (b"train/loss", b"0.125", b"accuracy", b"samples", b"spike"):
        assert expected in written
    media = folder / "files" / "media"
    assert "<audio controls" in next(media.glob("html/samples_*.html")).read_text()
    assert np.array_equal(np.asarray(Image.open(next(media.glob("images/attention_*.png")))), picture())
    samples, rate = soundfile.read(next(media.glob("audio/question_*.wav")))
    assert rate == 8000
    assert np.allclose(samples, tone().numpy(), atol=1e-4)


def test_wandb_online_without_a_key_says_so_at_once(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from training.trackers.wandb import WandbTracker\n"
        "from data.types import BadInputError\n"
        "try: WandbTracker(Path(sys.argv[1]), mode='online').start('a/b', {})\n"
        "except BadInputError as error: print(error)\n"
    )
    environment = {"HOME": str(tmp_path), "NETRC": str(tmp_path / "none"), "PATH": ""}
    command = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180)
    assert "tracker.wandb.mode=online found no API key" in done.stdout
    assert done.stdout.count("\n") == 1


def test_wandb_refuses_an_unknown_mode(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"mode='onlin' .* online, offline, disabled"):
        WandbTracker(tmp_path, mode="onlin")


# --- several


def test_other_ranks_stay_silent(tmp_path: Path) -> None:
    tracker = build_tracker({"trackio": TRACKIO}, tmp_path / "run", rank=1)
    tracker.start("run", {})
    tracker.log(1, {"a": 1.0})
    tracker.finish()
    assert not (tmp_path / "run").exists()


class Broken(JsonlTracker):
    """Fails as a full disk would."""

    def log(self, step: int, metrics: object) -> None:
        raise sqlite3.OperationalError("database or disk\nis full")


def test_others_may_fail_but_the_truth_may_not(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    truth = JsonlTracker(tmp_path / "truth")
    tracker = FanOut(truth, {"dashboard": Broken(tmp_path / "other")})
    tracker.start("run", {})
    tracker.log(1, {"a": 1.0})
    tracker.log(2, {"a": 1.0})
    assert len(read_metrics(truth.metrics_path)) == 2
    assert len(caplog.messages) == 1
    assert "tracker dashboard failed" in caplog.messages[0]
    assert "\n" not in caplog.messages[0]
    with pytest.raises(sqlite3.OperationalError):
        FanOut(Broken(tmp_path / "bad"), {}).log(1, {"a": 1.0})
