"""Each planted oddity is found, at its place, and nothing is invented beside it."""

from __future__ import annotations

import base64
import io
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data.inspection.checking import inspect
from data.inspection.facts import Picture
from data.inspection.findings import KINDS, Finding
from data.inspection.oddities import odd_medium
from data.inspection.pages.report import make_report
from data.inspection.prints.picture_prints import picture_print
from tests.data.inspection.made import (
    RATE,
    asked,
    picture,
    save_picture,
    save_sound,
    segment,
    sentence,
    speech,
    write_rows,
)

Rows = list[Any]
SPLITS = ("train", "test")
# Rows of each kind in each file.
COUNT = 12


@cache
def clean_media() -> dict[str, bytes]:
    """A picture and a sound for each row, none like another."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for place, split in enumerate(SPLITS):
            for number in range(COUNT):
                save_picture(folder / f"{split}{number}.png", picture(100 * place + number))
                save_sound(folder / f"{split}{number}.wav", speech(sentence(100 * place + number)))
        return {file.name: file.read_bytes() for file in folder.iterdir()}


def clean_rows(split: str) -> Rows:
    """Rows of every kind with nothing odd: a picture or a sound of its own each, and balanced answers."""
    start = 100 * SPLITS.index(split)
    rows: Rows = []
    for number in range(COUNT):
        image, clip = f"{split}{number}.png", f"{split}{number}.wav"
        what, colour = ("tree", "house", "boat")[number % 3], ("red", "green", "blue", "grey")[number % 4]
        rows.append(
            asked(f"i{number}", colour, segment("image", image), segment("text", f"which colour has the {what}?"))
        )
        rows.append(asked(f"a{number}", what, segment("audio", clip), segment("text", "what is heard?")))
        caption = segment("text", f"{NAMES[start // 100 * COUNT + number]} stands near the {what}")
        rows.append({"id": f"c{number}", "aligned": [segment("image", image), caption]})
    return rows


NAMES = [
    "an old grey donkey with long ears", "the postman who never rings", "a tall ship under full sail",
    "my neighbour's youngest daughter", "one of seven wooden chairs", "the last train to Edinburgh",
    "somebody holding a yellow umbrella", "a fox that pretends to sleep", "twelve bottles of lemonade",
    "Captain Nemo's favourite organ", "an unfinished crossword puzzle", "the smell of fresh bread",
    "a violin without any strings", "two policemen eating ice cream", "her broken bicycle pump",
    "a lighthouse painted in stripes", "the quiet professor of botany", "snow on a tennis court",
    "an elephant made of paper", "five marbles in a velvet bag", "the mayor's enormous hat",
    "a kettle that whistles Mozart", "nobody whom we have met", "their second cousin Ursula",
]  # fmt: skip


def plant(folder: Path, change: Callable[[Path, dict[str, Rows]], Any] | None = None) -> list[Finding]:
    for name, content in clean_media().items():
        (folder / name).write_bytes(content)
    rows = {split: clean_rows(split) for split in SPLITS}
    if change is not None:
        change(folder, rows)
    paths = {split: write_rows(folder / f"{split}.jsonl", rows[split]) for split in SPLITS}
    return inspect(paths)[2]


def image_of(rows: Rows, place: int) -> dict[str, Any]:
    return rows[place]["messages"][0]["content"][0]


def new_image(rows: dict[str, Rows], folder: Path, image: Image.Image, name: str = "odd.png", **options: Any) -> None:
    """Gives the first row of the training file another picture, and its caption's too."""
    path = save_picture(folder / name, image, **options)
    image_of(rows["train"], 0)["path"] = rows["train"][2]["aligned"][0]["path"] = path


def new_sound(rows: dict[str, Rows], folder: Path, samples: np.ndarray, rate: int = RATE, split: str = "train") -> None:
    image_of(rows[split], 1)["path"] = save_sound(folder / "odd.wav", samples.astype(np.float32), rate)


