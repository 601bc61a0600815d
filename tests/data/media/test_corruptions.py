"""Corruptions do what their levels say, measured on what comes out."""

from __future__ import annotations

import io
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from torch import Tensor

from data.media.audio import read_audio, sample_rate
from data.media.corruptions import (
    SEVERITIES,
    AudioClipping,
    AudioNoise,
    Corruption,
    DroppedFrames,
    ImageBlur,
    ImageContrast,
    ImageNoise,
    ImageOcclusion,
    Typos,
    corrupted,
)
from data.storage.array_store import ArrayStore, StoredClip, write_store
from data.types import Absent, BadSampleError, Media, Message, Sample, Text

TEXT = "what is the color of the shape, and is there a 2nd one?"
IMAGES = (ImageNoise, ImageBlur, ImageOcclusion, ImageContrast)
SOUNDS = (AudioNoise, AudioClipping, DroppedFrames)


def image(height: int = 40, width: int = 60) -> Tensor:
    """A picture with edges and with colours that are neither black nor white."""
    pixels = torch.full((3, height, width), 180, dtype=torch.uint8)
    pixels[:, 10:25, 15:40] = torch.tensor([60, 120, 200], dtype=torch.uint8)[:, None, None]
    return pixels


def sound(samples: int = 16_000) -> Tensor:
    """A tone that swells, so that no two stretches are alike."""
    time = torch.arange(samples) / 16_000
    return 0.3 * (0.2 + time / time.max()) * torch.sin(2 * torch.pi * 440 * time)


def value(corruption: Corruption) -> Tensor | str:
    return {"image": image(), "audio": sound(), "text": 2 * TEXT}[corruption.modality]


def distance(a: Tensor | str, b: Tensor | str) -> float:
    """How far two values are apart; of texts, how many single letters must be edited (Levenshtein)."""
    if isinstance(a, str) and isinstance(b, str):
        row = list(range(len(b) + 1))
        for i, x in enumerate(a, start=1):
            diagonal, row[0] = row[0], i
            for j, y in enumerate(b, start=1):
                diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (x != y))
        return float(row[-1])
    return float((a.double() - b.double()).square().mean())


@pytest.mark.parametrize("kind", [*IMAGES, *SOUNDS, Typos])
def test_harm_rises_with_severity_and_follows_the_generator(kind: type[Corruption]) -> None:
    corruption = kind()
    original, kept = value(corruption), value(corruption)
    damaged = [corruption(original, severity, np.random.default_rng(3)) for severity in SEVERITIES]
    assert original == kept if isinstance(kept, str) else torch.equal(original, kept), "the input stays as it was"
    for severity, found in zip(SEVERITIES, damaged, strict=True):
        again = corruption(original, severity, np.random.default_rng(3))
        assert distance(found, again) == 0
        assert type(found) is type(original)
        if isinstance(found, Tensor):
            assert (found.shape, found.dtype) == (original.shape, original.dtype)
    # Over several draws, because two letters that are exchanged twice are back where they were.
    distances = [
        np.mean([distance(corruption(original, severity, np.random.default_rng(seed)), original) for seed in range(6)])
        for severity in SEVERITIES
    ]
    assert distances[0] > 0
    assert all(a < b for a, b in pairwise(distances))
    if kind not in (ImageBlur, ImageContrast, AudioClipping):
        assert distance(damaged[2], corruption(original, 3, np.random.default_rng(4))) > 0


def test_image_noise_has_the_stated_deviation() -> None:
    flat = torch.full((3, 100, 100), 128, dtype=torch.uint8)
    for severity, level in zip((1, 2), (0.08, 0.12), strict=True):
        noise = ImageNoise()(flat, severity, np.random.default_rng(0)).float() - 128
        assert noise.std().item() == pytest.approx(255 * level, rel=0.02)
        assert abs(noise.mean().item()) < 1


def test_blur_keeps_brightness_and_widens_an_edge_by_its_deviation() -> None:
    step = torch.zeros(3, 101, 100, dtype=torch.uint8)
    step[:, :, 50:] = 200
    blurred = ImageBlur((0.02, 0.03, 0.04, 0.05, 0.06))(step, 4, np.random.default_rng(0)).float()
    # The slope of a blurred edge is the kernel: its standard deviation is 5 % of 100 pixels.
    slope = blurred[0, 50].diff().clamp(min=0)
    places = torch.arange(len(slope)).float()
    mean = (slope * places).sum() / slope.sum()
    assert ((slope * (places - mean) ** 2).sum() / slope.sum()).sqrt().item() == pytest.approx(5, rel=0.05)
    assert blurred.mean().item() == pytest.approx(100, abs=1)
    thin = torch.full((3, 1, 9), 7, dtype=torch.uint8)
    assert torch.equal(ImageBlur()(thin, 5, np.random.default_rng(0)), thin)


