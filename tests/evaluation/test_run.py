"""From a checkpoint on disk to a report on disk."""

import copy
import hashlib
import json
import shutil
import sys
from pathlib import Path

import pytest
import torch

from data.batching.interleave import Interleaver
from data.tokenizer import Tokenizer
from data.types import BadInputError
from evaluation.run import evaluate_checkpoint
from evaluation.scoring import evaluate
from evaluation.settings import build_settings, has_tasks
from fusion.model import FusionModel
from tests.evaluation.saved_run import EVALUATION, SETTINGS, TYPED, config, save_run

Parts = tuple[FusionModel, Tokenizer, Interleaver]


@pytest.fixture(scope="module")
def run(trained: Parts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with an early checkpoint of another model, and a late one of the trained model."""
    model, tokenizer, _ = trained
    folder = tmp_path_factory.mktemp("runs") / "colours" / "first"
    early = copy.deepcopy(model)
    with torch.no_grad():
        early.norm.weight.mul_(-1)
    save_run(folder, early, tokenizer, step=10)
    save_run(folder, model, tokenizer, step=20)
    return folder


def test_a_run_is_evaluated_into_its_folder(run: Path, trained: Parts) -> None:
    (run / "summary.json").write_text('{"flops/training": 3e8}', encoding="utf-8")
    evaluated = evaluate_checkpoint(run, EVALUATION, progress=False)
    report = evaluated.report
    assert evaluated.folder.resolve() == run.resolve()
    assert json.loads((run / "report.json").read_text(encoding="utf-8")) == report
    in_memory = evaluate(*trained, build_settings(EVALUATION), progress=False)
    for key in ("tasks", "breakdown", "audit", "confusion"):
        assert report[key] == in_memory[key]
    flops = in_memory["model"]["flops"]
    assert flops["inference"] == sum(flops["by_part"].values()) > 0
    assert report["model"] == in_memory["model"] | {"flops": flops | {"training": 3e8}}
    assert report["tasks"]["typed"]["accuracy"]["value"] == 1
    assert report["train"] == {"seconds": 10.0, "steps": 20, "tokens": 2000}
    assert report["data"] == in_memory["data"] | {"skipped": 3}
    assert report["data"]["skipped_in_evaluation"] == 0
    origin = report["provenance"]
    assert origin["run"] == "colours/first"
    assert origin["checkpoint"] == "checkpoints/step_20"
    assert origin["seed"] == 0
    assert origin["tokenizer_hash"] == trained[1].fingerprint
    assert origin["trained_on"] == {"commit": "abc", "processor": "a processor", "cores": 2}
    assert {"config_hash", "experiment_hash", "data_hash", "versions", "machine", "evaluation_seconds"} <= set(origin)
    assert (run / "figures" / "training.png").is_file()
    assert report["inference"]["seconds_per_sample"] > 0
    assert report["inference"]["batch"] == EVALUATION["batch_size"]
    each = f"{1000 * report['inference']['seconds_per_sample']:,.3g} ms a question"
    assert each in (run / "report.md").read_text(encoding="utf-8")


def test_an_older_step_reports_beside_the_newest(run: Path) -> None:
    evaluate_checkpoint(run, EVALUATION, progress=False)
    newest = (run / "report.json").read_bytes()
    evaluated = evaluate_checkpoint(run / "checkpoints" / "step_10", EVALUATION, progress=False)
    assert evaluated.folder.resolve() == (run / "evaluations" / "step_10").resolve()
    assert evaluated.report["train"]["steps"] == 10
    assert evaluated.report["train"]["seconds"] == 5.0
    assert (run / "report.json").read_bytes() == newest


def test_a_training_that_went_on_reports_where_it_did_before(run: Path, tmp_path: Path) -> None:
    """Also where its best checkpoint is not its newest one; the earlier report moves aside."""
    copied = tmp_path / "colours" / "first"
    shutil.copytree(run / "checkpoints", copied / "checkpoints")
    shutil.copy(run / "metrics.jsonl", copied)
    for step in (10, 20):
        asked = copied / "checkpoints" / f"step_{step}"
        evaluated = evaluate_checkpoint(asked, EVALUATION, progress=False, in_run_folder=True)
        assert evaluated.folder.resolve() == copied.resolve()
        assert json.loads((copied / "report.json").read_text())["train"]["steps"] == step
    assert json.loads((copied / "evaluations" / "step_10" / "report.json").read_text())["train"]["steps"] == 10


def test_the_stored_evaluation_is_the_default(run: Path, tmp_path: Path) -> None:
    evaluated = evaluate_checkpoint(run, output=tmp_path / "here", progress=False)
    assert evaluated.folder == tmp_path / "here"
    assert list(evaluated.report["tasks"]) == ["easy_vqa"]
    assert evaluated.report["tasks"]["easy_vqa"]["accuracy"]["n"] == 6
    assert "<" in "".join(evaluated.report["breakdown"]["easy_vqa"]["template"])
    assert "prior" in evaluated.report["omitted"]["easy_vqa"]["majority"]


def test_refusals_come_before_any_question_is_asked(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate_checkpoint(run, EVALUATION, progress=False)
    monkeypatch.setattr("evaluation.run.evaluate", pytest.fail)
    with pytest.raises(BadInputError, match=r"report on other tasks \(typed, spoken\)"):
        evaluate_checkpoint(run, progress=False)
    with pytest.raises(BadInputError, match="other files or settings"):
        evaluate_checkpoint(run, EVALUATION | {"max_new_tokens": 5}, progress=False)
    with pytest.raises(BadInputError, match=r"output=.*holds report.json already"):
        evaluate_checkpoint(run, EVALUATION, output=run, progress=False)
    with pytest.raises(BadInputError, match=r"which=best: no checkpoint of .* has a score, .*leave which out"):
        evaluate_checkpoint(run, EVALUATION, output=tmp_path, which="best", progress=False)
    with pytest.raises(BadInputError, match=r"which=best: .*step_10 is a single checkpoint already"):
        evaluate_checkpoint(run / "checkpoints" / "step_10", EVALUATION, which="best", progress=False)
    with pytest.raises(BadInputError, match="names no tasks"):
        evaluate_checkpoint(run, SETTINGS | {"tasks": {}}, output=tmp_path, progress=False)
    with pytest.raises(BadInputError, match="batch_size=0"):
        evaluate_checkpoint(run, EVALUATION | {"batch_size": 0}, output=tmp_path, progress=False)
    with pytest.raises(BadInputError, match="device=tpu9 is not there; this machine has"):
        evaluate_checkpoint(run, EVALUATION, output=tmp_path, device="tpu9", progress=False)
    with pytest.raises(BadInputError, match="no_run"):
        evaluate_checkpoint(tmp_path / "no_run", EVALUATION, progress=False)


def test_a_checkpoint_that_never_read_a_conversation_is_not_asked_for_answers(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pairs"
    shutil.copytree(run / "checkpoints" / "step_20", folder / "checkpoints" / "step_20")
    path = folder / "checkpoints" / "step_20"
    for objective, message in (
        ("contrastive.InfoNCE", "cannot answer, for its objective"),
        ("next_token.NextToken", ""),
    ):
        stored = config() | {"objective": {"_target_": f"training.objectives.{objective}"}}
        (path / "config.yaml").write_text(json.dumps(stored), encoding="utf-8")
        manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
        content = (path / "config.yaml").read_bytes()
        manifest["files"]["config.yaml"] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        (path / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
        given = EVALUATION | {"tasks": {"typed": TYPED}}
        if message:
            with pytest.raises(BadInputError, match=message):
                evaluate_checkpoint(folder, given, progress=False)
        else:
            evaluate_checkpoint(folder, given, progress=False)


def test_seeds_share_the_experiment_hash_only(run: Path) -> None:
    from evaluation.provenance import config_hashes

    zero, one = config_hashes(config(0)), config_hashes(config(1))
    assert zero["experiment_hash"] == one["experiment_hash"]
    assert zero["config_hash"] != one["config_hash"]
    other = config_hashes(config(0) | {"d_model": 64})
    assert other["experiment_hash"] != zero["experiment_hash"]


def test_sources_whose_file_was_not_given_are_left_out() -> None:
    missing = {"_target_": "data.sources.manifest.ManifestSource", "path": None}
    assert not has_tasks({"tasks": {"manifest": missing}})
    assert not has_tasks(None)
    assert has_tasks(EVALUATION)
    settings = build_settings(EVALUATION | {"tasks": {"typed": TYPED, "manifest": missing}, "prior": missing})
    assert list(settings.tasks) == ["typed"]
    assert settings.prior is None


def test_an_optional_task_that_is_not_installed_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "piper", None)
    spoken = {
        "_target_": "data.sources.easy_vqa.EasyVqaQuestions",
        "split": "test",
        "questions": "spoken",
        "family": "piper",
    }
    settings = build_settings(EVALUATION | {"tasks": {"typed": TYPED, "spoken": spoken | {"optional": True}}})
    assert list(settings.tasks) == ["typed"]
    with pytest.raises(BadInputError, match=r"^evaluation\.tasks\.spoken: speech of Piper needs its packages"):
        build_settings(EVALUATION | {"tasks": {"typed": TYPED, "spoken": spoken}})