def answer(rows: Rows, place: int, text: str) -> None:
    rows[place]["messages"][-1]["content"][0]["text"] = text


def caption(rows: Rows, place: int, text: str) -> None:
    rows[place]["aligned"][1]["text"] = text


def twin_picture(folder: Path, rows: dict[str, Rows], split: str, place: int, **options: Any) -> None:
    """A picture of the training's fourth row (line 10) under another name."""
    name = save_picture(folder / f"twin.{options.pop('suffix')}", picture(3), **options)
    rows[split].insert(place, asked("twin", "yes", segment("image", name), segment("text", "is it so, or is it not?")))


def noise(count: int) -> np.ndarray:
    return 0.3 * np.random.default_rng(5).standard_normal(count).clip(-3, 3)


def guessable(rows: Rows) -> None:
    """Questions that have one answer each; the rows are told apart by what is said before."""
    for number, (thing, colour) in enumerate([("snow", "white"), ("grass", "green"), ("coal", "black")] * 40):
        said = "".join(np.random.default_rng(number).choice(list("abcdefghijklmnopqrst uvw"), 40))
        rows.append(asked(f"often{number}", colour, segment("text", f"what is the colour of {thing}?")))
        rows[-1]["messages"].insert(0, {"role": "user", "content": said})


PLANTED: dict[str, tuple[Callable[[Path, dict[str, Rows]], Any], list[tuple[str, str, int]]]] = {
    "a row of the training in the test": (
        lambda folder, rows: rows["test"].append({**rows["train"][3], "id": "leak"}),
        [("leaked_row", "test", 37)],
    ),
    "an aligned row of the training in the test": (
        lambda folder, rows: rows["test"].append({**rows["train"][5], "id": "leak"}),
        [("leaked_row", "test", 37)],
    ),
    "a picture of the training in the test, in another file": (
        lambda folder, rows: twin_picture(folder, rows, "test", 0, suffix="bmp"),
        [("leaked_medium", "test", 1)],
    ),
    "a picture of the training in the test, compressed": (
        lambda folder, rows: twin_picture(folder, rows, "test", 0, suffix="jpg", quality=70),
        [("near_leak", "test", 1)],
    ),
    "a sound of the training in the test, quieter": (
        lambda folder, rows: new_sound(rows, folder, 0.4 * speech(sentence(3)), RATE, "test"),
        [("near_leak", "test", 2)],
    ),
    "a caption of the training in the test": (
        lambda folder, rows: caption(rows["test"], 2, "An OLD grey donkey, with long ears, stands near the tree!"),
        [("near_leak", "test", 3)],
    ),
    "not JSON": (lambda folder, rows: rows["train"].insert(4, '{"id": '), [("bad_row", "train", 5)]),
    "a misspelt field": (
        lambda folder, rows: rows["train"].insert(4, {"mesages": []}),
        [("bad_row", "train", 5)],
    ),
    "two missing files in one row": (
        lambda folder, rows: rows["train"][0]["messages"][0].update(
            content=[segment("image", "gone.png"), segment("audio", "gone.wav"), segment("text", "?")]
        ),
        [("missing_file", "train", 1), ("missing_file", "train", 1)],
    ),
    "a path longer than any name may be": (
        lambda folder, rows: image_of(rows["train"], 3).update(path="x" * 4000),
        [("missing_file", "train", 4)],
    ),
    "a picture cut off": (
        lambda folder, rows: (folder / "train1.png").write_bytes((folder / "train1.png").read_bytes()[:200]),
        [("unreadable_file", "train", 4), ("unreadable_file", "train", 6)],
    ),
    "text for a sound": (
        lambda folder, rows: (folder / "train1.wav").write_text("la la la"),
        [("unreadable_file", "train", 5)],
    ),
    "an empty file": (lambda folder, rows: (folder / "train1.wav").write_bytes(b""), [("unreadable_file", "train", 5)]),
    "the same row twice": (
        lambda folder, rows: rows["train"].insert(9, {**rows["train"][0], "id": "again", "metadata": {"k": 1}}),
        [("repeated_row", "train", 10)],
    ),
    "the same question with another answer": (
        lambda folder, rows: rows["train"].append(
            asked("other", "violet", *rows["train"][0]["messages"][0]["content"])
        ),
        [("other_answer", "train", 37)],
    ),
    "the same id": (lambda folder, rows: rows["train"][6].update(id="i0"), [("repeated_id", "train", 7)]),
    "a picture in another format": (
        lambda folder, rows: twin_picture(folder, rows, "train", 36, suffix="bmp"),
        [("same_medium", "train", 37)],
    ),
    "a picture compressed": (
        lambda folder, rows: twin_picture(folder, rows, "train", 36, suffix="jpg", quality=70),
        [("near_picture", "train", 37)],
    ),
    "a sound with a little noise": (
        lambda folder, rows: new_sound(rows, folder, speech(sentence(3)) + 0.002 * noise(25_600)),
        [("near_sound", "train", 11)],
    ),
    "a text in other case": (
        lambda folder, rows: caption(rows["train"], 2, "THE POSTMAN who never rings stands near the house."),
        [("same_text", "train", 6)],
    ),
    "a text with a word changed": (
        lambda folder, rows: caption(rows["train"], 2, "the postman who never sings stands near the house"),
        [("near_text", "train", 6)],
    ),
    "no answer": (
        lambda folder, rows: rows["train"].append(asked("open", None, segment("text", "and who are you?"))),
        [("no_answer", "train", 37)],
    ),
    "an empty answer": (lambda folder, rows: answer(rows["train"], 0, "  "), [("empty_answer", "train", 1)]),
    "the answer in the question": (
        lambda folder, rows: answer(rows["train"], 3, "House"),
        [("answer_in_question", "train", 4)],
    ),
    "one answer nearly always": (
        lambda folder, rows: [answer(rows["train"], place, "red") for place in range(36) if place % 3 < 2],
        [("frequent_answer", "train", 0), ("guessable", "train", 0)],
    ),
    "an answer that follows from the question": (
        lambda folder, rows: guessable(rows["test"]),
        [("guessable", "test", 0)],
    ),
    "a picture of one colour": (
        lambda folder, rows: new_image(rows, folder, Image.new("RGB", (40, 40), "beige")),
        [("blank_picture", "train", 1)],
    ),
    "a tiny picture": (
        lambda folder, rows: new_image(rows, folder, picture(900, (15, 20))),
        [("small_picture", "train", 1)],
    ),
    "a narrow picture": (
        lambda folder, rows: new_image(rows, folder, picture(900, (300, 50))),
        [("narrow_picture", "train", 1)],
    ),
    "silence": (lambda folder, rows: new_sound(rows, folder, np.zeros(RATE)), [("silent_sound", "train", 2)]),
    "a sound cut off at its limit": (
        lambda folder, rows: new_sound(rows, folder, (6 * speech(sentence(900))).clip(-1, 1)),
        [("clipped_sound", "train", 2)],
    ),
    "a click": (lambda folder, rows: new_sound(rows, folder, noise(1000)), [("short_sound", "train", 2)]),
    "a long sound": (lambda folder, rows: new_sound(rows, folder, noise(31 * RATE)), [("long_sound", "train", 2)]),
    "another rate": (
        lambda folder, rows: new_sound(rows, folder, speech(sentence(900)), 22_050),
        [("mixed_rates", "train", 0)],
    ),
    "keys that nothing reads": (
        lambda folder, rows: rows["train"][7].update(license="cc", answer_type="x"),
        [("unread_key", "train", 0), ("unread_key", "train", 0)],
    ),
    "a misspelt field of metadata": (
        lambda folder, rows: rows["train"][7].update(metadata={"answertype": "x", "mine": 3, "nothing": None}),
        [("misspelt_metadata", "train", 0)],
    ),
}  # fmt: skip


