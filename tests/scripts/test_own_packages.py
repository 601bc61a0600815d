"""Whatever a folder of the user's own holds, this project's packages are the project's, in every process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from certify.small_data import write_small_data
from data.storage.run_log import read_metrics
from scripts.entry import own_packages_first

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = sorted(path.parent.name for path in REPOSITORY.glob("*/__init__.py"))
HIDES = "raise RuntimeError(f'{__name__} of the folder on PYTHONPATH')\n"
# A processor of the user's own, in a module that asks for workers that are started from nothing.
MINE = """
import multiprocessing
import sys
from pathlib import Path

from data.media.image import ImageProcessor

if START is not None:
    multiprocessing.set_start_method(START, force=True)


class Mine(ImageProcessor):
    def __call__(self, media, rng=None):
        name = multiprocessing.current_process().name
        Path(__file__).with_name(f"read in {name}").touch()
        return super().__call__(media, rng)
"""
SMALL = [
    *("data=manifest", "d_model=16", "mixer.num_heads=2", "mixer.num_kv_heads=1", "fusion.num_layers=1"),
    *("trainer.max_steps=1", "trainer.log_every=1", "data.samples_per_batch=4"),
    *("optimizer=adamw", "tracker=jsonl", "compute_threads=1", "name=hidden", "run=one"),
    "data.processors.image._target_=mine.Mine",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Every package of the project, as a folder and as a file by turns, none of which can be imported."""
    folder = tmp_path / "own"
    folder.mkdir()
    for number, name in enumerate(PACKAGES):
        path = folder / name / "__init__.py" if number % 2 else folder / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(HIDES)
    (folder / "conf").mkdir(exist_ok=True)
    (folder / "conf" / "train.yaml").write_text("hidden: true\n")
    (folder / "scripts").mkdir(exist_ok=True)
    (folder / "scripts" / "entry.py").write_text(HIDES)
    return folder


@pytest.mark.parametrize(
    ("command", "options", "start"),
    [
        ([sys.executable], ["data.num_workers=1"], "spawn"),
        ([sys.executable], ["-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"], None),
        (["torchrun", "--nproc_per_node=1"], ["data.num_workers=1"], None),
    ],
    ids=["spawned worker", "joblib", "torchrun, forked worker"],
)
def test_a_training_uses_the_project_s_packages_and_the_user_s(
    command: list[str], options: list[str], start: str | None, folder: Path, tmp_path: Path
) -> None:
    (folder / "mine.py").write_text(f"START = {start!r}\n{MINE}")
    data = write_small_data(tmp_path / "data", ("image",))
    options = [*SMALL, f"data.train={data}", f"runs={tmp_path}", *options]
    done = subprocess.run(
        [*command, str(REPOSITORY / "scripts" / "train.py"), *options],
        env={
            **os.environ,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PYTHONPATH": str(folder),
            "INTERFUSE_PACKAGES": "mine",
            "OMP_NUM_THREADS": "1",
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    rows = read_metrics(tmp_path / "hidden" / "one" / "metrics.jsonl")
    assert [row["step"] for row in rows if "train/loss" in row] == [1]
    assert list(folder.glob("read in *")), "the user's processor read the pictures"


def test_processes_that_a_command_starts_have_the_project_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), str(REPOSITORY)]))
    monkeypatch.setattr(sys, "path", [str(REPOSITORY / "scripts"), str(folder), str(REPOSITORY), *sys.path])
    own_packages_first()
    assert sys.path[:2] == [str(REPOSITORY), str(folder)]
    assert str(REPOSITORY / "scripts") not in sys.path
    assert os.environ["PYTHONPATH"] == os.pathsep.join([str(REPOSITORY), str(folder)])
