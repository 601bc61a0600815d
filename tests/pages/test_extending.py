"""docs/extending.md is followed step by step, outside the repository: its files and commands as they stand."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from data.storage.run_log import read_metrics
from fusion.checkpoint import OBJECTIVE, WEIGHTS, read_tensors, read_weights, resolve
from scripts.generate import main as generate
from scripts.train import main
from tests.scripts.in_process import run_command

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = REPOSITORY / "docs" / "extending.md"
# ```language name-of-file
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PACKAGES = "vibration,alternating,linear_attention,turning_rate"


def blocks() -> list[tuple[str, str, str]]:
    """Language, file and content of every block; commands have no file."""
    return BLOCK.findall(PAGE.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder after all files were written and all commands were run in one shell, in the order of the page."""
    folder = tmp_path_factory.mktemp("outside")
    commands = []
    for language, name, content in blocks():
        if name:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(content, encoding="utf-8")
        elif language == "bash":
            commands.append(content)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(commands)],
        cwd=REPOSITORY,
        env=os.environ | {"OUT": str(folder), "PATH": path, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (folder / "printed").write_text(done.stdout, encoding="utf-8")
    return folder


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_page_has_files_and_commands() -> None:
    names = [name for _, name, _ in blocks() if name]
    assert {Path(name).suffix for name in names} == {".py", ".yaml"}
    assert {language for language, name, _ in blocks() if not name} == {"bash"}


@pytest.mark.parametrize("folder", ["certificate", "certificate_mixer"])
def test_the_extension_is_certified(followed: Path, folder: str) -> None:
    certificate = read(followed / folder / "certify.json")
    assert certificate["passed"] is True
    details = " ".join(check["detail"] for check in certificate["checks"])
    assert "vibration-text" in details
    assert "without vibration" in details


@pytest.mark.parametrize("method", ["early", "alternating", "linear", "rate"])
def test_the_extension_learns(followed: Path, method: str) -> None:
    run_folder = followed / "runs" / "vibration" / method
    losses = [row["train/loss"] for row in read_metrics(run_folder / "metrics.jsonl") if "train/loss" in row]
    assert losses[-1] < 0.5 * losses[0]
    report = read(run_folder / "report.json")
    accuracy = report["tasks"]["manifest"]["accuracy"]
    assert accuracy["n"] == 100
    assert accuracy["low"] > 0.6  # a third is chance


def test_a_size_was_found(followed: Path) -> None:
    report = read(followed / "runs" / "vibration" / "alternating" / "report.json")
    assert report["model"]["parameters"] == pytest.approx(150_000, rel=0.02)


def test_layers_have_the_mixers_of_the_list_and_weights_for_each_modality(followed: Path) -> None:
    config = OmegaConf.load(followed / "runs" / "vibration" / "linear" / "config.yaml")
    assert [mixer["_target_"].rpartition(".")[2] for mixer in config.fusion.mixer] == [
        "GatedLinearAttention",
        "SelfAttention",
    ]
    weights = read_weights(resolve(followed / "runs" / "vibration" / "linear"), averaged=False)
    gates = [name for name in weights if name.endswith("mixer.gate.weight")]
    assert gates == [f"fusion.blocks.0.experts.{modality}.mixer.gate.weight" for modality in (0, 1)]


def test_the_head_has_learned_and_stays_out_of_the_model(followed: Path) -> None:
    """Guessing the mean of the rates would be off by more than half a turn."""
    run = followed / "runs" / "vibration" / "rate"
    errors = [row["train/loss/rate/error"] for row in read_metrics(run / "metrics.jsonl") if "train/loss" in row]
    assert errors[-1] < 0.2 * errors[0]
    measured = float(re.findall(r"^rate: off by ([\d.]+) ", (followed / "printed").read_text(), re.MULTILINE)[0])
    assert measured < 0.2
    assert set(read_tensors(resolve(run) / OBJECTIVE)) == {
        f"parts.1.{name}" for name in ("log_variance", "head.weight", "head.bias")
    }
    assert not [name for name in read_weights(resolve(run), averaged=False) if "head" in name]


def test_the_checkpoint_is_rebuilt_outside(followed: Path) -> None:
    first, again = (read(followed / name / "report.json") for name in ("runs/vibration/alternating", "again"))
    assert again["tasks"] == first["tasks"]


@pytest.fixture
def outside(followed: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder, with its packages on the path of this process."""
    monkeypatch.setenv("OUT", str(followed))
    monkeypatch.setenv("INTERFUSE_PACKAGES", PACKAGES)
    monkeypatch.syspath_prepend(followed)
    return followed


def test_the_new_modality_is_asked_about_by_its_name(outside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In any order; in that of the training the model is right about most readings."""
    rows = [json.loads(line) for line in (outside / "readings" / "test.jsonl").read_text().splitlines()[:10]]
    checkpoint, right = f"checkpoint={outside}/runs/vibration/alternating", 0
    for row in rows:
        reading = f"vibration={outside}/readings/{row['messages'][0]['content'][0]['path']}"
        assert run_command(generate, [checkpoint, reading, "text=how does it turn?"]) == 0
        right += capsys.readouterr().out.strip() == row["messages"][1]["content"][0]["text"]
    assert right >= 8
    assert (outside / "explanation.png").is_file()


def test_the_objective_goes_on_to_the_bit(outside: Path) -> None:
    """A run without its last checkpoint is resumed from the one before."""
    runs = outside / "resumed" / "vibration"
    options = [f"hydra.searchpath=[file://{outside}/conf]", "experiment=vibration", "objective=next_token_rate"]
    options += ["d_model=32", "trainer.max_steps=4", "trainer.checkpoint_every=2", "evaluation=null"]
    assert run_command(main, [*options, f"runs={outside}/resumed", "run=whole"]) == 0
    shutil.copytree(runs / "whole", runs / "broken")
    shutil.rmtree(runs / "broken" / "checkpoints" / "step_4")
    assert run_command(main, [f"resume={runs}/broken"]) == 0
    for name in (WEIGHTS, OBJECTIVE):
        one, other = (read_tensors(resolve(runs / run) / name) for run in ("whole", "broken"))
        assert one
        assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("vibratoin={}/readings/test-0.txt", "the nearest valid name is vibration"),
        ("vibration={}/readings/gone.txt", "gone.txt: no such file"),
        ("vibration={}/vibration.py", "vibration.py: not readings"),
        ("image={}/explanation.png", "the checkpoint has no encoder of 'image' (it has: vibration)"),
    ],
)
def test_what_cannot_be_asked_about_ends_in_one_line(
    typed: str, message: str, outside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = f"checkpoint={outside}/runs/vibration/alternating"
    assert run_command(generate, [checkpoint, typed.format(outside), "text=how does it turn?"]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ")
    assert printed.count("\n") == 1
    assert message in printed


@pytest.mark.parametrize(
    ("overrides", "packages", "message"),
    [
        ([], "", "; if vibration is yours, set INTERFUSE_PACKAGES=vibration"),
        (["fusion=alternatin"], PACKAGES, "fusion=alternatin: no such choice; the nearest is alternating"),
        (
            ["encoders.vibration.patsh=8"],
            PACKAGES,
            "encoders.vibration.patsh: no such option; the nearest valid name is",
        ),
        (["~encoders/vibration"], PACKAGES, "modality 'vibration', for which the model has no encoder (it has: none)"),
        (["data.processors.vibration=null"], PACKAGES, "media of modality 'vibration' need data.processors.vibration"),
        (
            ["projector=qformer", "projector.num_heads=5"],
            PACKAGES,
            "num_heads=5 of the projector must divide d_model=64",
        ),
        (["mixer=linear_attention", "mixer.d_key=0"], PACKAGES, "d_key=0 must be 1 or more"),
        (["target.flops=1"], PACKAGES, "target.flops=1 cannot be met within 2%: the nearest is"),
        (
            ["target.flops=1e9", "target.parameters=1e6"],
            PACKAGES,
            "target: only one of flops, fusion_flops, parameters may be given",
        ),
    ],
)
def test_mistakes_end_in_one_line_before_training(
    followed: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    overrides: list[str],
    packages: str,
    message: str,
) -> None:
    options = [
        f"hydra.searchpath=[file://{followed}/conf]",
        "experiment=vibration",
        f"runs={followed}/refused",
        *overrides,
    ]
    monkeypatch.setattr(sys, "argv", ["train.py", *options])
    monkeypatch.setenv("OUT", str(followed))
    monkeypatch.setenv("INTERFUSE_PACKAGES", packages)
    monkeypatch.syspath_prepend(followed)
    threads = torch.get_num_threads()
    with pytest.raises(SystemExit) as ended:
        main()
    torch.set_num_threads(threads)
    printed = capsys.readouterr().err
    assert ended.value.code == 2
    assert printed.splitlines()[-1].startswith("error: ")
    assert printed.count("error: ") == 1
    assert message in printed
    assert not (followed / "refused").exists()
