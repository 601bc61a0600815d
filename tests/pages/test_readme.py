"""Every command, row and block of Python of README.md and of the pages on usage and data is tried, found by reading.

Commands run as they stand in a folder with made-up files of the names that they use; only amounts are cut down, by
options behind those of the example.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import redirect_stderr
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

import interfuse
from bakeoff.prepare import configuration
from bakeoff.trainings.execute import Runner
from bakeoff.trainings.trials import Trial
from certify import suite
from certify.checks.resume_checks import resumed_equals_unbroken
from certify.small_data import write_small_data
from data.sources.messages import parse_row
from data.synthesisers import espeak
from data.synthesisers.base import Synthesiser
from data.synthesisers.flite import FliteVoices
from data.synthesisers.piper import PiperVoices
from data.types import NotInstalledError
from scripts.error_lines import CONF
from tests.data.emoji_packages import fill_cache
from tests.evaluation.retrieval.random_vectors import write_vectors
from tests.pages.examples import REPOSITORY, Example, examples, json_blocks, python_blocks, read
from tests.pages.examples import files as written
from tests.pages.small_examples import small
from tests.scripts.in_process import run_command

PAGES = ("README.md", "docs/usage.md", "docs/data.md", "docs/data_reference.md")
# A command that stands on several pages is run once.
EXAMPLES = list({example.words: example for page in reversed(PAGES) for example in examples(page)}.values())
# That of a docstring is indented.
OF_PACKAGE = [textwrap.dedent("\n".join(re.findall("^(?: {4}.*)?$", interfuse.__doc__ or "", re.MULTILINE)))]
PYTHON = [block for page in PAGES for block in python_blocks(read(page))] + OF_PACKAGE
# What stands for the rest of a command.
REST = {"train.py": ["data.train=train.jsonl", "data.validation_file=validation.jsonl", "data.evaluation=test.jsonl"]}
# What experiments on files of one's own are trained on.
OWN_PAIRS = {"pairs_pretrained": ["data.train=pairs.jsonl", "data.evaluation=test_pairs.jsonl"]}
PACKAGE_MISSING = "pip install 'interfuse["
REFUSED, INTERRUPTED = 2, 130
EXPORTED = "exported/emoji"  # written by one example, read by others
ROWS = {"messages": ("train", "validation", "test"), "aligned": ("pairs", "validation_pairs", "test_pairs")}
NUM_ROWS = 12  # of a manifest

# In a process of its own no voices are left out, so that it does without any.
SILENT = [
    *("data.sources.easy_vqa.source.spoken=0", "data.validation=null", "evaluation.tasks=null"),
    "trainer.best_metric=null",
]


@pytest.fixture(scope="module", autouse=True)
def small_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Speech of one voice of one family and packages of a few emoji, made for these tests and shared by them."""
    variants = espeak.variants

    def not_here(_: Synthesiser) -> None:
        raise NotInstalledError("left out: it takes longer to speak than all examples to run")

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INTERFUSE_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(espeak, "variants", lambda split: variants(split)[:1])
        for family in (FliteVoices, PiperVoices):
            patch.setattr(family, "check_installed", not_here)
        fill_cache()
        yield


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with manifests, a picture and a sound of one's own, as the examples call them."""
    folder = tmp_path_factory.mktemp("files")
    for kind, names in ROWS.items():
        rows = write_small_data(folder / kind, ("image", "audio"), kind, NUM_ROWS * len(names)).read_text()
        lines = rows.replace('"path": "', f'"path": "{kind}/').splitlines(keepends=True)
        for place, name in enumerate(names):
            (folder / f"{name}.jsonl").write_text("".join(lines[place * NUM_ROWS : (place + 1) * NUM_ROWS]))
    lines = (folder / "test.jsonl").read_text().splitlines(keepends=True)
    (folder / "pictures.jsonl").write_text("".join(line for line in lines if "png" in line and "wav" not in line))
    for name in ROWS["messages"]:
        write_vectors(folder / "matching", name, width=128)
    for name, content in written(read("docs/usage.md")).items():
        (folder / name).write_text(content)
    shutil.copy(next((folder / "messages").glob("*.png")), folder / "shape.png")
    shutil.copy(next((folder / "messages").glob("*.wav")), folder / "question.wav")
    return folder


def trained(folder: Path, name: str, arguments: Iterable[str]) -> Path:
    """The folder of a run called RUN of the experiment `name`, after two tiny steps and an evaluation."""
    words = ["python", "scripts/train.py", *arguments, f"name={name}", "run=RUN", f"runs={folder / 'runs'}"]
    succeeds(words, folder)
    return folder / "runs" / name / "RUN"


