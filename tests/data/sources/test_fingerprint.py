"""Fingerprints of sources: other contents are another one, the same contents elsewhere are not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from certify.small_data import write_small_data
from data.sources.fingerprint import fingerprint, spread
from data.sources.manifest import ManifestSource
from data.storage.array_store import ArrayStore, StoredClip, write_store
from data.types import AUDIO, IMAGE, AlignedSample, Media, Message, Sample, Text, ToolCall
from tests.data.memory import MemorySource


class Listed(MemorySource):
    """The samples that it is given."""

    def __init__(self, *samples: Sample | AlignedSample) -> None:
        super().__init__(len(samples))
        self.samples = samples

    def sample(self, index, rng):
        return self.samples[index]


def talk(*content, answer: str = "yes", calls=()) -> Sample:
    return Sample("1", (Message("user", content), Message("assistant", (Text(answer),), calls)))


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return write_small_data(tmp_path / "data", ("text", "image", "audio"))


def test_the_same_manifest_elsewhere_has_the_same_fingerprint(manifest: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(manifest.parent, tmp_path / "elsewhere")
    assert ManifestSource(copied / manifest.name).fingerprint() == ManifestSource(manifest).fingerprint()


def test_rows_and_media_of_a_manifest_count(manifest: Path) -> None:
    found = [fingerprint(ManifestSource(manifest))]
    picture = next(path for path in sorted(manifest.parent.rglob("*.png")))
    content = picture.read_bytes()
    picture.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))  # as long as before
    found.append(fingerprint(ManifestSource(manifest)))
    picture.unlink()
    found.append(fingerprint(ManifestSource(manifest)))
    lines = manifest.read_text(encoding="utf-8").splitlines()
    manifest.write_text("\n".join([lines[1], lines[0], *lines[2:]]), encoding="utf-8")
    found.append(fingerprint(ManifestSource(manifest)))
    manifest.write_text("\n".join(lines[:5]), encoding="utf-8")
    found.append(fingerprint(ManifestSource(manifest)))
    assert len(set(found)) == 5


def test_of_large_manifests_media_that_are_not_read_count_by_their_size(
    manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("data.sources.manifest.READ_FILES", 2)
    before = fingerprint(ManifestSource(manifest))
    for row in manifest.read_text(encoding="utf-8").splitlines()[4:10]:
        for item in json.loads(row)["messages"][0]["content"]:
            if "path" in item:
                path = manifest.parent / item["path"]
                path.write_bytes(path.read_bytes() + b"\0")
                assert fingerprint(ManifestSource(manifest)) != before
                return
    raise AssertionError("no media in the middle")


def test_a_row_that_cannot_be_parsed_has_a_place_in_it(manifest: Path) -> None:
    before = fingerprint(ManifestSource(manifest))
    with manifest.open("a", encoding="utf-8") as file:
        file.write("{not json\n")
    assert fingerprint(ManifestSource(manifest, on_bad_sample="skip")) != before


def test_text_calls_and_media_of_any_source_count() -> None:
    image = torch.zeros(3, 4, 4, dtype=torch.uint8)
    call = ToolCall("look", {"at": "it"})
    samples = [
        talk(Text("a")),
        talk(Text("b")),
        talk(Text("a"), answer="no"),
        talk(Text("a"), calls=(call,)),
        talk(Text("a"), calls=(ToolCall("look", {"at": "that"}),)),
        talk(Media(IMAGE, image)),
        talk(Media(IMAGE, image + 1)),
        talk(Media(AUDIO, b"sound")),
        AlignedSample("1", (Text("a"), Media(IMAGE, image))),
    ]
    found = [fingerprint(Listed(sample)) for sample in samples]
    assert len(set(found)) == len(samples)
    assert found == [fingerprint(Listed(sample)) for sample in samples]


def test_a_clip_counts_by_the_cache_that_holds_it(tmp_path: Path) -> None:
    """Rendering is not the same bit for bit everywhere; the name of a cache says what was rendered."""

    def cached(folder: str, value: int) -> str:
        place = tmp_path / folder
        place.mkdir(parents=True)
        write_store(place, [torch.full((5,), value, dtype=torch.int16).numpy()] * 2, "int16")
        return fingerprint(Listed(talk(Media(AUDIO, StoredClip(ArrayStore(place), 1)))))

    assert cached("here/x", 1) == cached("there/x", 2) != cached("here/y", 1)


def test_a_sample_that_cannot_be_read_is_part_of_what_a_source_is() -> None:
    class Broken(MemorySource):
        def sample(self, index, rng):
            from data.types import BadSampleError

            if index in self.bad:
                raise BadSampleError(f"row {index}: broken")
            return super().sample(index, rng)

    assert fingerprint(Broken(5, bad=[2])) == fingerprint(Broken(5, bad=[2])) != fingerprint(Broken(5))


def test_a_source_may_say_its_fingerprint_itself() -> None:
    class Versioned(MemorySource):
        def fingerprint(self) -> str:
            return "version 7"

    assert fingerprint(Versioned(3)) == "version 7"


def test_places_are_spread_over_all() -> None:
    assert spread(3, 5) == [0, 1, 2]
    assert spread(1000, 5) == [0, 250, 500, 749, 999]
    assert spread(0, 5) == []
    assert len(set(spread(100_001, 10_000))) == 10_000
