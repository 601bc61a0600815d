"""Whatever is wrong with one row, of the kinds that people and programs write, is said of that row in one line.

Each row is read as a training reads it (parsed, loaded, decoded, interleaved), once to be refused, once to be skipped.
"""

from __future__ import annotations

import base64
import io
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from data.bad_samples import reading, reason
from data.batching.interleave import Interleaver
from data.batching.loader import BatchStream
from data.batching.mixture import Mixture
from data.media.audio import AudioProcessor, LogMel
from data.media.image import ImageProcessor
from data.sources.aligned import is_aligned
from data.sources.base import read_sample
from data.sources.fingerprint import fingerprint
from data.sources.manifest import ManifestSource, write_manifest
from data.spelling import spelled
from data.storage.feature_store import media_key
from data.tokenizer import Tokenizer
from data.types import (
    BadInputError,
    BadSampleError,
    Layout,
    LayoutOf,
    Media,
    Message,
    Processor,
    Sample,
    Text,
    ToolCall,
)
from tests.data.bad_rows import GOOD, HALF, ROWS, Row, about, image, lines, write_media


def raising(error: BaseException) -> Processor:
    def process(media: Media, rng: np.random.Generator | None = None) -> Tensor:
        raise error

    return process


def interleaver() -> Interleaver:
    processors: dict[str, Processor] = {
        "image": ImageProcessor(4),
        "audio": AudioProcessor(LogMel(8000, 20, 200, 80)),
        "radar": raising(KeyError("x")),
        "lidar": lambda media, rng=None: torch.full((3,), np.nan),
        "sonar": raising(MemoryError()),
        "bug": raising(NameError("name 'x' is not defined")),
        "stop": raising(KeyboardInterrupt()),
    }
    counts: dict[str, LayoutOf] = dict.fromkeys(processors, lambda shape: Layout(2))
    return Interleaver(Tokenizer.train((), 265), processors, counts, ("text", *processors), 4096)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes rows beside their media; returns the manifest's path."""
    write_media(tmp_path)

    def written(*rows: Row | str) -> Path:
        path = tmp_path / "train.jsonl"
        path.write_text(lines(*rows))
        return path

    return written


def stream(source: Any, on_bad_sample: str, count: int) -> BatchStream:
    return BatchStream(Mixture({"x": (source, 1.0)}, 0), interleaver(), count, on_bad_sample=on_bad_sample,
                       reads=("messages", "aligned"))  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_a_bad_row_is_named_or_skipped_and_counted(name: str, write: Callable[..., Path]) -> None:
    row, said = ROWS[name]
    path = write(GOOD, row, GOOD)
    source = ManifestSource(path, on_bad_sample="skip")
    batch = stream(source, "skip", 3)[0]
    assert list(batch.sample_ids) == ["good"] * 2
    (skipped,) = batch.skipped
    with pytest.raises(BadSampleError) as caught:
        stream(ManifestSource(path), "error", 3)[0]
    for line in (skipped, str(caught.value)):
        assert line.startswith(f"{path}:2")
        assert line.isprintable()
        assert len(line) < 1000
        assert " 0x" not in line
        assert re.search(said, line), line
    # Two readings give the same words, and what else goes through the rows goes through these.
    assert stream(ManifestSource(path, on_bad_sample="skip"), "skip", 3)[0].skipped == (skipped,)
    assert len(list(source.texts())) >= 4
    assert fingerprint(source) == fingerprint(ManifestSource(path, on_bad_sample="skip"))
    assert not is_aligned(source)


@pytest.mark.parametrize("name", [name for name in ROWS if name.startswith(("surrogate", "nested", "whole"))])
def test_what_is_wrong_with_the_words_is_found_when_the_file_is_opened(name: str, write: Callable[..., Path]) -> None:
    with pytest.raises(BadSampleError, match=r"train\.jsonl:2: "):
        ManifestSource(write(GOOD, ROWS[name][0]))


def test_a_pair_of_halves_is_a_character(write: Callable[..., Path]) -> None:
    source = ManifestSource(write('{"id": "\\ud83d\\ude00", ' + json.dumps(GOOD).partition(",")[2]))
    assert source.sample(0).id == "\U0001f600"


def test_a_file_without_permission_is_named_by_row_and_field(
    write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.png").write_bytes(b"x")
    source = ManifestSource(write(about(image(path="mine.png"))))
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "mine.png")  # root may read everything
    with pytest.raises(BadSampleError, match=r":1: .*content\[0\]\.path: cannot be read \(Permission"):
        source.sample(0)
    for read in (media_key, ImageProcessor(4), AudioProcessor(LogMel(8000, 20, 200, 80))):
        with pytest.raises(BadSampleError, match=r"mine\.png: cannot be read \(Permission denied\)"):
            read(Media("image", tmp_path / "mine.png"))  # type: ignore[operator]