def test_occlusion_hides_the_stated_share_in_the_mean_colour() -> None:
    pixels = torch.randint(0, 255, (3, 80, 50), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    mean = pixels.float().mean(dim=(1, 2)).round().to(torch.uint8)
    corners = set()
    for seed in range(8):
        found = ImageOcclusion()(pixels, 5, np.random.default_rng(seed))
        hidden = (found == mean[:, None, None]).all(dim=0)
        assert hidden.float().mean().item() == pytest.approx(0.5, abs=0.02)
        rows, columns = hidden.any(dim=1), hidden.any(dim=0)
        assert int(rows.sum()) * int(columns.sum()) == int(hidden.sum()), "one rectangle"
        corners.add((int(rows.nonzero()[0]), int(columns.nonzero()[0])))
    assert len(corners) > 4


def test_contrast_shrinks_all_differences_alike() -> None:
    pixels = image()
    found = ImageContrast()(pixels, 2, np.random.default_rng(0)).float()
    ratio = (found - found.mean()) / (pixels.float() - pixels.float().mean())
    assert ratio.flatten().tolist() == pytest.approx([0.4] * ratio.numel(), abs=0.05)
    assert found.mean().item() == pytest.approx(pixels.float().mean().item(), abs=0.5)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_the_measured_signal_to_noise_ratio_is_the_stated_one(severity: int) -> None:
    signal, corruption = sound(), AudioNoise()
    noise = corruption(signal, severity, np.random.default_rng(0)) - signal
    measured = 10 * torch.log10(signal.square().mean() / noise.square().mean()).item()
    assert measured == pytest.approx(corruption.levels[severity - 1], abs=0.01)
    correlation = torch.corrcoef(torch.stack([noise[:-1], noise[1:]]))[0, 1].item()
    assert abs(correlation) < 0.03, "white: neighbours know nothing of one another"


def test_silence_stays_silent() -> None:
    for kind in SOUNDS:
        assert not kind()(torch.zeros(1000), 3, np.random.default_rng(0)).any()


@pytest.mark.parametrize("severity", SEVERITIES)
def test_clipping_cuts_the_stated_share(severity: int) -> None:
    signal, corruption = sound(), AudioClipping()
    found = corruption(signal, severity, np.random.default_rng(0))
    height = found.abs().max()
    assert (signal.abs() > height).float().mean().item() == pytest.approx(corruption.levels[severity - 1], abs=0.001)
    assert torch.equal(found[signal.abs() <= height], signal[signal.abs() <= height])
    assert (found.sign() == signal.sign()).all()


def test_dropped_frames_are_whole_and_as_many_as_stated() -> None:
    signal = torch.ones(320 * 49 + 100)
    earlier: set[int] = set()
    for severity, share in zip(SEVERITIES, (0.05, 0.1, 0.2, 0.3, 0.4), strict=True):
        found = DroppedFrames()(signal, severity, np.random.default_rng(5))
        frames = found.split(320)
        gone = {number for number, frame in enumerate(frames) if not frame.any()}
        assert all(frame.all() or not frame.any() for frame in frames)
        assert len(gone) == round(share * 50)
        assert earlier <= gone, "more of the same damage"
        earlier = gone
    with pytest.raises(ValueError, match="frame=0"):
        DroppedFrames(frame=0)


def test_typos_edit_letters_only_and_as_many_as_stated() -> None:
    text = "abcdefghij" * 20 + " 123 ?!"
    for severity, share in zip(SEVERITIES, Typos().levels, strict=True):
        found = Typos()(text, severity, np.random.default_rng(1))
        assert found.endswith(" 123 ?!")
        # Every edit changes at most two letters' counts by one each, and an exchange none.
        before, after = Counter(text), Counter(found)
        assert ((before - after) + (after - before)).total() <= 2 * share * 200
        assert abs(len(found) - len(text)) <= share * 200
    lengths = {len(Typos()(text, 5, np.random.default_rng(seed))) - len(text) for seed in range(20)}
    assert min(lengths) < 0 < max(lengths), "letters are deleted and put in"
    assert Typos()("42?", 5, np.random.default_rng(0)) == "42?"
    assert Typos()("", 5, np.random.default_rng(0)) == ""
    changed = [Typos()("red", 1, np.random.default_rng(seed)) != "red" for seed in range(50)]
    assert np.mean(changed) > 0.9, "at least one letter, but for one put in the place of itself"


@pytest.mark.parametrize("kind", [*IMAGES, *SOUNDS, Typos])
def test_wrong_levels_and_severities_are_named(kind: type[Corruption]) -> None:
    levels = kind().levels
    for wrong in (levels[::-1], levels[:4], (*levels[:4], levels[3]), (*levels[:4], 1e9), (*levels[:4], -1e9)):
        with pytest.raises(ValueError, match=r"levels=.*must be 5 (rising|falling) numbers"):
            kind(wrong)
    for severity in (0, 6):
        with pytest.raises(ValueError, match=f"severity={severity} must be one of 1, 2, 3, 4, 5"):
            kind()(value(kind()), severity, np.random.default_rng(0))


def conversation(*content: Media | Text | Absent) -> Sample:
    answer = Message("assistant", (Text("red"),))
    return Sample("7", (Message("system", (Text(TEXT),)), Message("user", content), answer), metadata={"image": "7"})


def test_only_the_user_s_segments_of_one_modality_change() -> None:
    sample = conversation(Media("image", image()), Media("audio", sound()), Text(TEXT), Absent("image"))
    before = [sample.messages[1].content[0].source.clone(), sample.messages[1].content[1].source.clone()]
    for number, corruption in enumerate((ImageNoise(), AudioNoise(), Typos())):
        found = corrupted(sample, corruption, 5, np.random.default_rng(0))
        assert (found.messages[0], found.messages[2]) == (sample.messages[0], sample.messages[2])
        assert (found.id, found.metadata) == (sample.id, sample.metadata)
        for place, (old, new) in enumerate(zip(sample.messages[1].content, found.messages[1].content, strict=True)):
            assert (new is not old) == (place == number)
    assert all(torch.equal(a, b.source) for a, b in zip(before, sample.messages[1].content[:2], strict=True))


def test_a_sound_goes_on_to_say_its_rate(tmp_path: Path) -> None:
    """Damaged at its own rate, whatever that is; what the model reads then is that sound, resampled as any other."""
    clip = sound(8000)
    soundfile.write(tmp_path / "a.wav", clip.numpy(), 8000, subtype="FLOAT")
    (tmp_path / "store").mkdir()
    write_store(tmp_path / "store", [(clip.numpy() * 32768).astype(np.int16)], np.int16, metadata={"sample_rate": 8000})
    stored = StoredClip(ArrayStore(tmp_path / "store"), 0)
    for source in (tmp_path / "a.wav", (tmp_path / "a.wav").read_bytes(), stored):
        found = corrupted(conversation(Media("audio", source)), DroppedFrames(), 5, np.random.default_rng(0))
        media = found.messages[1].content[0]
        assert sample_rate(media) == 8000
        expected = DroppedFrames()(read_audio(Media("audio", source), 8000), 5, np.random.default_rng(0))
        torch.testing.assert_close(read_audio(media, 8000), expected, rtol=0, atol=1e-7)
        assert len(read_audio(media, 16_000)) == 16_000
    raw = corrupted(conversation(Media("audio", clip)), AudioNoise(), 1, np.random.default_rng(0))
    assert isinstance(raw.messages[1].content[0].source, Tensor), "raw samples still do not say their rate"


def test_files_are_read_and_left_alone(tmp_path: Path) -> None:
    Image.fromarray(image().permute(1, 2, 0).numpy()).save(tmp_path / "a.png")
    bytes_before = (tmp_path / "a.png").read_bytes()
    found = corrupted(conversation(Media("image", tmp_path / "a.png")), ImageContrast(), 3, np.random.default_rng(0))
    assert torch.equal(found.messages[1].content[0].source, ImageContrast()(image(), 3, np.random.default_rng(0)))
    assert (tmp_path / "a.png").read_bytes() == bytes_before
    (tmp_path / "broken.wav").write_bytes(b"RIFFnothing")
    for source in (tmp_path / "broken.wav", tmp_path / "none.wav", io.BytesIO(b"RIFF").getvalue()):
        with pytest.raises(BadSampleError, match=r"not readable sound|file not found"):
            corrupted(conversation(Media("audio", source)), AudioNoise(), 1, np.random.default_rng(0))


def test_a_transparent_picture_is_damaged_on_the_ground_that_the_model_sees() -> None:
    file = io.BytesIO()
    Image.new("RGBA", (4, 4), (200, 0, 0, 0)).save(file, "PNG")
    sample = conversation(Media("image", file.getvalue()))
    for ground, options in ((255, {}), (0, {"background": (0, 0, 0)})):
        found = corrupted(sample, ImageContrast(), 1, np.random.default_rng(0), **options)
        assert found.messages[1].content[0].source.unique().tolist() == [ground]