def test_in_clean_files_nothing_is_odd(tmp_path: Path) -> None:
    assert plant(tmp_path) == []


@pytest.mark.parametrize("name", PLANTED)
def test_what_is_planted_is_found_and_nothing_else(name: str, tmp_path: Path) -> None:
    change, expected = PLANTED[name]
    assert [(found.kind, found.split, found.line) for found in plant(tmp_path, change)] == expected


def test_every_kind_of_finding_is_planted() -> None:
    planted = {kind for _, expected in PLANTED.values() for kind, _, _ in expected}
    assert planted | {"large_picture"} == set(KINDS)


@pytest.mark.parametrize(("width", "height", "kinds"), [(5000, 5000, []), (5001, 5000, ["large_picture"])])
def test_a_large_picture_is_odd(width: int, height: int, kinds: list[str]) -> None:
    facts = Picture(width, height, "PNG", "RGB", picture_print(picture(0)))
    assert [kind for kind, _ in odd_medium(facts)] == kinds


def test_a_finding_names_field_file_and_its_twin(tmp_path: Path) -> None:
    change, _ = PLANTED["a picture of the training in the test, compressed"]
    (found,) = plant(tmp_path, change)
    assert found.place == "test:1 messages[0].content[0]"
    assert found.id == "twin"
    assert found.detail.startswith("twin.jpg is like train3.png of train:10: ")


