"""Clusters are the rows that share a medium they are about, and nothing else ties rows together."""

from pathlib import Path

import numpy as np
import torch

from data.storage.array_store import ArrayStore, StoredClip, write_store
from data.types import AlignedSample, Media, Message, Sample, Segment, Text
from evaluation.answering.clusters import clusters_of

ANSWER = Message("assistant", (Text("red"),))


def ask(number: object, *content: Segment, **metadata: str) -> Sample:
    return Sample(str(number), (Message("user", content), ANSWER), metadata=metadata)


def image(value: int) -> Media:
    return Media("image", torch.full((3, 2, 2), value, dtype=torch.uint8))


def partition(samples: list[Sample]) -> list[int]:
    names = clusters_of(samples, "image").names
    return [names.index(name) for name in names]


def test_questions_about_one_image_are_one_cluster_without_being_told() -> None:
    samples = [ask(i, image(i // 30), Text(f"question {i % 30}?")) for i in range(90)]
    assert partition(samples) == [30 * (i // 30) for i in range(90)]
    found = clusters_of(samples, "image")
    assert found.to_json() == {"count": 3, "words": "3 groups of rows that share a medium of what they are about"}
    assert clusters_of(samples, "image") == found, "the names are the same whenever the samples are"


def test_content_counts_not_the_name_of_a_file(tmp_path: Path) -> None:
    for name, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / f"{name}.png").write_bytes(content)
    files = [Media("image", tmp_path / f"{name}.png") for name in "abc"]
    assert partition([ask(i, media, Text("?")) for i, media in enumerate(files)]) == [0, 0, 2]
    assert partition([ask(0, Media("image", b"1"), Text("?")), ask(1, files[0], Text("?"))]) == [0, 0]
    missing = [ask(i, Media("image", tmp_path / f"{i}.png"), Text("?")) for i in range(2)]
    assert partition(missing) == [0, 1]


def test_rows_that_are_linked_through_others_are_one_cluster() -> None:
    pairs = [(0, 1), (2, 3), (4, 5), (1, 2), (6, 6)]
    samples = [ask(i, image(a), image(b), Text("same?")) for i, (a, b) in enumerate(pairs)]
    assert partition(samples) == [0, 0, 2, 0, 4]


def test_any_medium_of_the_context_ties_rows_together() -> None:
    sound, reading = (Media(name, torch.ones(4)) for name in ("audio", "vibration"))
    samples = [
        ask(0, sound, Text("what is heard?")),
        ask(1, sound, Text("who speaks?")),
        ask(2, reading, Text("fast?")),
        ask(3, reading, image(0), Text("slow?")),
        ask(4, image(0), Text("what colour?")),
    ]
    assert partition(samples) == [0, 0, 2, 2, 2]


def test_a_clip_that_asks_about_many_images_ties_none_together(tmp_path: Path) -> None:
    write_store(tmp_path, [np.zeros(3, np.int16), np.ones(3, np.int16)], np.int16)
    clips = [Media("audio", StoredClip(ArrayStore(tmp_path), index)) for index in (0, 1)]
    samples = [ask(i, image(i // 2), clips[i % 2]) for i in range(6)]
    assert partition(samples) == [0, 0, 2, 2, 4, 4]
    typed = [ask(i, image(i), Text("what colour?")) for i in range(4)]
    assert partition(typed) == [0, 1, 2, 3]


def test_metadata_says_otherwise() -> None:
    samples = [ask(i, image(0), Text("?"), image=str(i // 2)) for i in range(4)]
    samples += [ask(i, image(9), Text("?")) for i in (4, 5)] + [ask(6, Text("?"))]
    assert partition(samples) == [0, 0, 2, 2, 4, 4, 6]
    assert clusters_of(samples, "image").words == (
        "2 groups of rows with one value of metadata.image and 1 group of rows that share a medium of what they are "
        "about and 1 row alone"
    )


def test_equal_ids_are_no_cluster_and_are_told() -> None:
    found = clusters_of([ask(i, Text("?")) for i in ("a", "a", "b", "a")], "image")
    assert len(set(found.names)) == 4
    assert found.words == "4 rows alone; 3 of these have an id that is not theirs alone, and count each"


def test_aligned_samples_that_share_a_picture_are_one_cluster() -> None:
    captions = [AlignedSample(str(i), (image(i // 5), Text(f"caption {i}"))) for i in range(10)]
    names = clusters_of(captions, "concept").names
    assert [names.index(name) for name in names] == [0] * 5 + [5] * 5
    choices = [AlignedSample(str(i // 5), sample.segments) for i, sample in enumerate(captions)]
    told = clusters_of(choices, "concept").words
    assert told == "2 groups of rows that share a medium of what they are about", "equal ids of a group are no matter"
    words = [AlignedSample(str(i), (Media("sentence", b"equal"), image(i))) for i in range(3)]
    assert len(set(clusters_of(words, "concept").names)) == 3
