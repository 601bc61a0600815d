"""Which files an option names, and what each of them is called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from data.inspection import named_manifests, one_manifest
from data.types import BadInputError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("test.jsonl", "extra.jsonl", "train.jsonl", "validation.jsonl", "train.removed.jsonl", "a.txt"):
        (tmp_path / name).write_text("{}\n")
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "train.jsonl").write_text("{}\n")
    (tmp_path / "empty").mkdir()
    return tmp_path


def test_a_folder_holds_its_manifests_in_the_order_of_their_use(folder: Path) -> None:
    assert list(named_manifests(str(folder), "check")) == ["train", "validation", "test", "extra"]


def test_files_keep_their_order_and_equal_names_are_told_apart(folder: Path) -> None:
    paths = [str(folder / "test.jsonl"), str(folder / "train.jsonl"), str(folder / "old" / "train.jsonl")]
    assert named_manifests(paths, "check") == {
        "test": folder / "test.jsonl",
        f"{folder.name}/train": folder / "train.jsonl",
        "old/train": folder / "old" / "train.jsonl",
    }
    assert list(named_manifests({"mine": paths[0], "theirs": paths[2]}, "check")) == ["mine", "theirs"]


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("gone.jsonl", r"^check: .*gone.jsonl: no such file$"),
        ("empty", r"^.*empty: the folder holds no manifest \(\*\.jsonl\)$"),
        ([], r"^check: names no file; give a manifest, several as \[A.jsonl,B.jsonl\], or a folder$"),
        (["train.jsonl", "./train.jsonl"], r"^check: .*train.jsonl: is given twice"),
        ([["a"]], r"^check: \['a'\] must be the path of a manifest$"),
        (True, r"^check: True must be the path of a manifest$"),
        ("", r"^check: '' must be the path of a manifest$"),
    ],
)
def test_what_names_no_manifest_is_refused_in_one_line(
    value: Any, line: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(BadInputError, match=line):
        named_manifests(value, "check")


def test_one_is_one(folder: Path) -> None:
    assert one_manifest(str(folder / "train.jsonl"), "clean") == folder / "train.jsonl"
    with pytest.raises(BadInputError, match=r"^clean: takes one manifest, not 4; give the others as against="):
        one_manifest(str(folder), "clean")