def test_leaks_are_counted_in_rows(tmp_path: Path) -> None:
    def leaks(folder: Path, rows: dict[str, Rows]) -> None:
        rows["test"].append({**rows["train"][3], "id": "whole"})
        image = image_of(rows["train"], 6)
        for number in range(3):
            rows["test"].append(asked(f"picture{number}", "yes", image, image, segment("text", f"is it {number}?")))
        twin_picture(folder, rows, "test", 0, suffix="jpg", quality=70)

    found = plant(tmp_path, leaks)
    report = make_report({split: tmp_path / f"{split}.jsonl" for split in SPLITS}, {}, found)
    assert (report["leaks"], report["near_leaks"]) == (4, 1)
    assert {kind: item["count"] for kind, item in report["findings"].items()} == {
        "leaked_row": 1,
        "leaked_medium": 3,
        "near_leak": 1,
    }


def test_a_transparent_picture_is_compared_as_it_is_seen(tmp_path: Path) -> None:
    """On white: what a transparent pixel hides is not seen."""
    values = np.asarray(picture(3))
    mask = np.zeros(values.shape[:2], dtype=np.uint8)
    mask[20:60, 20:70] = 255
    seen = np.where(mask[..., None] == 255, values, 255).astype(np.uint8)
    hidden = np.random.default_rng(0).integers(0, 256, values.shape, dtype=np.uint8)
    kept = np.where(mask[..., None] == 255, values, hidden)
    rows = []
    for name, image in {
        "flat": Image.fromarray(seen),
        "hidden": Image.fromarray(np.concatenate([kept, mask[..., None]], axis=2)),
    }.items():
        rows.append(asked(name, "yes", segment("image", save_picture(tmp_path / f"{name}.png", image))))
    _, _, found = inspect({"all": write_rows(tmp_path / "all.jsonl", rows)})
    assert [item.kind for item in found] == ["repeated_row", "same_medium"]


def test_media_within_a_row_are_compared_too(tmp_path: Path) -> None:
    file = io.BytesIO()
    picture(3).save(file, "PNG")
    data = {"type": "image", "data": base64.b64encode(file.getvalue()).decode()}
    save_picture(tmp_path / "a.jpg", picture(3), quality=60)
    rows = [asked("1", "yes", data), asked("2", "no", segment("image", "a.jpg")), asked("3", "so", data)]
    _, _, found = inspect({"all": write_rows(tmp_path / "all.jsonl", rows)})
    assert [(item.kind, item.line) for item in found] == [("other_answer", 3), ("near_picture", 2)]
