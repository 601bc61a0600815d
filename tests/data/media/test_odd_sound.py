"""Sound that is hardly sound becomes finite features, or one line that names it."""

from __future__ import annotations

import io
import math
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from data.media.audio import AudioProcessor, LogMel, read_audio, sample_rate
from data.media.waveform import WaveformProcessor
from data.types import BadSampleError, Media

RATE = 8000


def processors() -> list[AudioProcessor | WaveformProcessor]:
    features = LogMel(RATE, num_mels=20, window=200, hop=80)
    return [AudioProcessor(features, mean="clip"), AudioProcessor(features, mean="bins"), WaveformProcessor(RATE)]


def encoded(samples: np.ndarray, kind: str = "WAV", subtype: str = "FLOAT", rate: int = RATE) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, subtype, format=kind)
    return file.getvalue()


def tone(frequency: float = 440.0, length: int = RATE) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * frequency * np.arange(length) / RATE)).astype(np.float32)


@pytest.mark.parametrize(
    ("kind", "subtype"),
    [
        ("WAV", "GSM610"), ("WAV", "G721_32"), ("WAV", "NMS_ADPCM_16"), ("AU", "G721_32"), ("AU", "G723_24"),
        ("AIFF", "GSM610"), ("W64", "GSM610"), ("XI", "DPCM_16"), ("XI", "DPCM_8"), ("WAV", "MS_ADPCM"),
        ("WAV", "IMA_ADPCM"), ("WAV", "ULAW"), ("AU", "ALAW"), ("CAF", "ALAC_16"), ("OGG", "OPUS"),
    ],
)  # fmt: skip
def test_codecs_that_only_go_forward_are_read_like_others(kind: str, subtype: str) -> None:
    content = encoded(tone(), kind, subtype)
    rate = sample_rate(Media("audio", content)) or 0
    read = read_audio(Media("audio", content), rate)
    assert RATE <= len(read) <= RATE * 1.05
    spectrum = np.abs(np.fft.rfft(read[: len(tone())].numpy()))
    assert spectrum.argmax() == pytest.approx(440, abs=2)  # of one second at the rate it was written with


def test_a_codec_that_the_library_cannot_read_is_named_without_an_address() -> None:
    content = encoded(tone(), "AIFF", "DWVW_16")
    with pytest.raises(BadSampleError, match=r"^audio data: not readable sound \(Internal psf_fseek\(\) failed\.\)$"):
        read_audio(Media("audio", content), RATE)


@pytest.mark.parametrize("value", [0.0, 0.5, -1.0, 1e-45, 1e-38, 1e6, 2.0**31])
@pytest.mark.parametrize("length", [1, 2, 100, 4000])
def test_silence_constants_and_odd_scales_give_finite_features(value: float, length: int) -> None:
    content = encoded(np.full(length, value, dtype=np.float32))
    for processor in processors():
        for source in (content, torch.full((length,), value)):
            assert bool(processor(Media("audio", source)).isfinite().all())


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (1e18, "holds a sample of 1e+18, where full scale is 1"),
        (-1e30, "holds a sample of 1e+30, where full scale is 1"),
        (3.4e38, "holds a sample of 3.4e+38, where full scale is 1"),
        (1e300, "holds samples that are not finite"),
        (math.inf, "holds samples that are not finite"),
        (math.nan, "holds samples that are not finite"),
    ],
)
def test_sound_of_no_loudness_is_refused_by_name(tmp_path: Path, value: float, reason: str) -> None:
    samples = tone().astype(np.float64)
    samples[100] = value
    (tmp_path / "loud.wav").write_bytes(encoded(samples, subtype="DOUBLE"))
    for processor in processors():
        with pytest.raises(BadSampleError) as caught:
            processor(Media("audio", tmp_path / "loud.wav"))
        assert str(caught.value) == f"{tmp_path}/loud.wav: {reason}"


def test_two_loud_channels_that_cancel_are_no_way_around() -> None:
    samples = np.stack([np.full(100, 3e38), np.full(100, 3e38)], axis=1).astype(np.float32)
    with pytest.raises(BadSampleError, match="not finite"):
        read_audio(Media("audio", encoded(samples)), RATE)


@pytest.mark.parametrize("channels", [2, 6, 17])
def test_any_number_of_channels_is_averaged(channels: int) -> None:
    samples = np.stack([(number + 1) * tone() / channels for number in range(channels)], axis=1)
    read = read_audio(Media("audio", encoded(samples)), RATE)
    torch.testing.assert_close(read, torch.from_numpy(tone() * (channels + 1) / 2 / channels))


@pytest.mark.parametrize("rate", [1, 50, 7_999, 15_999, 96_001, 768_000])
def test_any_rate_gives_finite_features(rate: int) -> None:
    for processor in processors():
        values = processor(Media("audio", encoded(tone(length=max(rate // 10, 1)), rate=rate)))
        assert bool(values.isfinite().all())


@pytest.mark.parametrize("rate", [768_001, 2**31 - 1])
def test_a_rate_that_no_sound_has_is_named(rate: int) -> None:
    with pytest.raises(BadSampleError, match=f"audio data: has {rate} samples a second, must have 1 to 768000"):
        read_audio(Media("audio", encoded(tone(), rate=rate)), RATE)


def test_a_header_without_a_rate_is_named() -> None:
    content = encoded(tone(), subtype="PCM_16").replace(struct.pack("<I", RATE), struct.pack("<I", 0), 1)
    with pytest.raises(BadSampleError, match=r"^audio data: "):
        read_audio(Media("audio", content), RATE)


def test_a_sound_of_more_values_than_the_memory_holds_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    """A file of 300 MB that takes no place on the disk."""
    header = encoded(np.zeros(0, dtype=np.float32), subtype="PCM_U8")
    size = 300_000_000
    place = header.index(b"data") + 4
    start = bytearray(header[: place + 4])
    start[place : place + 4] = struct.pack("<I", size)
    start[4:8] = struct.pack("<I", size + len(start) - 8)
    with (tmp_path / "day.wav").open("wb") as file:
        file.write(start)
        file.truncate(len(start) + size)
    with pytest.raises(BadSampleError, match=r"day\.wav: 300000000 samples of 1 channels, more than can be read"):
        read_audio(Media("audio", tmp_path / "day.wav"), RATE)
    with pytest.raises(BadSampleError, match=r"day\.wav: 37500\.0 s of sound, more than max_seconds=30"):
        processors()[0](Media("audio", tmp_path / "day.wav"))


def test_raw_samples_of_any_kind_are_checked_too() -> None:
    for source, reason in ((torch.full((9,), 1e30), "1e\\+30"), (torch.full((9,), math.nan), "not finite")):
        with pytest.raises(BadSampleError, match=f"^audio tensor: holds .*{reason}"):
            read_audio(Media("audio", source), RATE)


class Unnamed:
    """A clip without a name of its own."""

    def read(self) -> Tensor:
        return torch.zeros(0)


def test_a_clip_without_a_name_is_called_the_same_in_every_run() -> None:
    with pytest.raises(BadSampleError, match=r"^audio unnamed: must be non-empty"):
        read_audio(Media("audio", Unnamed()), RATE)


@pytest.mark.parametrize("left_behind", [b"", b"\x00\x05\x16\x07" + bytes(78)])
def test_what_macos_leaves_beside_a_file_does_not_matter(left_behind: bytes, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.mp3", 0.1 * np.sin(np.arange(RATE)), RATE, format="MP3")
    (tmp_path / "._x.mp3").write_bytes(left_behind)
    assert len(read_audio(Media("audio", tmp_path / "x.mp3"), RATE)) == RATE
