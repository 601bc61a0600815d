"""Sound at another rate, at a cost that no rate can drive up.

Shape legend: a samples of a signal, t taps of a filter.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache

import numpy as np
import torch
import torchaudio
from scipy import signal
from torch import Tensor, nn

HIGHEST_RATE = 768_000
# One rate over the other in lowest terms, a / b: torchaudio's filter has a * b values and more. Up to here that is
# little, and rates in common use are simpler than that.
LARGEST_SINC = 2**20
# Any other ratio is approximated by one with terms up to this; the polyphase filter grows with the larger term.
LARGEST_TERM = 2**15
ZERO_CROSSINGS, PASSED, KAISER_BETA = 32, 0.91, 8.6


def resample(samples_a: Tensor, rate: int, new_rate: int) -> Tensor:
    """The same sound at another rate: ceil(S * new_rate / rate) samples.

    Rates with a simple ratio take torchaudio's windowed sinc. All others take scipy's polyphase filter. Its ratio is
    off by 1 in 32,768 at most, and mostly by nothing (nobody hears a pitch that is off by less than 1 in 500). It
    passes what lies below 0.82 of half the lower rate, and takes 80 dB off what lies above half of it. Cost and memory
    are bounded for all rates from 1 to 768,000 Hz.

    Raises `ValueError` for rates beyond these.
    """
    for name, value in (("rate", rate), ("new_rate", new_rate)):
        if not 1 <= value <= HIGHEST_RATE:
            raise ValueError(f"{name}={value} must be from 1 to {HIGHEST_RATE} Hz")
    if rate == new_rate:
        return samples_a
    length = math.ceil(len(samples_a) * new_rate / rate)
    ratio = Fraction(new_rate, rate)
    if ratio.numerator * ratio.denominator > LARGEST_SINC:
        return _polyphase(samples_a, bounded(ratio), length)
    # A convolution caches a plan for every length that it meets: few lengths are faster, and memory stays flat. The
    # zeros change nothing, for torchaudio itself takes the sound to be silent beyond its end.
    padded = nn.functional.pad(samples_a, (0, -len(samples_a) % rate))
    return _resampler(rate, new_rate)(padded)[:length].contiguous()


def bounded(ratio: Fraction) -> Fraction:
    """The nearest fraction with terms up to `LARGEST_TERM`; a ratio that is beyond it is taken as it is."""
    inverted = ratio > 1
    near = (1 / ratio if inverted else ratio).limit_denominator(LARGEST_TERM)
    if not near:
        return ratio
    return 1 / near if inverted else near


def _polyphase(samples_a: Tensor, ratio: Fraction, length: int) -> Tensor:
    filter_t = _filter(max(ratio.numerator, ratio.denominator))
    # Where the ratio is not exact, the end of the sound may lie beyond its last sample.
    missing = max(math.ceil(length / ratio) - len(samples_a), 0)
    padded_a = np.pad(samples_a.numpy(), (0, missing))
    resampled_a = signal.resample_poly(padded_a, ratio.numerator, ratio.denominator, window=filter_t)
    return torch.from_numpy(np.ascontiguousarray(resampled_a[:length])).to(samples_a.dtype)


@lru_cache(maxsize=8)
def _filter(term: int) -> np.ndarray:
    """A low-pass filter at `term` times the lower rate, Kaiser-windowed."""
    taps = 2 * ZERO_CROSSINGS * term + 1
    return signal.firwin(taps, PASSED / term, window=("kaiser", KAISER_BETA)).astype(np.float32)


@lru_cache(maxsize=16)
def _resampler(rate: int, new_rate: int) -> torchaudio.transforms.Resample:
    # Computing the filter takes longer than applying it.
    return torchaudio.transforms.Resample(rate, new_rate)
