"""A cleaned manifest holds each content once, none of the other files', and its media are found from its new place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.inspection import clean
from data.sources.manifest import ManifestSource
from data.types import AlignedSample, BadInputError, Media, Sample
from tests.data.inspection.made import asked, picture, save_picture, save_sound, segment, speech, write_rows


def question(id: str, image: str, answer: str = "yes", text: str = "is it so?") -> dict[str, Any]:
    return asked(id, answer, segment("image", image), segment("text", text))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures and sounds: b.* hold what a.* hold, in another format."""
    for number in range(4):
        save_picture(tmp_path / f"{number}.png", picture(number))
    save_picture(tmp_path / "0.bmp", picture(0))
    save_picture(tmp_path / "0.jpg", picture(0), quality=80)
    samples = (speech("aei") * 32767).astype(np.int16)
    save_sound(tmp_path / "a.wav", samples)
    save_sound(tmp_path / "a.flac", samples)
    return tmp_path


def cleaned(folder: Path, rows: list[Any], output: Path, **others: list[Any]) -> tuple[list[str], list[Any], list[str]]:
    """Lines of the new manifest, what was left out, and what was said."""
    path = write_rows(folder / "mine.jsonl", rows)
    paths = {name: write_rows(folder / f"{name}.jsonl", found) for name, found in others.items()}
    said = clean(path, paths, output)
    removed = output.with_name(f"{output.stem}.removed.jsonl").read_text().splitlines()
    return output.read_text().splitlines(), [json.loads(line) for line in removed], said


def test_only_rows_of_equal_content_go(folder: Path) -> None:
    rows = [
        question("first", "0.png"),
        question("another format", "0.bmp"),
        question("nearly", "0.jpg"),
        question("another answer", "0.png", "no"),
        question("another case", "0.png", "Yes"),
        question("another question", "0.png", text="is it?"),
        question("another picture", "1.png"),
        {**question("same", "0.png"), "source": "elsewhere", "metadata": {"k": "v"}},
        {"id": "pair", "aligned": [segment("audio", "a.wav"), segment("text", "aei")]},
        {"id": "pair in FLAC", "aligned": [segment("audio", "a.flac"), segment("text", "aei")]},
        {"id": "pair in turn", "aligned": [segment("text", "aei"), segment("audio", "a.wav")]},
        asked("text", "b", segment("text", "a")),
        asked("text again", "b", segment("text", "a")),
    ]
    kept, removed, said = cleaned(folder, rows, folder / "new.jsonl")
    assert [(item["line"], item["id"], item["reason"]) for item in removed] == [
        (2, "another format", "the same as line 1"),
        (8, "same", "the same as line 1"),
        (10, "pair in FLAC", "the same as line 9"),
        (13, "text again", "the same as line 12"),
    ]
    assert kept == [json.dumps(row) for place, row in enumerate(rows, start=1) if place not in (2, 8, 10, 13)]
    assert said == [
        f"wrote {folder}/new.jsonl: 9 of 13 rows",
        f"left out 4 (4 the same as earlier rows): see {folder}/new.removed.jsonl",
    ]


def test_rows_of_other_files_go_too(folder: Path) -> None:
    rows = [question(str(number), f"{number}.png") for number in range(4)]
    kept, removed, said = cleaned(
        folder,
        rows,
        folder / "new.jsonl",
        test=[question("x", "0.bmp")],
        validation=[question("y", "2.png"), question("z", "3.png", "no")],
    )
    assert [json.loads(line)["id"] for line in kept] == ["1", "3"]
    assert [(item["id"], item["reason"]) for item in removed] == [
        ("0", "the same as test:1"),
        ("2", "the same as validation:1"),
    ]
    assert "(1 the same as test; 1 the same as validation)" in said[1]


def test_media_are_found_from_another_folder(folder: Path) -> None:
    absolute = {"id": "abs", "aligned": [segment("image", str(folder / "1.png")), segment("text", "ünï")]}
    rows = [question("0", "0.png"), {"id": "pair", "aligned": [segment("audio", "./a.wav")], "license": "cc"}, absolute]
    output = folder / "deep" / "er" / "new.jsonl"
    cleaned(folder, rows, output)
    source = ManifestSource(output)
    before = ManifestSource(folder / "mine.jsonl")
    for place in range(3):
        assert [path.resolve() for path in files(source.sample(place))] == [
            path.resolve() for path in files(before.sample(place))
        ]
    written = [json.loads(line) for line in output.read_text("utf-8").splitlines()]
    assert written[0]["messages"][0]["content"][0]["path"] == "../../0.png"
    assert written[1]["license"] == "cc"
    assert written[2] == absolute
    (folder / "mine.jsonl").unlink()


def files(sample: Sample | AlignedSample) -> list[Path]:
    segments = sample.segments if isinstance(sample, AlignedSample) else sample.messages[0].content
    return [item.source for item in segments if isinstance(item, Media) and isinstance(item.source, Path)]


def test_rows_that_cannot_be_read_stay_as_they_are(folder: Path) -> None:
    rows = ['{"id": ', question("gone", "gone.png"), question("gone too", "gone.png"), question("other", "gone2.png")]
    kept, removed, said = cleaned(folder, [*rows, '{"id": '], folder / "new.jsonl")
    assert kept[0] == kept[-1] == '{"id": '
    assert [item["id"] for item in removed] == ["gone too"], "one missing file is equal to itself"
    assert said[2] == f"kept 2 rows that cannot be read, as they are; check={folder}/new.jsonl names them"


def test_a_link_on_the_way_to_the_new_folder_is_followed(folder: Path) -> None:
    (folder / "elsewhere" / "far").mkdir(parents=True)
    (folder / "link").symlink_to(folder / "elsewhere" / "far")
    cleaned(folder, [question("0", "0.png")], folder / "link" / "new.jsonl")
    assert ManifestSource(folder / "link" / "new.jsonl").sample(0)


def test_nothing_is_overwritten(folder: Path) -> None:
    rows = write_rows(folder / "mine.jsonl", [question("0", "0.png")])
    for name in ("new.jsonl", "new.removed.jsonl"):
        (folder / name).write_text("precious")
        with pytest.raises(BadInputError, match=f"output: .*{name}: exists already, and is not overwritten"):
            clean(rows, {}, folder / "new.jsonl")
        assert (folder / name).read_text() == "precious"
        (folder / name).unlink()
    with pytest.raises(BadInputError, match=r"output: .*mine.jsonl: exists already"):
        clean(rows, {}, rows)
    with pytest.raises(BadInputError, match=r"against: .*mine.jsonl: is the file that is cleaned"):
        clean(rows, {"mine": rows}, folder / "new.jsonl")
    assert not (folder / "new.jsonl").exists()


def test_what_cannot_be_written_is_refused(folder: Path) -> None:
    rows = write_rows(folder / "mine.jsonl", [question("0", "0.png")])
    with pytest.raises(BadInputError, match=r"output: .*0.png/new.jsonl: cannot be written: File exists"):
        clean(rows, {}, folder / "0.png" / "new.jsonl")
