"""Sound of every rate keeps its pitch and its length, and no rate asks for a large filter."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
import torchaudio
from scipy import signal
from torch import Tensor

from data.media import resampling
from data.media.resampling import LARGEST_TERM, bounded, resample

RATE = 16_000
USUAL = (8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000)
ODD = (5_003, 11_127, 15_999, 44_101, 96_001, 333_337, 767_999)


def tone(frequency: float, rate: int, seconds: float = 1.0) -> Tensor:
    return torch.sin(2 * math.pi * frequency * torch.arange(int(seconds * rate)).double() / rate).float()


def frequency(samples: Tensor, rate: int) -> float:
    """That of a sine, by how its phase moves: a line through the phases of its analytic signal."""
    middle = samples[len(samples) // 8 : -len(samples) // 8].double().numpy()
    phases = np.unwrap(np.angle(signal.hilbert(middle)))
    inner = slice(len(phases) // 8, -len(phases) // 8)
    return float(np.polyfit(np.arange(len(phases))[inner], phases[inner], 1)[0] * rate / (2 * math.pi))


@pytest.mark.parametrize("rate", ODD)
def test_a_tone_of_an_odd_rate_keeps_its_pitch_loudness_and_length(rate: int) -> None:
    pitch = 0.3 * min(rate, RATE) / 2
    read = resample(tone(pitch, rate), rate, RATE)
    assert abs(len(read) - RATE) <= 1
    assert read.dtype == torch.float32
    assert frequency(read, RATE) == pytest.approx(pitch, rel=1 / LARGEST_TERM)
    middle = read[RATE // 4 : -RATE // 4]
    assert float(middle.square().mean().sqrt()) == pytest.approx(0.5**0.5, rel=1e-2)


@pytest.mark.parametrize("rate", [20_011, 44_101, 96_001, 767_999])
def test_what_the_lower_rate_cannot_hold_is_gone(rate: int) -> None:
    read = resample(tone(0.55 * RATE, rate), rate, RATE)  # above half of the rate, where it would come back as 0.45
    assert float(read[RATE // 4 : -RATE // 4].abs().max()) < 1e-3


@pytest.mark.parametrize("rate", [44_101, 96_001])
def test_going_up_adds_no_image(rate: int) -> None:
    spectrum = torch.fft.rfft(resample(tone(0.3 * RATE / 2, RATE), RATE, rate) * torch.hann_window(rate)).abs()
    assert float(spectrum[RATE // 2 :].max() / spectrum.max()) < 1e-3


@pytest.mark.parametrize("length", [1, 2, 999, 1_000])
@pytest.mark.parametrize("rate", [1, 7, 15_999, 96_001, 768_000])
def test_every_length_comes_out_right(rate: int, length: int) -> None:
    length = min(length, 3 * rate)
    read = resample(torch.ones(length), rate, RATE)
    assert len(read) == math.ceil(length * RATE / rate)
    assert bool(read.isfinite().all())


def test_the_usual_rates_are_torchaudios_bit_for_bit() -> None:
    for rate in USUAL:
        for new_rate in (8_000, 11_025, 16_000, 22_050, 44_100):
            if rate == new_rate:
                continue
            sound = torch.randn(rate, generator=torch.Generator().manual_seed(0))
            expected = torchaudio.transforms.Resample(rate, new_rate)(sound)
            assert torch.equal(resample(sound, rate, new_rate), expected), (rate, new_rate)


def test_no_ratio_is_off_by_more_than_what_is_said() -> None:
    rng = np.random.default_rng(0)
    for rate, new_rate in zip(rng.integers(1, 768_001, 3_000), rng.choice(USUAL, 3_000), strict=True):
        exact = Fraction(int(new_rate), int(rate))
        near = bounded(exact)
        assert abs(near / exact - 1) <= Fraction(1, LARGEST_TERM)
        assert max(near.numerator, near.denominator) <= LARGEST_TERM


def test_no_rate_asks_for_a_large_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    values, made = [], torchaudio.transforms.Resample

    def sinc(rate: int, new_rate: int) -> torch.nn.Module:
        common = math.gcd(rate, new_rate)
        values.append(rate // common * (new_rate // common))
        assert values[-1] <= 2**21, f"{rate} Hz"  # before it is made
        return made(rate, new_rate)

    monkeypatch.setattr(torchaudio.transforms, "Resample", sinc)
    monkeypatch.setattr(signal, "firwin", lambda taps, *_, **__: values.append(taps) or np.ones(taps))
    rng = np.random.default_rng(1)
    for rate in (11_127, 15_999, 96_001, 767_999, *rng.integers(1, 768_001, 40).tolist()):
        resampling._filter.cache_clear()
        resample(torch.zeros(10), rate, RATE)
    resampling._filter.cache_clear()
    assert len(values) > 40
    assert max(values) <= 2**22


@pytest.mark.parametrize("rate", [0, -8_000, 768_001, 2**31 - 1])
def test_rates_beyond_those_of_sound_are_refused(rate: int) -> None:
    with pytest.raises(ValueError, match=f"rate={rate} must be from 1 to 768000 Hz"):
        resample(torch.zeros(10), rate, RATE)
    with pytest.raises(ValueError, match=f"new_rate={rate} must be"):
        resample(torch.zeros(10), RATE, rate)
