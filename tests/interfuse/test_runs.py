"""Trainings and evaluations from Python: the same as by the commands, any number of times, from any folder."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

import interfuse
from certify.small_data import write_small_data
from interfuse import runs
from scripts.train import main
from tests.interfuse.small import SMALL
from tests.scripts.in_process import run_command
from training.runs.interruption import TrainingInterrupted

TRAIN = [*SMALL, "data.train=my data/manifest.jsonl", "trainer.max_steps=2", "evaluation.bootstrap.resamples=1000"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, outside of the repository, with a manifest in a folder whose name holds a space."""
    write_small_data(tmp_path / "my data", ("image",))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def losses(run: interfuse.Run) -> list[float]:
    return [row["train/loss"] for row in run.metrics if "train/loss" in row]


def test_it_is_the_training_of_the_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = [*TRAIN, "data.evaluation=my data/manifest.jsonl"]
    run = interfuse.train([*options, "run=python"])
    assert "run folder: runs/small/python" in capsys.readouterr().out
    threads = torch.get_num_threads()
    assert run_command(main, [*options, "run=shell"]) == 0
    torch.set_num_threads(threads)
    shell = interfuse.Run(Path("runs/small/shell"))
    assert run.path == Path("runs/small/python")
    assert losses(run) == losses(shell) != []
    assert run.report is not None
    assert shell.report is not None
    assert run.report["tasks"] == shell.report["tasks"] != {}
    commands = [json.loads((item.path / "environment.json").read_text())["command"] for item in (run, shell)]
    assert commands == [shlex.join(["train.py", *options, f"run={name}"]) for name in ("python", "shell")]


def test_it_can_be_called_again_and_leaves_the_process_as_it_was(folder: Path) -> None:
    threads, argv = torch.get_num_threads(), list(sys.argv)
    torch.set_num_threads(2)
    with initialize_config_module("conf", version_base="1.3"):  # Hydra in other hands
        first, second = interfuse.train(TRAIN), interfuse.train(TRAIN)
        assert compose("generate", ["checkpoint=x"]).checkpoint == "x"
    assert torch.get_num_threads() == 2
    torch.set_num_threads(threads)
    assert first.path != second.path
    assert losses(first) == losses(second)
    assert first.report is None
    assert (sys.argv, HydraConfig.instance().cfg, GlobalHydra.instance().is_initialized()) == (argv, None, False)


def test_a_run_is_resumed_evaluated_and_loaded(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = interfuse.train(TRAIN)
    assert interfuse.train([f"resume={run.path}", "trainer.max_steps=4"]).path == run.path.absolute()
    assert [row["step"] for row in run.metrics if "train/loss" in row] == [1, 2, 3, 4]
    options = ["evaluation=manifest", "data.evaluation=my data/manifest.jsonl", "output=re port"]
    evaluated = interfuse.evaluate(run, options)
    assert "report: re port/report.md" in capsys.readouterr().out
    assert evaluated.folder == Path("re port")
    assert evaluated.report["tasks"].keys() == {"manifest"}
    with pytest.raises(interfuse.BadInputError, match=r"output=re port: holds report\.json already"):
        interfuse.evaluate(run, options)
    assert isinstance(interfuse.load(run).answer(text="say red", max_new_tokens=2), str)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["trainer.max_step=3"], "trainer.max_step: no such option; the nearest valid name is trainer.max_steps"),
        (["fusion=lte"], "fusion=lte: no such choice; the nearest is late"),
        (["trainer.max_steps=many"], "trainer.max_steps=many: must be a whole number"),
        (["--help"], "--help: cannot be read as name=value"),
        (["data=manifest"], "data.train: must be given"),
        (["data=manifest", "data.train=gone.jsonl"], "gone.jsonl"),
        (["resume=gone"], "checkpoint gone does not exist"),
    ],
)
def test_what_cannot_be_trained_is_one_line(options: list[str], expected: str, folder: Path) -> None:
    with pytest.raises(interfuse.BadInputError) as refused:
        interfuse.train([*options, "tracker=[]"])
    assert expected in str(refused.value)
    assert "\n" not in str(refused.value)
    assert refused.value.__cause__ is None, "a notebook would print what Hydra says too"
    assert not (folder / "runs").exists()
    assert HydraConfig.instance().cfg is None


def test_a_bug_is_no_bad_input(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr("training.run.train", broken)
    with pytest.raises(KeyError, match="a bug"):
        interfuse.train(TRAIN)


def test_options_are_a_list() -> None:
    with pytest.raises(TypeError, match=r"overrides='experiment=easy_vqa' must be a list"):
        interfuse.train("experiment=easy_vqa")


def test_an_interruption_does_not_end_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: object) -> None:
        raise TrainingInterrupted(2, "stopped after step 3; go on with resume=RUN")

    monkeypatch.setattr(runs.train_command, "run", interrupted)
    with pytest.raises(KeyboardInterrupt, match="resume=RUN"):
        interfuse.train([])


def test_manifests_are_checked(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = folder / "my data" / "manifest.jsonl"
    test = train.with_name("test.jsonl")
    test.write_text(train.read_text().splitlines()[0] + "\n")
    report = interfuse.check(train, test, output=folder / "checked")
    assert report["leaks"] == 1
    assert (folder / "checked" / "report.md").is_file()
    assert "leaks: 1" in capsys.readouterr().out
    with pytest.raises(interfuse.BadInputError, match=r"gone\.jsonl: no such file"):
        interfuse.check("gone.jsonl")
