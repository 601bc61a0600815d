"""A file is named by what its first bytes say, whatever it was called before."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image, features

from data.sources.file_format import suffix_of
from data.sources.manifest import ManifestSource, write_manifest
from data.types import AlignedSample, Media, Segment

PICTURES = {
    "PNG": ".png", "JPEG": ".jpg", "GIF": ".gif", "BMP": ".bmp", "TIFF": ".tif", "WEBP": ".webp", "JPEG2000": ".jp2",
    "ICO": ".ico", "AVIF": ".avif",
}  # fmt: skip
SOUNDS = {
    "WAV": ".wav", "RF64": ".wav", "WAVEX": ".wav", "FLAC": ".flac", "OGG": ".ogg", "MP3": ".mp3", "AIFF": ".aiff",
    "AU": ".au", "CAF": ".caf",
}  # fmt: skip


def picture(kind: str) -> bytes:
    file = io.BytesIO()
    Image.effect_noise((20, 20), 50).convert("RGB").save(file, kind)
    return file.getvalue()


def sound(kind: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.random.default_rng(0).standard_normal(4000) / 10, 16_000, format=kind)
    return file.getvalue()


@pytest.mark.parametrize("kind", PICTURES)
def test_pictures(kind: str) -> None:
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this PIL writes no AVIF")
    assert suffix_of(picture(kind)) == PICTURES[kind]


@pytest.mark.parametrize("kind", SOUNDS)
def test_sounds(kind: str) -> None:
    content = sound(kind)
    assert suffix_of(content) == SOUNDS[kind]
    if kind == "MP3":
        assert not content.startswith(b"ID3"), "the frame itself is recognised"
        assert suffix_of(b"ID3\x04\0\0\0\0\0\0" + content) == ".mp3"


@pytest.mark.parametrize(
    ("start", "suffix"),
    [
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", ".avif"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", ".heic"),
        (b"\0\0\0\x18ftypM4A \0\0\0\0isom", ".m4a"),
        (b"\0\0\0\x18ftypisom\0\0\0\0isommp41", ".mp4"),
        (b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", ".mov"),
        (b"FORM\0\0\0\x20AIFCFVER", ".aiff"),
        (b"RIFF\x20\0\0\0AVI LIST", ".avi"),
        (b"MM\0*\0\0\0\x08", ".tif"),
        (b"RIFF\x20\0\0\0ACONanih", ""),  # not every RIFF is sound
        (b"\xff\xf1\x50\x80", ""),  # AAC begins almost as MP3 does
        (b"\xff\xfe\0\0h\0", ""),  # and so does a text in UTF-16
        (b"a red kangaroo", ""),
        (b"RIFF", ""),
        (b"\xff", ""),
        (b"", ""),
    ],
)
def test_containers_say_what_they_hold(start: bytes, suffix: str) -> None:
    assert suffix_of(start) == suffix


class One:
    def __init__(self, *segments: Segment) -> None:
        self.sample_ = AlignedSample("a", segments)

    def __len__(self) -> int:
        return 1

    def sample(self, index: int, rng: object) -> AlignedSample:
        return self.sample_


def test_an_exported_file_has_the_suffix_of_its_content(tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(picture("WEBP"))
    (tmp_path / "scan.lidar").write_bytes(b"anything")
    source = One(
        Media("image", picture("TIFF")),
        Media("image", tmp_path / "photo.png"),
        Media("audio", sound("MP3")),
        Media("lidar", tmp_path / "scan.lidar"),
        Media("sentence", b"a red kangaroo"),
        Media("radar", b"anything else"),
    )
    read = ManifestSource(write_manifest(source, tmp_path / "out")).sample(0)
    assert isinstance(read, AlignedSample)
    suffixes = [
        item.source.suffix for item in read.segments if isinstance(item, Media) and isinstance(item.source, Path)
    ]
    assert suffixes == [".tif", ".webp", ".mp3", ".lidar", ".txt", ".bin"]
