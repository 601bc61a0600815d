"""train.py on a manifest of one's own: validation, bad samples, and what is refused before anything is made."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from certify.small_data import write_small_data
from data.media.audio import AudioProcessor
from data.media.image import ImageProcessor
from data.storage.run_log import read_metrics
from data.types import Absent, BadInputError, BadSampleError, Media, Text
from fusion.checkpoint import best_step, load_model, resolve, step_folders, verify
from scripts.arguments import quoted
from scripts.train import main
from serving.session import Session
from training.optimizers.groups import muon
from training.runs.run_folder import resumed_run

SMALL = [
    "data=manifest",
    "name=small",
    "run=one",
    "tracker=jsonl",
    "d_model=16",
    "fusion.num_layers=1",
    "data.samples_per_batch=4",
    "data.num_workers=0",
    "schedule.warmup_steps=1",
    "trainer.log_every=1",
    "trainer.checkpoint_every=2",
    "compute_threads=1",
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A manifest of 16 rows: typed, about an image, spoken, both."""
    return write_small_data(tmp_path / "data", ("text", "image", "audio"))


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def train(data: Path, *overrides: str) -> Path:
    """Runs train.py; returns the run folder."""
    runs = data.parent.parent / "runs"
    with initialize_config_module("conf", version_base="1.3"):
        config = compose("train", [*SMALL, f"data.train={data}", f"runs={runs}", *overrides])
    main.__wrapped__(config)  # type: ignore[attr-defined]
    return runs / "small" / "one"


def test_a_manifest_can_be_validated_on_while_training(data: Path) -> None:
    validated = [f"data.validation_file={data}", "trainer.best_metric=val/accuracy", "trainer.evaluate_every=2"]
    run = train(data, *validated, "trainer.max_steps=4", "trainer.keep_checkpoints=1", "trainer.accumulation_steps=2")
    scores = [row for row in read_metrics(run / "metrics.jsonl") if "val/accuracy" in row]
    assert [row["step"] for row in scores] == [2, 4]
    assert scores[0]["val/manifest/accuracy"] == scores[0]["val/accuracy"]
    assert best_step(step_folders(run / "checkpoints")) is not None
    summary = json.loads((run / "summary.json").read_text())
    of_all = ("total", "active", "trainable")
    parts = {k: v for k, v in summary.items() if k.startswith("parameters/") and not k.endswith(of_all)}
    assert summary["parameters/total"] == sum(parts.values())
    for kind in ("inference", "training"):
        parts = {name: value for name, value in summary.items() if name.startswith(f"flops/{kind}/")}
        assert {f"flops/{kind}/{part}" for part in ("image_encoder", "fusion", "head")} <= set(parts)
        assert summary[f"flops/{kind}"] == pytest.approx(sum(parts.values()))
    assert 2 * summary["flops/inference"] < summary["flops/training"] - summary["flops/training/optimizer"]
    config = OmegaConf.load(run / "config.yaml")
    update = muon(load_model(run).model, lr=0.1, adamw_lr=0.1).flops()
    samples = config.data.samples_per_batch * config.trainer.accumulation_steps
    assert summary["flops/training/optimizer"] == pytest.approx(update / samples)
    assert summary["steps"] == 4


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["trainer.best_metric=val/accuracy"], r"best_metric=val/accuracy: there is no validation.*validation_file"),
        (
            ["data.validation_file={}", "trainer.best_metric=val/acuracy"],
            "best_metric=val/acuracy: must be one of val/manifest/accuracy, ",
        ),
        (["data.validation_file={}.none"], r"data.validation.manifest: .*\.none: cannot be read: No such file"),
        (["data.evaluation={}.none"], r"evaluation.tasks.manifest: .*\.none: cannot be read: No such file"),
        (["data.evaluation={}", "evaluation=retrieval"], "data.evaluation=.* is not read by .*evaluation=manifest for"),
        (
            ["data.evaluation={}", "evaluation=retrieval_manifest"],
            "evaluation.tasks.manifest: the model has no shared sp",
        ),
        (
            ["objective=infonce", "shared_space=linear"],
            "data.sources.manifest: holds conversations only, .*=next_token",
        ),
    ],
)
def test_what_cannot_be_asked_is_refused_before_the_run_folder_is_made(
    overrides: list[str], message: str, data: Path
) -> None:
    with pytest.raises(BadInputError, match=message) as refused:
        train(data, *(item.format(data) for item in overrides))
    assert "\n" not in str(refused.value)
    assert not (data.parent.parent / "runs").exists()


def broken(data: Path) -> Path:
    """The same manifest with a row that is not JSON, a truncated image and a missing sound."""
    folder = data.parent
    rows = data.read_text().splitlines()
    (folder / "torn.png").write_bytes((folder / "1.png").read_bytes()[:60])
    rows[1], rows[2], rows[7] = rows[1].replace("1.png", "torn.png"), rows[2].replace("2.wav", "gone.wav"), rows[7][:40]
    path = folder / "broken.jsonl"
    path.write_text("\n".join(rows))
    return path


