"""Sound of every format and rate becomes the same features; augmentation does what it says and repeats."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import torchaudio
from torch import Tensor

from data.media.audio import AudioProcessor, LogMel, read_audio
from data.media.audio_augmentation import SpectrogramAugmentation
from data.media.resampling import resample
from data.storage.array_store import ArrayStore, StoredClip, build_once, write_store
from data.types import BadSampleError, Media

RATE = 8000

FULL = {
    "stretch": 0.2, "local_stretch": 0.2, "warp": 0.2, "tilt": 0.5, "equaliser": 0.5, "band": 0.5, "room": 20.0,
    "snr": 5.0, "noise": 0.2, "pad": 8, "num_masks": 2, "mask_bins": 6, "mask_frames": 5,
}  # fmt: skip


def log_mel() -> LogMel:
    return LogMel(RATE, num_mels=20, window=200, hop=80)


def tone(frequency: float, seconds: float = 0.5, rate: int = RATE) -> Tensor:
    return 0.3 * torch.sin(2 * math.pi * frequency * torch.arange(int(seconds * rate)) / rate)


def wav(samples: Tensor, rate: int = RATE, kind: str = "WAV", subtype: str | None = "FLOAT") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples.numpy(), rate, subtype, format=kind)
    return file.getvalue()


def store(folder: Path, clips: list[Tensor], rate: int = RATE) -> ArrayStore:
    integers = [(clip * 32767).short().numpy() for clip in clips]
    build_once(folder, lambda new: write_store(new, integers, np.int16, metadata={"sample_rate": rate}))
    return ArrayStore(folder)


@pytest.mark.parametrize(
    ("kind", "subtype", "tolerance"),
    [
        ("WAV", "FLOAT", 0),
        ("WAV", "PCM_16", 1e-4),
        ("FLAC", "PCM_16", 1e-4),
        ("OGG", "VORBIS", 0.1),
        ("MP3", None, 0.1),
    ],
)
def test_formats(tmp_path: Path, kind: str, subtype: str | None, tolerance: float) -> None:
    sound = tone(440)
    (tmp_path / f"x.{kind.lower()}").write_bytes(wav(sound, RATE, kind, subtype))
    for source in (tmp_path / f"x.{kind.lower()}", wav(sound, RATE, kind, subtype)):
        read = read_audio(Media("audio", source), RATE)
        middle = slice(800, 2400)  # lossy formats smear the sudden ends
        torch.testing.assert_close(read[middle], sound[middle], rtol=0, atol=tolerance)


def test_channels_are_averaged() -> None:
    both = torch.stack([tone(440), tone(700)], dim=1)
    torch.testing.assert_close(read_audio(Media("audio", wav(both)), RATE), both.mean(1))


@pytest.mark.parametrize("rate", [11025, 22050, 44100, 48000])
def test_a_tone_of_another_rate_is_the_same_tone(rate: int) -> None:
    read = read_audio(Media("audio", wav(tone(440, rate=rate), rate)), RATE)
    assert abs(len(read) - RATE / 2) <= 1
    torch.testing.assert_close(read[400:-400], tone(440)[400 : len(read) - 400], rtol=0, atol=2e-3)


@pytest.mark.parametrize("length", [1, 100, 5000, 22050, 30001])
def test_resampling_is_torchaudios(length: int) -> None:
    sound = torch.randn(length, generator=torch.Generator().manual_seed(0))
    for rate, new_rate in ((22050, 16000), (8000, 16000)):
        expected = torchaudio.functional.resample(sound, rate, new_rate)
        # The function computes its filter in float32 and the cached one in float64.
        torch.testing.assert_close(resample(sound, rate, new_rate), expected, rtol=0, atol=1e-4)


def test_features_show_the_pitch_and_count_their_frames() -> None:
    features = log_mel()
    loudest = [int(features(tone(frequency)).mean(0).argmax()) for frequency in (300, 800, 1500, 3000)]
    assert loudest == sorted(set(loudest))
    for length in (1, 79, 80, 200, 4000, 4079):
        frames = features(torch.randn(length))
        assert frames.shape == (max(length, features.num_fft) // 80 + 1, 20)
        assert bool(frames.isfinite().all())


def test_fingerprints_tell_features_apart() -> None:
    base: dict[str, Any] = {"sample_rate": RATE, "num_mels": 20, "window": 200, "hop": 80}
    changes: list[dict[str, Any]] = [
        {},
        {"num_mels": 21},
        {"hop": 81},
        {"window": 199},
        {"f_min": 51.0},
        {"f_max": 3000.0},
        {"floor": 1e-6},
    ]
    fingerprints = [LogMel(**{**base, **change}).fingerprint for change in changes]
    assert len(set(fingerprints)) == len(changes)
    assert LogMel(**base).fingerprint == fingerprints[0]


def test_values_are_centred_and_loudness_does_not_matter() -> None:
    processor = AudioProcessor(log_mel(), scale=4.0)
    sound = tone(440) + 0.1 * torch.randn(4000, generator=torch.Generator().manual_seed(0))
    quiet, loud = processor(Media("audio", 0.5 * sound)), processor(Media("audio", sound))
    assert abs(loud.mean().item()) < 1e-5
    torch.testing.assert_close(quiet, loud, rtol=0, atol=1e-2)
    torch.testing.assert_close(loud, (log_mel()(sound) - log_mel()(sound).mean()) / 4)


def test_stored_clips_give_the_features_of_their_sound(tmp_path: Path) -> None:
    clips = [tone(300, 0.2), tone(900, 0.5), tone(2000, 0.1)]
    bank, processor = store(tmp_path / "bank", clips), AudioProcessor(log_mel())
    for index in (2, 0, 1):
        source = StoredClip(bank, index)
        expected = processor(Media("audio", source.read()))
        torch.testing.assert_close(processor(Media("audio", source)), expected, rtol=0, atol=0.004)


def test_features_of_a_store_are_computed_once_and_anew_for_other_features(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    media = Media("audio", StoredClip(store(tmp_path / "bank", [tone(300), tone(500)]), 1))
    first = AudioProcessor(log_mel())(media)
    finer = AudioProcessor(LogMel(RATE, num_mels=20, window=200, hop=40))(media)
    assert len(finer) == 2 * len(first) - 1

    def fail(*_: object) -> Tensor:
        raise AssertionError("computed again")

    monkeypatch.setattr(LogMel, "forward", fail)
    assert torch.equal(AudioProcessor(log_mel())(media), first)


def test_stored_clips_of_another_rate_are_resampled(tmp_path: Path) -> None:
    bank = store(tmp_path / "bank", [tone(440, rate=22050)], rate=22050)
    processor = AudioProcessor(log_mel())
    stored, direct = processor(Media("audio", StoredClip(bank, 0))), processor(Media("audio", tone(440)))
    assert stored.shape == direct.shape
    assert stored.mean(0).argmax() == direct.mean(0).argmax()
    read = read_audio(Media("audio", StoredClip(bank, 0)), RATE)
    torch.testing.assert_close(read[400:-400], tone(440)[400:-400], rtol=0, atol=2e-3)


def test_what_cannot_be_used_is_named(tmp_path: Path) -> None:
    processor = AudioProcessor(log_mel(), max_seconds=1.0)
    files = {
        "empty.wav": b"",
        "text.wav": b"no sound",
        "x.raw": b"1234",
        "silent.wav": wav(torch.zeros(0)),
        "nan.wav": wav(torch.tensor([0.0, math.nan, 0.0])),
        "long.wav": wav(tone(440, 1.5)),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    for name, reason in (
        ("missing.wav", "file not found"),
        ("empty.wav", "not readable sound"),
        ("text.wav", "not readable sound"),
        ("x.raw", "not readable sound"),
        ("silent.wav", "must be non-empty"),
        ("nan.wav", "holds samples that are not finite"),
        ("long.wav", "1.5 s of sound, more than max_seconds=1"),
    ):
        with pytest.raises(BadSampleError, match=rf"{name}: {reason}") as caught:
            processor(Media("audio", tmp_path / name))
        assert "\n" not in str(caught.value)
    for source, reason in (
        (b"x", "audio data: not readable sound"),
        (torch.zeros(2, 5), r"must be non-empty float \[samples\], not torch.float32 \(2, 5\)"),
        (torch.zeros(5, dtype=torch.int16), "not torch.int16"),
        (tone(440, 1.1), "1.1 s of sound, more than"),
    ):
        with pytest.raises(BadSampleError, match=reason):
            processor(Media("audio", source))


def test_a_stored_clip_that_is_too_long_is_refused_too(tmp_path: Path) -> None:
    bank = store(tmp_path / "bank", [tone(440, 0.5), tone(440, 1.5)])
    processor = AudioProcessor(log_mel(), max_seconds=1.0)
    processor(Media("audio", StoredClip(bank, 0)))
    with pytest.raises(BadSampleError, match=r"bank\[1\]\): 1.5 s of sound, more than max_seconds=1"):
        processor(Media("audio", StoredClip(bank, 1)))


def test_a_file_that_is_too_long_is_refused_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "long.wav").write_bytes(wav(tone(440, 1.5)))
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda *_, **__: pytest.fail("decoded"))
    with pytest.raises(BadSampleError, match="more than max_seconds=1"):
        AudioProcessor(log_mel(), max_seconds=1.0)(Media("audio", tmp_path / "long.wav"))


def test_augmentation_repeats_with_its_generator_and_is_off_without_one() -> None:
    full = SpectrogramAugmentation(**FULL)  # type: ignore[arg-type]
    processor, media = AudioProcessor(log_mel(), augmentation=full), Media("audio", tone(440))
    torch.manual_seed(1)
    first = processor(media, np.random.default_rng(3))
    torch.manual_seed(2)
    assert torch.equal(processor(media, np.random.default_rng(3)), first)
    assert len({processor(media, np.random.default_rng(seed)).abs().sum().item() for seed in range(10)}) == 10
    assert torch.equal(processor(media), AudioProcessor(log_mel())(media))


def test_the_stored_features_are_never_changed(tmp_path: Path) -> None:
    augmentation = SpectrogramAugmentation(num_masks=3, mask_bins=6, mask_frames=5, noise=0.2)
    processor = AudioProcessor(log_mel(), augmentation=augmentation)
    media = Media("audio", StoredClip(store(tmp_path / "bank", [tone(300)]), 0))
    before = processor(media)
    processor(media, np.random.default_rng(0))
    assert torch.equal(processor(media), before)


def test_the_mean_of_each_bin_hides_what_colours_a_sound_alike_at_all_times() -> None:
    values, colour = torch.randn(50, 20, generator=torch.Generator().manual_seed(0)), torch.linspace(-3, 3, 20)

    class Fixed(LogMel):
        response = torch.zeros(20)

        def forward(self, samples_S: Tensor) -> Tensor:
            return values + self.response

    by_mean = {}
    for mean in ("clip", "bins"):
        features = Fixed(RATE, 20, 200, 80)
        processor, heard = AudioProcessor(features, mean=mean), []
        for features.response in (torch.zeros(20), colour):
            heard.append(processor(Media("audio", tone(440))))
        by_mean[mean] = (heard[0] - heard[1]).abs().max().item()
        assert abs(heard[1].mean().item()) < 1e-5
    assert by_mean["bins"] < 1e-5
    assert by_mean["clip"] > 0.5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LogMel(0, 20, 200, 80), "sample_rate=0 must be positive"),
        (lambda: LogMel(RATE, 20, 200, 80, f_max=5000), "must rise and stay within half of sample_rate=8000"),
        (lambda: AudioProcessor(log_mel(), scale=0), "scale=0"),
        (lambda: AudioProcessor(log_mel(), mean="frames"), "mean='frames' must be one of clip, bins"),
    ],
)
def test_arguments_are_checked(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]
