"""Rows that are held out: whole subjects, always the same, and nothing of them is learned."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from data.instantiate import is_given
from data.sources.held_out import held_out
from data.sources.manifest import ManifestSource
from data.types import BadInputError


def row(name: str, image: str | None) -> str:
    asked = [{"type": "text", "text": f"question {name}"}]
    asked += [] if image is None else [{"type": "image", "path": image}]
    answer = {"role": "assistant", "content": [{"type": "text", "text": "a"}]}
    return json.dumps({"id": name, "messages": [{"role": "user", "content": asked}, answer]}) + "\n"


def write(folder: Path, rows: list[str]) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(rows))
    return path


def names(source: ManifestSource) -> list[str]:
    return [source.sample(index).id for index in range(len(source))]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    for number in range(30):
        (tmp_path / f"{number}.png").touch()
    return write(tmp_path, [row(str(n), f"{n // 4}.png" if n < 120 else None) for n in range(200)])


def test_both_parts_are_all_rows_and_share_no_subject(path: Path) -> None:
    kept, asked = names(ManifestSource(path, hold_out=0.1)), names(ManifestSource(path, only_held_out=0.1))
    assert sorted(kept + asked, key=int) == [str(n) for n in range(200)]
    assert 20 <= len(asked) <= 23
    assert not {int(n) // 4 for n in kept if int(n) < 120} & {int(n) // 4 for n in asked if int(n) < 120}
    assert any(int(n) < 120 for n in asked)
    assert any(int(n) >= 120 for n in asked)


def test_which_rows_are_held_out_does_not_depend_on_their_order(path: Path, tmp_path: Path) -> None:
    asked = names(ManifestSource(path, only_held_out=0.1))
    rows = path.read_text().splitlines(keepends=True)
    write(tmp_path, rows[::-1])
    assert names(ManifestSource(path, only_held_out=0.1)) == asked[::-1]


def test_nothing_of_the_other_part_is_read(path: Path) -> None:
    source = ManifestSource(path, hold_out=0.1)
    texts = set(source.texts())
    assert len({text for text in texts if text.startswith("question")}) == len(source)
    assert sum(source.kinds().values()) == len(source)
    assert source.fingerprint() != ManifestSource(path).fingerprint()


def test_a_bad_row_belongs_to_one_part(path: Path) -> None:
    path.write_text(path.read_text() + "not JSON\n")
    parts = [ManifestSource(path, "skip", **{part: 0.3}) for part in ("hold_out", "only_held_out")]
    assert sum(map(len, parts)) == 201


def test_at_least_one_subject_is_on_either_side() -> None:
    assert held_out([1, 2], 0.01).tolist() == [True, False]
    assert held_out([2, 1, 1], 0.99).tolist() == [False, True, True]
    assert held_out([7, 7], 0.5).tolist() == [False, False]
    assert np.mean(held_out(list(range(1000)), 0.25)) == 0.25


@pytest.mark.parametrize("share", [0.0, 1.0, -1, 2])
def test_a_share_that_is_none_is_refused(share: float, path: Path) -> None:
    with pytest.raises(ValueError, match=f"hold_out={share} must lie between 0 and 1"):
        ManifestSource(path, hold_out=share)


def test_one_subject_cannot_be_divided(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    path = write(tmp_path, [row("0", "a.png"), row("1", "a.png")])
    assert len(ManifestSource(path, hold_out=0.5)) == 2
    with pytest.raises(BadInputError, match="about one thing alone"):
        ManifestSource(path, only_held_out=0.5)


def test_a_source_is_not_there_without_its_share() -> None:
    assert not is_given({"path": "a", "only_held_out": None})
    assert is_given({"path": "a", "only_held_out": 0.1})
    assert is_given({"path": "a", "hold_out": None})