def test_bugs_interruptions_and_faults_of_the_configuration_stay_what_they_are(write: Callable[..., Path]) -> None:
    (write(GOOD).parent / "x").write_bytes(b"x")
    for kind, expected in (("bug", NameError), ("stop", KeyboardInterrupt)):
        path = write(about({"type": kind, "path": "x"}))
        with pytest.raises(expected):
            stream(ManifestSource(path), "skip", 1)[0]
    with pytest.raises(BadInputError) as caught, reading("row"):
        raise BadInputError("the cache cannot be written")
    assert type(caught.value) is BadInputError


class Own:
    """A source of one's own, which raises whatever its library does, or gives samples that no file could hold."""

    def __init__(self, given: Sample | Exception) -> None:
        self.given = given

    def __len__(self) -> int:
        return 1

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        if isinstance(self.given, Exception):
            raise self.given
        return self.given

    def texts(self) -> list[str]:
        return []


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (OSError(5, "Input/output error"), "own[0]: Input/output error"),
        (ValueError("bad\n  block"), "own[0]: bad block"),
        (IndexError(3), "own[0]: IndexError 3"),
        (RuntimeError(f"cannot read {object()!r}"), "own[0]: cannot read"),
        (MemoryError(), "own[0]: MemoryError"),
        (Sample(HALF, (Message("user", (Text("a"),)),)), r"own[0]: id: holds \ud800, half a surrogate pair"),
        (
            Sample("a", (Message("assistant", (), (ToolCall("f", {"x": HALF}),)),)),
            r"own[0]: messages[0].tool_calls[0].function.arguments",
        ),
    ],
)  # fmt: skip
def test_a_source_of_ones_own_may_raise_anything(given: Any, line: str, tmp_path: Path) -> None:
    source = Own(given)
    with pytest.raises(BadSampleError) as caught:
        read_sample(source, 0, np.random.default_rng(0), "own")
    assert str(caught.value).startswith(line)
    assert stream(source, "skip", 1)[0].skipped == (str(caught.value).replace("own", "x"),)
    assert fingerprint(source) == fingerprint(Own(given))
    assert not is_aligned(source)
    with pytest.raises(BadSampleError, match=r"^manifest\[0\]: "):
        write_manifest(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


class Torn:
    """A clip of a store that has gone."""

    def read(self) -> Tensor:
        raise OSError(5, "Input/output error")


def test_a_medium_that_cannot_be_read_has_no_content_in_a_fingerprint() -> None:
    sample = Sample("a", (Message("user", (Media("audio", Torn()),)), Message("assistant", (Text("x"),))))
    assert fingerprint(Own(sample)) == fingerprint(Own(OSError("gone")))
    (skipped,) = stream(Own(sample), "skip", 1)[0].skipped
    assert skipped == "x (id a): messages[0].content[0]: audio torn: Input/output error"


def test_a_manifest_that_is_a_pipe_or_no_name_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, said in (
        (tmp_path / "pipe", "is a pipe or a device"),
        ("/dev/zero", "is a pipe or a device"),
        ("x" * 300, "cannot be read: File name too long"),
        ("a\0b", "cannot be read: "),
    ):
        with pytest.raises(BadInputError, match=said) as caught:
            ManifestSource(path)
        assert not isinstance(caught.value, BadSampleError)
        assert str(caught.value).isprintable()


def test_a_reason_is_one_line_without_addresses() -> None:
    with pytest.raises(OSError, match="at 0x") as caught:
        Image.open(io.BytesIO(b"x"))
    assert reason(caught.value) == "cannot identify image file"
    assert reason(ValueError("first\nsecond")) == "first second"
    assert reason(KeyError("name")) == "KeyError 'name'"
    assert reason(RecursionError("maximum recursion depth exceeded")) == "nested too deeply"
    assert len(reason(ValueError("x" * 10_000))) <= 300
    assert spelled("a\nb\0c\ud800 é") == r"a\nb\x00c\ud800 é"


def test_base64_is_still_read(write: Callable[..., Path]) -> None:
    picture = io.BytesIO()
    Image.new("RGB", (4, 4)).save(picture, "PNG")
    row = about(image(data=base64.b64encode(picture.getvalue()).decode()))
    assert not stream(ManifestSource(write(row)), "error", 1)[0].skipped