def test_skipped_samples_are_counted_in_the_log_and_in_the_report(data: Path, capsys: pytest.CaptureFixture) -> None:
    path = broken(data)
    files = [f"data.validation_file={path}", f"data.evaluation={path}", "data.on_bad_sample=skip"]
    run = train(path, *files, "trainer.max_steps=4")
    logged = read_metrics(run / "metrics.jsonl")
    assert [row["data/skipped"] for row in logged if "data/skipped" in row][-1] == 3
    assert logged[-1]["val/skipped"] == 3
    report = json.loads((run / "report.json").read_text())
    assert (report["data"]["skipped"], report["data"]["skipped_in_evaluation"]) == (3, 3)
    captured = capsys.readouterr()
    printed = captured.out
    told = [row["text"] for row in read_metrics(run / "alerts.jsonl") if row["title"] == "evaluation"]
    assert [line.partition(";")[0] for line in told] == [
        f"{place}: at least 3 of 16 rows cannot be used, and will be skipped"
        for place in ("data.validation.manifest", "evaluation.tasks.manifest")
    ]
    assert all(line in captured.err for line in told)
    for place in (":2 (id 1): messages[0].content[0]", ":3: messages[0].content[0].path", ":8: not JSON"):
        assert f"skipped: {path}{place}" in printed


@pytest.mark.parametrize("missing_token", ["none", "learned"])
def test_a_modality_that_is_always_dropped_never_reaches_the_model(
    missing_token: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trained blind baseline: neither training nor validation nor evaluation opens a picture."""
    seen: list[str] = []
    read = AudioProcessor.__call__
    monkeypatch.setattr(ImageProcessor, "__call__", lambda *arguments: pytest.fail("a picture was read"))
    monkeypatch.setattr(AudioProcessor, "__call__", lambda self, *given: seen.append("sound") or read(self, *given))
    files = [f"data.validation_file={data}", f"data.evaluation={data}", "trainer.evaluate_every=4"]
    dropped = ["data.modality_dropout={image: 1.0}", f"missing_token={missing_token}"]
    run = train(data, *files, *dropped, "trainer.max_steps=4")
    assert seen, "sound is not dropped"
    rows = read_metrics(run / "metrics.jsonl")
    assert [row["step"] for row in rows if "train/loss" in row] == [1, 2, 3, 4]
    assert any("val/accuracy" in row for row in rows)
    report = json.loads((run / "report.json").read_text())
    assert report["tasks"]["manifest"]["accuracy"]["n"] == 16
    assert report["withheld"] == ["image"]
    assert "- the model was trained without image, and never has any" in (run / "report.md").read_text()
    shuffled, same = (report[key]["manifest"]["image_shuffled"] for key in ("audit", "audited_rows"))
    assert shuffled["value"] == same["value"], "whatever picture a row has, the model reads the same"
    resumed = Session.load(run)
    assert "image was withheld from the training" in str(resumed.refusal("image"))
    assert resumed.refusal("audio") is None
    picture = Media("image", data.parent / "1.png")
    assert resumed.answer(picture, Text("?")) == resumed.answer(Absent("image"), Text("?"))


def test_a_bad_sample_stops_and_leaves_what_was_saved(data: Path) -> None:
    (data.parent / "1.png").write_bytes(b"not a picture")
    with pytest.raises(BadSampleError, match=r"manifest\.jsonl:2 \(id 1\): messages\[0\]\.content\[0\]: .*1\.png"):
        train(data, "trainer.checkpoint_every=1")
    run = data.parent.parent / "runs" / "small" / "one"
    steps = [row["step"] for row in read_metrics(run / "metrics.jsonl")]
    assert steps == list(range(1, len(steps) + 1))
    assert steps, "the first batch must be a good one"
    assert verify(resolve(run))["step"] == steps[-1]


def test_a_resume_needs_the_configuration_of_the_run(data: Path) -> None:
    run = train(data, "trainer.max_steps=1")
    (run / "config.yaml").unlink()
    with pytest.raises(BadInputError, match=r"config\.yaml: missing"):
        resumed_run(str(run), [])


@pytest.mark.parametrize("path", ["it's, [é].jsonl", "a\\b: ${x}.jsonl", "3.10"])
def test_a_path_that_a_resume_changes_is_taken_literally(path: str, data: Path) -> None:
    run = train(data, "trainer.max_steps=1")
    _, _, config = resumed_run(str(run), [f"data.train={quoted(path)}", "trainer.max_steps=3", "optimizer.lr=1e-2"])
    assert (config.data.train, config.trainer.max_steps, config.optimizer.lr) == (path, 3, 0.01)
