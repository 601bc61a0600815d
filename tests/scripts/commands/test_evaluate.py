"""The command that evaluates: what it prints, and what it refuses."""

import json
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from data.types import BadInputError
from scripts.evaluate import main
from tests.evaluation.colours import parts
from tests.evaluation.saved_run import EVALUATION, save_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("runs") / "colours" / "first"
    model, tokenizer, _ = parts()
    save_run(folder, model, tokenizer)
    return folder


def evaluate(*overrides: str, evaluation: dict | None = None) -> None:
    with initialize_config_module("conf", version_base="1.3"):
        config = compose("evaluate", list(overrides))
    OmegaConf.set_struct(config, False)
    if evaluation is not None:
        config.evaluation = evaluation
    main.__wrapped__(config)


def test_it_prints_the_table_and_where_the_report_is(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate(f"checkpoint={run}", "device=cpu", evaluation=EVALUATION)
    printed = capsys.readouterr().out
    for expected in ("typed", "spoken", "model", "no", "image", f"{run}/report.md"):
        assert expected in printed
    assert (run / "report.json").is_file()


def test_options_of_the_command_line_are_used(run: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    evaluate(f"checkpoint={run}", f"output={tmp_path}", "device=cpu")
    assert "easy_vqa" in report.read_text(encoding="utf-8"), "without a choice: what the checkpoint was trained with"
    assert (tmp_path / "report.md").is_file()


@pytest.mark.parametrize("name", ["easy_vqa", "manifest"])
def test_every_choice_is_a_valid_configuration(name: str, tmp_path: Path) -> None:
    from evaluation.settings import has_tasks

    with initialize_config_module("conf", version_base="1.3"):
        config = compose("evaluate", ["checkpoint=x", f"evaluation={name}", f"data.evaluation={tmp_path}/a.jsonl"])
    assert has_tasks(config.evaluation)


def test_a_file_alone_is_what_is_evaluated(run: Path, tmp_path: Path) -> None:
    """It was ignored, and the table was that of the questions of the training."""
    rows = [{"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]}] * 3
    file, output = tmp_path / "mine.jsonl", tmp_path / "mine"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    evaluate(f"checkpoint={run}", f"data.evaluation={file}", f"output={output}", "device=cpu")
    report = json.loads((output / "report.json").read_text(encoding="utf-8"))
    assert {name: found["accuracy"]["n"] for name, found in report["tasks"].items()} == {"manifest": 3}
    with pytest.raises(BadInputError, match=r"^output=.*: holds report\.json already"):
        evaluate(f"checkpoint={run}", f"data.evaluation={file}", f"output={output}", "device=cpu")
    with pytest.raises(BadInputError, match=r"data\.evaluation=.* is not read by"):
        evaluate(f"checkpoint={run}", f"data.evaluation={file}", "evaluation=easy_vqa", "device=cpu")


def test_a_manifest_without_a_file_is_named(run: Path) -> None:
    with pytest.raises(BadInputError, match="names no tasks"):
        evaluate(f"checkpoint={run}", "evaluation=manifest")


def test_a_damaged_checkpoint_is_named(run: Path, tmp_path: Path) -> None:
    import shutil

    copied = tmp_path / "copy"
    shutil.copytree(run, copied)
    weights = copied / "checkpoints" / "step_20" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(BadInputError, match=r"model\.safetensors: truncated"):
        evaluate(f"checkpoint={copied}", evaluation=EVALUATION)


def test_a_file_for_built_in_data_is_told_where_it_belongs() -> None:
    from scripts.error_lines import _unknown_option

    line = _unknown_option("data.evaluation", "train", ["data=easy_vqa", "data.evaluation=F"])
    told = "evaluate.py checkpoint=RUN data.evaluation=FILE asks a run"
    assert line == f"data.evaluation: no such option without data=manifest; {told}"
    assert "nearest" in _unknown_option("data.evaluatoin", "train", ["data=manifest", "data.evaluatoin=F"])


def test_several_checkpoints_are_an_ensemble(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = main.run([f"checkpoint=[{run},{run}/checkpoints/step_20]", f"output={tmp_path / 'both'}", "device=cpu"])
    assert [member["step"] for member in found.report["ensemble"]["members"]] == [20, 20]
    assert f"{tmp_path}/both/report.md" in capsys.readouterr().out
    with pytest.raises(BadInputError, match=r"^checkpoint=\[\]: names no run"):
        main.run(["checkpoint=[]", f"output={tmp_path / 'none'}"])
