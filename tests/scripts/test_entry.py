"""Commands as a user runs them: in a process of its own, right and wrong, on a small configuration."""

from __future__ import annotations

import importlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from tests.scripts.in_process import run_command

REPOSITORY = Path(__file__).resolve().parents[2]
COMMANDS = sorted(path.stem for path in (REPOSITORY / "scripts").glob("*.py") if "\n@entry_point(" in path.read_text())
CONFIG = {
    "work.yaml": """
defaults: [hydra_defaults, {fusion: early}, {trainer: default}, {tracker: [local]}, _self_, {experiment: null}]
seed: 0
folder: ???
hydra: {help: {header: "Trains.", footer: "Examples: none"}}
""",
    "fusion/early.yaml": "num_layers: 3\nnum_heads: 4\n",
    "fusion/late.yaml": "num_layers: 4\nnum_heads: 2\n",
    "trainer/default.yaml": "lr: 0.1\nlog_every: 10\nwhere: ${folder}\n",
    "tracker/local.yaml": "# @package tracker.local\nx: 1\n",
    "tracker/far.yaml": "# @package tracker.far\nx: 1\n",
    "experiment/good.yaml": "# @package _global_\nseed: 5\n",
    "experiment/broken.yaml": "# @package _global_\nseed: [5\n",
}
SCRIPT = """
import conf  # of this folder: from the next line on the project's own would come first

from scripts.entry import entry_point


class Part:
    def __init__(self, lr):
        if lr > 1:
            raise ValueError(f"lr={lr} must not be above 1")


def what(config):
    if config.seed == 1:
        from data.types import BadInputError
        raise BadInputError("train.jsonl:12: field 'messages'\\n  is missing")
    if config.seed == 2:
        raise KeyError("a bug")
    if config.seed == 3:
        with open("/dev/full", "w") as file:
            file.write("x")
    if config.seed == 4:
        raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")
    if config.seed == 6:
        import time
        print("ready", flush=True)
        time.sleep(60)
    if config.seed == 7:
        print(config.trainer.where)
    if config.seed == 8:
        int("a bug too")


@entry_point("work")
def main(config):
    Part(config.trainer.lr)
    what(config)
    print("ran", config.seed, config.fusion.num_layers, sorted(config.get("tracker") or {}))


if __name__ == "__main__":
    main()
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose `conf` package comes before ours on the path."""
    folder = tmp_path_factory.mktemp("project")
    for name, content in CONFIG.items():
        path = folder / "conf" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    shutil.copy(REPOSITORY / "conf" / "hydra_defaults.yaml", folder / "conf")
    (folder / "conf" / "__init__.py").touch()
    (folder / "work.py").write_text(SCRIPT)
    return folder


def command(project: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(project), str(REPOSITORY)])
    return subprocess.run(
        [sys.executable, "work.py", *arguments],
        cwd=project,
        env=os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", "HYDRA_FULL_ERROR": "0"} | environment,
        capture_output=True,
        text=True,
        timeout=180,
    )


def test_a_command_runs_and_leaves_nothing_behind(project: Path) -> None:
    before = sorted(path.name for path in project.iterdir())
    done = command(project, "experiment=good", "tracker=[local,far]", "fusion=late")
    assert (done.returncode, done.stdout, done.stderr) == (0, "ran 5 4 ['far', 'local']\n", "")
    assert sorted(path.name for path in project.iterdir()) == before


@pytest.mark.parametrize(
    "arguments",
    [["-m", "fusion=early,late", "seed=5", "tracker=[]"], ["fusion=early,late", "-m", "seed=5", "tracker=[]"]],
    ids=["flag first", "flag between"],
)
def test_a_sweep_runs_every_value(project: Path, arguments: list[str]) -> None:
    done = command(project, *arguments)
    assert done.returncode == 0
    assert [line for line in done.stdout.splitlines() if line.startswith("ran")] == ["ran 5 3 []", "ran 5 4 []"]
    assert not list(project.glob("*.log"))


WRONG = {
    "trainer.lrr=3": "trainer.lrr: no such option; the nearest valid name is trainer.lr",
    "lr=3": "lr: no such option; the nearest valid name is trainer.lr",
    "trainr.log_every=3": "trainr.log_every: no such option; the nearest valid name is trainer.log_every",
    "fusio=early": "fusio: no such option; the nearest valid name is fusion",
    "experimen=good": "experimen: no such option; the nearest valid name is experiment",
    "tracker.far.x=2": "tracker.far.x: no such option before far is chosen, in the list tracker=[far,..]",
    "~sead": "sead: no such option; the nearest valid name is seed",
    "experiment=goood": "experiment=goood: no such choice; the nearest is good, all are broken, good",
    "tracker=[locl]": "tracker=locl: no such choice; the nearest is local, all are far, local",
    "experiment=broken": "experiment/broken.yaml:3: not valid YAML: ",
    "trainer.lr": "trainer.lr: cannot be read as name=value (missing EQUAL at '<EOF>')",
    "trainer.lr=[1": "trainer.lr=[1: cannot be read as name=value (",
    "seed=1,2": "Ambiguous value for argument 'seed=1,2'",
    "--epochs=3": "--epochs=3: no such flag; options are given as name=value, see --help",
    "--cfg=jobs": "argument --cfg/-c: invalid choice: 'jobs'",
    "seed=\udcff": "seed=\\udcff: holds bytes that are not UTF-8",
    "seed=1": "train.jsonl:12: field 'messages' is missing",
    "seed=4": "No space left on device; what was written before is untouched",
    "seed=7": "folder: has no value; give folder=VALUE",
    "trainer.lr=2": "lr=2 must not be above 1",
}