@pytest.fixture(scope="module")
def runs(files: Path) -> dict[str, Path]:
    """Runs that were trained so far, by the path that examples have for them."""
    return {}


def run_of(path: str, files: Path, runs: dict[str, Path]) -> Path:
    """The run that an example calls `path`, trained when it is first asked for."""
    if path not in runs:
        name = Path(path).parent.name
        own = ["data=manifest", *REST["train.py"]]
        options = own if name in ("", "NAME") else [f"experiment={name}", *OWN_PAIRS.get(name, ())]
        runs[path] = trained(files, name or "ROOT", options)
    return runs[path]


@pytest.fixture
def folder(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the files, where the example runs."""
    folder = tmp_path / "here"
    shutil.copytree(files, folder, ignore=lambda at, _: ["runs"] if Path(at) == files else [])
    monkeypatch.chdir(folder)
    return folder


def succeeds(words: list[str], folder: Path) -> None:
    """Runs `python scripts/X.py ...`, made small, in this process; skips where a package is missing."""
    main = importlib.import_module(f"scripts.{Path(words[1]).stem}").main
    threads, said = torch.get_num_threads(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stderr(said):
        # That one trains in processes of its own, and has a test of its own.
        others = tuple(check for check in suite.ALL_CHECKS if check is not resumed_equals_unbroken)
        patch.setattr(suite, "ALL_CHECKS", others)
        patch.chdir(folder)
        code = run_command(main, small(words))
    torch.set_num_threads(threads)
    if code == REFUSED and PACKAGE_MISSING in said.getvalue():
        pytest.skip(said.getvalue().splitlines()[-1])
    assert code == 0, said.getvalue()[-3000:]


def in_processes(example: Example, launcher: list[str]) -> None:
    """Runs a training that begins other processes, in a process of its own and without speech."""
    script = list(example.words).index("scripts/train.py")
    words = ["python", *example.words[script:]]
    arguments = [option for option in small(words) if not option.startswith(("++data.validation", "++evaluation"))]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        [sys.executable, *launcher, str(REPOSITORY / words[1]), *arguments, *SILENT],
        env=os.environ | {"PATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def plans_a_bakeoff(words: list[str], folder: Path) -> None:
    """Everything until the first training, where it is killed; what it would train is a configuration of train.py."""
    planned: list[Trial] = []

    def killed(_: Runner, trials: Iterable[Trial], what: str = "", may_diverge: bool = False) -> None:
        planned.extend(trials)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Runner, "run", killed)
        assert run_command(importlib.import_module("scripts.compare").main, words[2:]) == INTERRUPTED
    assert planned
    for trial in planned:
        configuration(trial.overrides)


def makes(target: str) -> None:
    """A target is there, and the programs that it starts are there as well and take their options."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    done = subprocess.run(["make", "-n", "-B", target], cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    scripts = re.findall(r"/python (scripts/\w+\.py)(.*)", done.stdout)
    programs = re.findall(r"\.venv/bin/(?:python -m )?([a-z]+)", done.stdout)
    assert {"pip", "ruff"} & set(programs) or scripts
    for name in set(programs) - {"python"}:
        assert importlib.util.find_spec(name)
    for script, options in scripts:
        main = importlib.import_module(f"scripts.{Path(script).stem}").main
        assert run_command(main, [*options.split(), "--cfg", "job"]) == 0


def try_example(example: Example, folder: Path) -> None:
    """Runs what an example says."""
    words = list(example.words)
    if words[0] == "source":
        assert words[1].removesuffix("/bin/activate") in (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    elif words[0] == "make":
        makes(words[1])
    elif words[:2] == ["pip", "install"]:
        project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        assert words[2] in {f"{project['name']}[{extra}]" for extra in project["optional-dependencies"]}
    elif words[0] == "torchrun":
        in_processes(example, ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"])
    elif "hydra/launcher=joblib" in words:
        in_processes(example, [])
    elif words[1:] and words[1] == "scripts/compare.py" and "experiment=bakeoff/" in " ".join(words):
        plans_a_bakeoff(words, folder)
    else:
        assert words[0] == "python"
        succeeds(words, folder)


def filled_in(example: Example) -> Example:
    """The example with the rest of its options in place of `...`."""
    words = list(example.words)
    if "..." in words:
        place = words.index("...")
        words[place : place + 1] = REST[Path(words[1]).name]
    return Example(example.page, example.line, tuple(words))


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_the_example_works(
    example: Example, folder: Path, files: Path, runs: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    example = filled_in(example)
    text = " ".join(example.words)
    named = re.findall(r"(?:checkpoint|resume|runs)=\[?([^\s\]]+)", text)
    for path in (one.replace("*", "RUN") for several in named for one in several.split(",")):
        shutil.copytree(run_of(re.sub(r"RUN\d", "RUN", path), files, runs), folder / path)
    if EXPORTED in text and f"output={EXPORTED}" not in text:
        shutil.copytree(folder / "aligned", folder / EXPORTED / "aligned")
        for name, split in zip(ROWS["aligned"], ROWS["messages"], strict=True):
            shutil.copy(folder / f"{name}.jsonl", folder / EXPORTED / f"{split}.jsonl")
    before = set(folder.glob("runs/*/*"))
    try_example(example, folder)
    for output in re.findall(r"output=(\S+)", text):
        assert (folder / output).exists()
    if "scripts/train.py" in text and not {"--help", "resume"} & {word.partition("=")[0] for word in example.words}:
        found = set(folder.glob("runs/*/*/checkpoints")) - before
        assert len(found) == (2 if "-m" in example.words else 1)


@pytest.fixture
def small_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings and evaluations from Python are made as cheap as those of commands."""
    train, evaluate = interfuse.train, interfuse.evaluate

    def small_train(overrides: Sequence[str] = ()) -> interfuse.Run:
        return train(small(["python", "scripts/train.py", *overrides]))

    def small_evaluate(run: str | interfuse.Run, overrides: Sequence[str] = ()) -> interfuse.Evaluated:
        return evaluate(run, small(["python", "scripts/evaluate.py", *overrides]))

    monkeypatch.setattr(interfuse, "train", small_train)
    monkeypatch.setattr(interfuse, "evaluate", small_evaluate)


@pytest.mark.usefixtures("small_calls")
@pytest.mark.parametrize("block", PYTHON, ids=range(len(PYTHON)))
def test_a_block_of_python_runs(block: str, folder: Path, files: Path, runs: dict[str, Path]) -> None:
    assert "interfuse." in block
    for path in re.findall(r'"(runs/[^"]*RUN)"', block):
        shutil.copytree(run_of(path, files, runs), folder / path)
    exec(compile(block, "block", "exec"), {})


@pytest.mark.parametrize("root", sorted(path.stem for path in CONF.glob("*.yaml") if path.stem != "hydra_defaults"))
def test_the_examples_of_a_help_page_are_options_of_the_script(root: str, capsys: pytest.CaptureFixture[str]) -> None:
    main = importlib.import_module(f"scripts.{root}").main
    footer = OmegaConf.to_container(OmegaConf.load(CONF / f"{root}.yaml"), resolve=False)["hydra"]["help"]["footer"]
    commands = [shlex.split(line) for line in footer.splitlines() if line.startswith("  ")]
    assert commands
    for words in commands:
        assert words[:2] == ["python", f"scripts/{root}.py"]
        if "-m" not in words:  # a sweep is composed value by value
            assert run_command(main, [*words[2:], "--cfg", "job"]) == 0, words


def test_rows_are_rows_of_a_manifest() -> None:
    rows = json_blocks("docs/data.md")
    assert {"messages", "aligned"} <= {key for row in rows for key in json.loads(row)}
    for row in rows:
        parse_row(json.loads(row), Path(), "data.md", "data.md")


def test_examples_are_found() -> None:
    """In blocks, in indented lines, over several lines, and in sentences; each of them once."""
    found = {(example.page, *example.words[:2]) for example in EXAMPLES}
    for name in ("train", "compare", "certify", "prepare_data"):
        assert ("README.md", "python", f"scripts/{name}.py") in found
    for name in ("train", "evaluate", "generate", "explain", "prepare_data"):
        assert ("docs/usage.md", "python", f"scripts/{name}.py") in found
    for name in ("train", "evaluate", "compare", "prepare_data"):
        assert ("docs/data.md", "python", f"scripts/{name}.py") in found
    assert {("README.md", "make", "quick"), ("docs/usage.md", "pip", "install")} <= found
    assert any("data.on_bad_sample=skip" in example.words for example in EXAMPLES)
    assert len({example.words for example in EXAMPLES}) == len(EXAMPLES)
    assert {example.words for page in PAGES for example in examples(page)} == {example.words for example in EXAMPLES}
