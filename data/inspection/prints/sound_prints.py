"""Which sounds are the same recording, whatever their format, rate and loudness: fingerprints of signs.

A frame's fingerprint is 32 bits. They say of 33 bands between 200 and 3200 Hz whether the energy of each rises against
its neighbour, compared with a moment before. The method is that of Haitsma and Kalker ("A Highly Robust Audio
Fingerprinting System", ISMIR 2002). Loudness and the colour of a microphone cancel.

Two clips are laid over one another. They are the same recording if at most `MAX_ERRORS` of their bits differ, and in no
stretch of `STRETCH` frames more than `MAX_STRETCH_ERRORS`. Where a word replaces another one in a sentence, and a
synthesiser speaks all else in the same way, a third of the bits of that word differ or more.

Shape legend: a samples of a signal, T places in an item (frames), b bits of a print, N items (sounds), P pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data.inspection.prints.neighbours import pairs_of_equal

LOW_HZ, HIGH_HZ, NUM_BITS = 200.0, 3200.0, 32
WINDOW_SECONDS, HOP_SECONDS, LAG = 0.128, 0.016, 4
# Of longer sounds the beginning is compared.
MAX_SECONDS, MAX_SAMPLES = 120.0, 8_000_000
# Frames quieter than the loudest by more than this hold nothing but noise.
QUIET = 1e-3
MAX_ERRORS, STRETCH, MAX_STRETCH_ERRORS = 0.2, 6, 0.26
# The shorter clip must lie on the longer one with this share of its loud frames, and last for half of it.
MIN_OVERLAP, MIN_LENGTH = 0.7, 0.5
MIN_FRAMES = 10
# A frame is compared with so many others that have its fingerprint.
REACH = 8
FRAMES_AT_ONCE = 256


@dataclass(frozen=True)
class SoundPrint:
    """codes: [T] uint32, the fingerprints of the frames; loud: [T], whether a frame holds more than noise."""

    codes: np.ndarray
    loud: np.ndarray


def sound_print(samples_a: np.ndarray, rate: int) -> SoundPrint:
    """The fingerprint of a sound of one channel; one that is shorter than 0.2 s has no frames."""
    samples_a = samples_a[: min(int(MAX_SECONDS * rate), MAX_SAMPLES)]
    window = max(round(WINDOW_SECONDS * rate), 2)
    count = int((len(samples_a) - window) / (HOP_SECONDS * rate)) + 1 if len(samples_a) >= window else 0
    if count <= LAG:
        return SoundPrint(np.zeros(0, np.uint32), np.zeros(0, bool))
    starts = (np.arange(count) * HOP_SECONDS * rate).astype(np.int64)
    energies_Tb = _energies(samples_a, starts, window, rate)
    total_T = energies_Tb.sum(axis=1)
    # Silence of zeros has no logarithm; what is so far below the loudest counts as nothing.
    log_Tb = np.log(energies_Tb + 1e-12 * energies_Tb.max() + 1e-30)
    slopes_Tb = np.diff(log_Tb, axis=1)
    rises_Tb = slopes_Tb[LAG:] > slopes_Tb[:-LAG]
    codes = (rises_Tb * (1 << np.arange(NUM_BITS, dtype=np.uint64))).sum(axis=1).astype(np.uint32)
    return SoundPrint(codes, np.minimum(total_T[LAG:], total_T[:-LAG]) > QUIET * total_T.max())


def _energies(samples_a: np.ndarray, starts_T: np.ndarray, window: int, rate: int) -> np.ndarray:
    """Energy of each frame in each band, whatever the rate; bands above half of the rate hold nothing."""
    edges = np.geomspace(LOW_HZ, HIGH_HZ, NUM_BITS + 2) * window / rate + 0.5
    lower = np.minimum(edges.astype(np.int64), window // 2)
    share = np.clip(edges - lower, 0, 1)
    windows = np.lib.stride_tricks.sliding_window_view(samples_a, window)
    shape, found = np.hanning(window).astype(np.float32), []
    for first in range(0, len(starts_T), FRAMES_AT_ONCE):
        power = np.abs(np.fft.rfft(windows[starts_T[first : first + FRAMES_AT_ONCE]] * shape, axis=1)) ** 2
        below = np.concatenate([np.zeros((len(power), 1)), np.cumsum(power, axis=1)], axis=1)
        found.append(np.diff(below[:, lower] * (1 - share) + below[:, lower + 1] * share, axis=1))
    return np.concatenate(found)


def same_recordings(prints: Sequence[SoundPrint]) -> list[tuple[int, int, float]]:
    """Pairs of places that are the same recording, with the share of bits that differ."""
    loud = [np.flatnonzero(item.loud) for item in prints]
    owners = np.repeat(np.arange(len(prints)), [len(places) for places in loud])
    if len(owners) == 0:
        return []
    places = np.concatenate(loud)
    codes = np.concatenate([item.codes[found] for item, found in zip(prints, loud, strict=True)])
    frames = pairs_of_equal(codes, REACH)
    frames = frames[owners[frames[:, 0]] != owners[frames[:, 1]]]
    found = []
    for first, second, shift in _aligned(owners[frames], places[frames]):
        errors = min(_errors(prints[first], prints[second], shift + step) for step in (-1, 0, 1))
        if errors <= MAX_ERRORS:
            found.append((first, second, errors))
    return found


def _aligned(owners_P2: np.ndarray, places_P2: np.ndarray) -> list[tuple[int, int, int]]:
    """Pairs of sounds, and by how many frames the second is shifted against the first where most frames are equal."""
    swapped = owners_P2[:, 0] > owners_P2[:, 1]
    owners, places = owners_P2.copy(), places_P2.copy()
    owners[swapped], places[swapped] = owners[swapped, ::-1], places[swapped, ::-1]
    rows = np.column_stack([owners, places[:, 0] - places[:, 1]])
    rows, votes = np.unique(rows, axis=0, return_counts=True)
    best: dict[tuple[int, int], tuple[int, int]] = {}
    for (first, second, shift), number in zip(rows.tolist(), votes.tolist(), strict=True):
        if number > best.get((first, second), (0, 0))[0]:
            best[first, second] = (number, shift)
    return [(first, second, shift) for (first, second), (_, shift) in best.items()]


def _errors(first: SoundPrint, second: SoundPrint, shift: int) -> float:
    """The share of bits that differ between two sounds: frame i + `shift` of the first meets frame i of the second.

    1.0 where they are too far from one another in length, or differ too much in one stretch.
    """
    start, end = max(0, shift), min(len(first.codes), shift + len(second.codes))
    if end <= start:
        return 1.0
    both = first.loud[start:end] & second.loud[start - shift : end - shift]
    shorter, longer = sorted((int(first.loud.sum()), int(second.loud.sum())))
    if both.sum() < max(MIN_OVERLAP * shorter, MIN_FRAMES) or shorter < MIN_LENGTH * longer:
        return 1.0
    differing = np.bitwise_count(first.codes[start:end] ^ second.codes[start - shift : end - shift])[both] / NUM_BITS
    stretches = np.lib.stride_tricks.sliding_window_view(differing, STRETCH).mean(axis=1)
    return float(differing.mean()) if stretches.max() <= MAX_STRETCH_ERRORS else 1.0