@pytest.mark.parametrize("argument", WRONG)
def test_bad_input_is_one_clear_line(project: Path, argument: str) -> None:
    done = command(project, argument)
    assert done.stdout == ""
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert WRONG[argument] in done.stderr
    assert done.stderr.count("\n") == 1
    assert len(done.stderr) < 400


def test_bad_input_stops_a_sweep(project: Path) -> None:
    done = command(project, "-m", "trainer.lr=0.5,2,0.6")
    assert done.returncode == 2
    assert done.stdout.count("ran 0") == 1
    assert done.stderr == "error: lr=2 must not be above 1\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_one_clear_line(project: Path) -> None:
    done = command(project, "seed=3")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "No space left on device" in done.stderr


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("seed=2", "KeyError: 'a bug'"),
        ("seed=8", "ValueError: invalid literal for int() with base 10: 'a bug too'"),
    ],
)
def test_a_bug_is_one_line_and_no_refusal(project: Path, argument: str, expected: str) -> None:
    done = command(project, argument)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"error: unexpected {expected}; HYDRA_FULL_ERROR=1 shows where\n"


@pytest.mark.parametrize(("argument", "expected"), [("trainer.lr=2", "in __init__"), ("seed=2", "KeyError: 'a bug'")])
def test_the_traceback_can_be_asked_for(project: Path, argument: str, expected: str) -> None:
    done = command(project, argument, HYDRA_FULL_ERROR="1")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert expected in done.stderr


def test_ctrl_c_is_no_error(project: Path) -> None:
    path = os.pathsep.join([str(project), str(REPOSITORY)])
    running = subprocess.Popen(
        [sys.executable, "work.py", "seed=6"],
        cwd=project,
        env=os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert running.stdout is not None
    assert running.stdout.readline() == "ready\n"
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=180)
    assert (running.returncode, errors) == (130, "interrupted\n")


def test_help_lists_options_and_choices(project: Path) -> None:
    done = command(project, "--help")
    assert done.returncode == 0
    for expected in ("Trains.", "lr: 0.1", "fusion: early, late\n", "tracker: far, local\n", "Examples: none"):
        assert expected in done.stdout
    assert "Powered by" not in done.stdout


@pytest.mark.parametrize("script", COMMANDS)
def test_help_of_every_script_comes_without_torch(script: str, tmp_path: Path) -> None:
    """Heavy imports would make --help and completion wait. It is the project's own, whatever lies on PYTHONPATH."""
    for name in ("scripts", "conf"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('on PYTHONPATH')\n")
    program = (
        f"import runpy, sys; sys.argv = ['{script}.py', '--help']; sys.path[0] = 'scripts'\n"
        f"try: runpy.run_path('scripts/{script}.py', run_name='__main__')\n"
        "except SystemExit as done: assert not done.code\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "Examples:" in done.stdout


USED = {
    "train": ({"fusion", "tracker", "experiment", "encoders/sentence", "fine_tuning", "evaluation"}, {"source"}),
    "compare": ({"experiment/bakeoff", "tracker"}, {"experiment", "fusion", "data"}),
    "evaluate": ({"evaluation", "evaluation/robustness"}, {"experiment", "tracker", "fusion"}),
    "prepare_data": ({"source"}, {"data", "fusion", "tracker"}),
}


@pytest.mark.parametrize("script", USED)
def test_help_lists_the_groups_that_a_script_uses(script: str, capsys: pytest.CaptureFixture[str]) -> None:
    used, others = USED[script]
    main = importlib.import_module(f"scripts.{script}").main
    assert run_command(main, ["--help"]) == 0
    page = capsys.readouterr().out
    listed = {line.partition(":")[0] for line in page.partition("Groups and their choices")[2].splitlines()}
    assert used <= listed
    assert not others & listed
    assert not {line for line in page.splitlines() if line.startswith("experiment:") and "bakeoff" in line}


def test_help_of_a_script_without_groups_speaks_of_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(importlib.import_module("scripts.generate").main, ["--help"]) == 0
    page = capsys.readouterr().out
    assert "Groups" not in page
    assert "temperature: 0.0" in page


def test_groups_of_a_folder_of_one_s_own_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "encoders" / "vibration").mkdir(parents=True)
    (tmp_path / "encoders" / "vibration" / "patches.yaml").write_text("_target_: vibration.Encoder\n")
    (tmp_path / "experiment").mkdir()
    text = "# @package _global_\ndefaults: [/encoders/vibration: patches]\nname: vibration\n"
    (tmp_path / "experiment" / "vibration.yaml").write_text(text)
    main = importlib.import_module("scripts.train").main
    assert run_command(main, [f"hydra.searchpath=[file://{tmp_path}]", "--help"]) == 0
    page = capsys.readouterr().out
    assert "encoders/vibration: patches\n" in page
    assert ", vibration\n" in page.partition("\nexperiment: ")[2]


@pytest.mark.parametrize("typed", ["name=été", "seed=it's", "name=~/x"])
def test_a_value_that_needs_quotes_is_given_them(typed: str, capsys: pytest.CaptureFixture[str]) -> None:
    value = typed.partition("=")[2]
    assert run_command(importlib.import_module("scripts.train").main, [typed]) == 2
    said = capsys.readouterr().err.removeprefix(f"error: {typed}: has characters that need quotes of their own: ")
    (argument,) = shlex.split(said)
    assert OverridesParser.create().parse_override(argument).value() == value


def test_the_scripts_folder_hides_no_package(tmp_path: Path) -> None:
    program = "import scripts.entry, certify; print(hasattr(certify, '__path__'))"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(REPOSITORY / "scripts"), str(REPOSITORY)])}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stdout == "True\n", done.stderr
