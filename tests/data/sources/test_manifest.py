"""What is written is read back the same; what is wrong in a file is named by its row; nothing is overwritten."""

from __future__ import annotations

import base64
import io
import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from torch import Tensor

from data.batching.interleave import Interleaver
from data.batching.loader import BatchStream
from data.batching.mixture import Mixture
from data.media.audio import AudioProcessor, LogMel, read_audio
from data.media.image import ImageProcessor, read_image
from data.sources.manifest import ManifestSource, write_manifest
from data.storage.array_store import ArrayStore, StoredClip, build_once, write_store
from data.tokenizer import Tokenizer
from data.types import (
    AlignedSample,
    BadInputError,
    BadSampleError,
    Layout,
    Media,
    Message,
    Processor,
    Sample,
    Segment,
    Text,
    ToolCall,
)

GOOD = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}


def write_rows(path: Path, rows: Sequence[Any]) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


class Memory:
    """Samples from a list."""

    def __init__(self, samples: Sequence[Sample | AlignedSample]) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def sample(self, index: int, rng: np.random.Generator) -> Sample | AlignedSample:
        return self.samples[index]


def pixels(seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (3, 8, 12), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def sound(seed: int = 0) -> Tensor:
    return torch.randn(500, generator=torch.Generator().manual_seed(seed)) * 0.1


def everything(folder: Path) -> list[Sample | AlignedSample]:
    """Samples with every kind of segment and source."""
    integers = [np.arange(-300, 300, 3, dtype=np.int16), np.arange(50, dtype=np.int16) * 600]
    build_once(folder / "bank", lambda new: write_store(new, integers, np.int16, metadata={"sample_rate": 22050}))
    bank = ArrayStore(folder / "bank")
    Image.fromarray(pixels(1).permute(1, 2, 0).numpy()).save(folder / "x.bmp")
    encoded = io.BytesIO()
    soundfile.write(encoded, sound(2).numpy(), 8000, "FLOAT", format="WAV")
    question = Message("user", (Media("image", pixels()), Text('Wie heißt "das"?\n'), Media("audio", sound())))
    tool = {"type": "function", "function": {"name": "look"}}
    call = Message("assistant", (), (ToolCall("look", {"where": ["up", 1]}, "c1"),))
    answer = Message("assistant", (Text("so"),))
    return [
        Sample("a", (question, call, Message("tool", (Text("21"),)), answer), (tool,), "mine", metadata={"k": "v"}),
        Sample("b", (Message("user", (Media("audio", StoredClip(bank, 1)), Media("image", folder / "x.bmp"))), answer)),
        AlignedSample("c", (Media("audio", encoded.getvalue()), Media("radar", torch.eye(3)), Text("t")), "other"),
        Sample("d", (Message("user", (Media("image", pixels()), Media("audio", StoredClip(bank, 0)))), answer)),
    ]


def values(segment: Segment) -> Any:
    """What a segment holds, whatever it is read from."""
    if isinstance(segment, Text):
        return segment.text
    if segment.modality == "image":
        return read_image(segment).tolist()
    if segment.modality == "audio":
        return read_audio(segment, 16_000).tolist()
    array = np.load(segment.source) if isinstance(segment.source, Path) else segment.source
    return np.asarray(array).tolist()


def content(sample: Sample | AlignedSample) -> Any:
    if isinstance(sample, AlignedSample):
        return sample.id, sample.metadata, [values(segment) for segment in sample.segments]
    messages = [(m.role, [values(segment) for segment in m.content], m.tool_calls) for m in sample.messages]
    return sample.id, sample.metadata, sample.tools, messages


def test_an_exported_manifest_gives_the_same_samples(tmp_path: Path) -> None:
    samples = everything(tmp_path)
    path = write_manifest(Memory(samples), tmp_path / "out")
    assert path == tmp_path / "out" / "manifest.jsonl"
    back = ManifestSource(path)
    assert len(back) == len(samples)
    for index, sample in enumerate(samples):
        read = back.sample(index)
        assert type(read) is type(sample)
        assert content(read) == content(sample)
        assert read.source == sample.source or (not sample.source and read.source == "manifest")
        assert read.origin == f"{path}:{index + 1}"
    again = ManifestSource(write_manifest(back, tmp_path / "again"))
    assert [content(again.sample(i)) for i in range(4)] == [content(sample) for sample in samples]


def test_an_exported_folder_can_be_moved_and_stores_equal_media_once(tmp_path: Path) -> None:
    samples = everything(tmp_path)
    write_manifest(Memory(samples), tmp_path / "out")
    (tmp_path / "out").rename(tmp_path / "moved")
    back = ManifestSource(tmp_path / "moved" / "manifest.jsonl")
    assert content(back.sample(0)) == content(samples[0])
    suffixes = sorted(file.suffix for file in (tmp_path / "moved" / "media").iterdir())
    assert suffixes == [".bmp", ".npy", ".png", ".wav", ".wav", ".wav", ".wav"]


def test_16_bit_clips_keep_their_samples_and_rate(tmp_path: Path) -> None:
    write_manifest(Memory(everything(tmp_path)[3:]), tmp_path / "out")
    audio = ManifestSource(tmp_path / "out" / "manifest.jsonl").sample(0)
    assert isinstance(audio, Sample)
    medium = audio.messages[0].content[1]
    assert isinstance(medium, Media)
    assert isinstance(medium.source, Path)
    read, rate = soundfile.read(medium.source, dtype="int16")
    assert rate == 22050
    np.testing.assert_array_equal(read, np.arange(-300, 300, 3))


def test_an_existing_folder_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(BadInputError, match=r"out: exists already, and is not overwritten"):
        write_manifest(Memory(everything(tmp_path)), tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_failed_export_leaves_nothing(tmp_path: Path) -> None:
    bad = Sample("x", (Message("user", (Media("image", tmp_path / "gone.png"),)),))
    with pytest.raises(BadSampleError, match=r"sample \(id x\): .*gone\.png: file not found"):
        write_manifest(Memory([bad]), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_exports_stop_at_max_samples_and_draw_with_their_seed(tmp_path: Path) -> None:
    class Drawing(Memory):
        def sample(self, index: int, rng: np.random.Generator) -> Sample:
            return Sample(str(index), (Message("assistant", (Text(str(rng.random())),)),))

    source = Drawing([None] * 5)  # type: ignore[list-item]
    lines = [
        write_manifest(source, tmp_path / name, max_samples=count, seed=seed).read_text().splitlines()
        for name, count, seed in (("a", 3, 0), ("b", 100, 0), ("c", 3, 1))
    ]
    assert [len(rows) for rows in lines] == [3, 5, 3]
    assert lines[0] == lines[1][:3]
    assert not set(lines[0]) & set(lines[2])


def test_blank_lines_marks_of_order_and_windows_ends_are_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    row = json.dumps({**GOOD, "id": "ü"}, ensure_ascii=False).encode()
    path.write_bytes(b"\xef\xbb\xbf" + row + b"\r\n\r\n  \n" + row)
    source = ManifestSource(path)
    assert len(source) == 2
    assert [source.sample(i).origin for i in range(2)] == [f"{path}:1", f"{path}:4"]
    assert source.sample(1).id == "ü"
    assert source.sample(0).source == "x"


def test_rows_are_read_in_any_order_and_in_another_process(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "x.jsonl", [{**GOOD, "id": index} for index in range(50)])
    source = pickle.loads(pickle.dumps(ManifestSource(path)))
    for index in np.random.default_rng(0).permutation(50):
        assert source.sample(int(index)).id == str(index)


def test_texts_hold_all_that_is_read_as_text(tmp_path: Path) -> None:
    write_manifest(Memory(everything(tmp_path)), tmp_path / "out")
    texts = list(ManifestSource(tmp_path / "out" / "manifest.jsonl").texts())
    assert texts[:3] == ['Wie heißt "das"?\n', "21", "so"]
    assert '{"name":"look","arguments":{"where":["up",1]}}' in texts
    assert '{"type":"function","function":{"name":"look"}}' in texts
    assert texts.count("so") == 3
    assert "t" in texts


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", "not JSON (Expecting property name enclosed in double quotes at column 2)"),
        ("[1, 2]", "a row must be an object, not [1, 2]"),
        ({"messages": [{"role": "user"}]}, "messages[0].content: is missing"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_a_broken_row_is_named_at_once_or_skipped_when_it_is_read(tmp_path: Path, row: Any, message: str) -> None:
    path = write_rows(tmp_path / "train.jsonl", [GOOD, row, GOOD])
    with pytest.raises(BadSampleError) as caught:
        ManifestSource(path)
    assert str(caught.value) == f"{path}:2: {message}"
    source = ManifestSource(path, on_bad_sample="skip")
    assert len(source) == 3
    assert list(source.texts()) == ["hi", "hello"] * 2
    assert source.sample(0).id
    assert source.sample(2).id
    with pytest.raises(BadSampleError) as caught:
        source.sample(1)
    assert str(caught.value) == f"{path}:2: {message}"


def test_other_encodings_are_named(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes(json.dumps(GOOD).encode() + b"\n" + b'{"id": "\xe4"}\n')
    with pytest.raises(BadSampleError, match=r"train.jsonl:2: not UTF-8 \(invalid continuation byte at byte 8\)"):
        ManifestSource(path)


def test_a_missing_file_is_named_by_row_and_field_when_it_is_read(tmp_path: Path) -> None:
    asked = [{"type": "text", "text": "what?"}, {"type": "image", "path": "gone.png"}]
    rows = [GOOD, {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": "x"}]}]
    source = ManifestSource(write_rows(tmp_path / "train.jsonl", rows))
    with pytest.raises(BadSampleError) as caught:
        source.sample(1)
    where = f"{tmp_path}/train.jsonl:2: messages[0].content[1].path"
    assert str(caught.value) == f"{where}: file not found: {tmp_path}/gone.png"


@pytest.mark.parametrize(("content_of_file", "message"), [(None, "cannot be read: No such file"), ("\n\n", "no rows")])
def test_a_file_without_rows_is_refused(tmp_path: Path, content_of_file: str | None, message: str) -> None:
    if content_of_file is not None:
        (tmp_path / "x.jsonl").write_text(content_of_file)
    with pytest.raises(BadInputError, match=rf"x\.jsonl: .*{message}"):
        ManifestSource(tmp_path / "x.jsonl")
    with pytest.raises(BadInputError, match="cannot be read: Is a directory"):
        ManifestSource(tmp_path)
    with pytest.raises(ValueError, match="on_bad_sample='stop' must be one of error, skip"):
        ManifestSource(tmp_path / "x.jsonl", on_bad_sample="stop")


def test_bad_rows_and_bad_media_are_counted_by_the_stream_and_the_rest_is_trained_on(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    picture = io.BytesIO()
    Image.fromarray(pixels().permute(1, 2, 0).numpy()).save(picture, "PNG")
    (tmp_path / "fine.png").write_bytes(picture.getvalue())
    encoded = base64.b64encode(picture.getvalue()).decode()

    def about(**segment: str) -> dict[str, Any]:
        asked = [{"type": "image", **segment}, {"type": "text", "text": "what?"}]
        return {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": "noise"}]}

    rows = ["{", about(path="gone.png"), about(path="broken.png"), about(path="fine.png"), about(data=encoded)]
    source = ManifestSource(write_rows(tmp_path / "x.jsonl", rows), on_bad_sample="skip")
    processors: dict[str, Processor] = {"image": ImageProcessor(8), "audio": AudioProcessor(LogMel(8000, 20, 200, 80))}
    interleaver = Interleaver(
        Tokenizer.train(source.texts(), 300), processors, {"image": lambda _: Layout(4)}, ("text", "image"), 64
    )
    stream = BatchStream(Mixture({"x": (source, 1.0)}, 0), interleaver, 5, on_bad_sample="skip")
    batch = stream[0]
    assert len(batch.sample_ids) == len(batch.media["image"]) == 2
    reasons = sorted(batch.skipped)
    assert [reason.partition("x.jsonl:")[2][:1] for reason in reasons] == ["1", "2", "3"]
    for part in ("not JSON", "gone.png", "broken.png: not a readable image"):
        assert any(part in reason for reason in reasons)
