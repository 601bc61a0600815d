"""`import interfuse` itself: what it offers, what it costs, and that a person's own files hide nothing of it."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import interfuse
from tests.tree.test_imports import ALLOWED

REPOSITORY = Path(__file__).resolve().parents[2]


def python(program: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs a program in a folder, which is first on the path, as for a notebook there."""
    path = os.pathsep.join([str(folder), str(REPOSITORY)])
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_all_names_are_there() -> None:
    assert dir(interfuse) == sorted(interfuse.__all__)
    for name in interfuse.__all__:
        assert getattr(interfuse, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = interfuse.trian


def test_nothing_is_loaded_before_it_is_asked_for(tmp_path: Path) -> None:
    heavy = "{'torch', 'hydra', 'numpy', 'data'}"
    done = python(f"import interfuse, sys; print(sorted({heavy} & set(sys.modules)))", tmp_path)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_files_next_to_a_notebook_hide_nothing(tmp_path: Path) -> None:
    for name in ("data", "scripts", "conf"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('of the person')\n")
    done = python("import interfuse; print(interfuse.BadInputError.__name__)", tmp_path)
    assert done.stdout == "BadInputError\n", done.stderr


def test_a_module_of_the_same_name_is_named(tmp_path: Path) -> None:
    (tmp_path / "data.py").touch()
    done = python("import data, interfuse; interfuse.train([])", tmp_path)
    assert done.stderr.splitlines()[-1] == (
        f"ImportError: {tmp_path}/data.py: was imported as 'data', a package of interfuse; give it another name"
    )


def test_every_package_is_installed_and_checked() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    installed = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert set(installed) == set(ALLOWED)
    assert {*project["tool"]["mypy"]["packages"], "conf"} == set(ALLOWED)
    assert set(interfuse._COMMON_NAMES) < set(ALLOWED)
    assert (REPOSITORY / "interfuse" / "py.typed").is_file()
