"""The notebooks of examples/ run as they stand, and what they print, saved and now, is what their text claims.

After a change run `jupyter execute --inplace examples/*.ipynb`, which saves new outputs in them.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

REPOSITORY = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((REPOSITORY / "examples").glob("*.ipynb"))
LARGEST = 300_000  # bytes of a notebook with its outputs
MOST_SECONDS = 600  # of a cell, far above what the slowest takes


def saved(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def printed(notebook: NotebookNode) -> str:
    """All that the cells print and show, as plain text."""
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    return "\n".join(output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs)


def pictures(notebook: NotebookNode) -> list[int]:
    """How many pictures each cell shows."""
    return [sum("image/png" in output.get("data", {}) for output in cell.outputs) for cell in code_cells(notebook)]


def percent(pattern: str, text: str) -> float:
    found = re.search(pattern + r" +([\d.]+)%", text)
    assert found, pattern
    return float(found[1])


def first_steps(text: str) -> None:
    """The model has begun to look, at colours first; a misspelt option is one line; pictures find their words."""
    accuracy, exchanged = percent("accuracy", text), percent("with the picture of another sample", text)
    assert accuracy > exchanged + 3
    assert percent("colour", text) > percent("shape", text)
    assert "fusoin: no such option; the nearest valid name is fusion\n" in text
    right = re.search(r"(\d+) of 60 right; by chance 2\.5", text)
    assert right
    assert int(right[1]) > 20


def your_own_data(text: str) -> None:
    """The leak is found, and gone; a slip is named by file, row and field; both kinds of questions are learned."""
    assert [line for line in text.splitlines() if re.fullmatch(r"leaks: \d", line)] == ["leaks: 1", "leaks: 0"]
    assert "wrong.jsonl:2: messages[0].content[0].pth: is no field of a segment; the nearest is path" in text
    assert percent("color", text) > 60
    assert percent("shape", text) > 50


CLAIMS = {"first_steps": first_steps, "your_own_data": your_own_data}


def test_every_notebook_has_claims() -> None:
    assert {path.stem for path in NOTEBOOKS} == set(CLAIMS)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_is_saved_is_one_whole_run(path: Path) -> None:
    notebook = saved(path)
    assert [cell.execution_count for cell in code_cells(notebook)] == list(range(1, len(code_cells(notebook)) + 1))
    assert path.stat().st_size < LARGEST
    CLAIMS[path.stem](printed(notebook))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an empty folder, on one core, with what its kernel keeps in a folder of its own."""
    others = os.environ.get("PYTHONPATH", "")
    for name, value in {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(REPOSITORY), others])),
        "OMP_NUM_THREADS": "1",
        **{f"{kind}_DIR": str(tmp_path / "jupyter" / kind) for kind in ("JUPYTER_RUNTIME", "JUPYTER_CONFIG")},
        "IPYTHONDIR": str(tmp_path / "ipython"),
    }.items():
        monkeypatch.setenv(name, value)
    folder = tmp_path / "here"
    folder.mkdir()
    notebook = saved(path)
    before = pictures(notebook)
    NotebookClient(notebook, timeout=MOST_SECONDS, resources={"metadata": {"path": str(folder)}}).execute()
    CLAIMS[path.stem](printed(notebook))
    assert pictures(notebook) == before
    assert "Warning" not in printed(notebook)
    for report in folder.glob("runs/*/*/report.json"):
        tasks = json.loads(report.read_text(encoding="utf-8"))
        for task, scores in tasks["tasks"].items():
            assert scores["accuracy"]["value"] > tasks["audit"][task]["image_shuffled"]["value"]
    assert list(folder.glob("runs/*/*/report.json"))
