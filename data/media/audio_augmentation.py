"""Other speakers, rooms, microphones and noises, imitated on a log-mel spectrogram.

Shape legend: T places in an item (frames), m mel bins, t taps of a filter (frames of an echo).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

PIECES = 6  # stretches of a clip; the speed of each varies on its own
CURVES = 5  # cosines that a random response over the bins is made of
DECAY = math.log(1e6)  # a reverberation time is that of a fall by 60 dB
QUIETEST = 50.0  # dB below the sound, where noise can no longer be heard
LOUDEST = -50.0
# Beyond these nothing is left of a sound, or the numbers are too large to compute with.
LARGEST_FACTOR, LARGEST_STRENGTH, LARGEST_COUNT = 3.0, 100.0, 10_000


class SpectrogramAugmentation:
    """Changes log mel power [T, m], before its mean is taken away; strengths of 0 switch a part off.

    Speed: the clip becomes up to `stretch` longer or shorter, and a sixth of it faster or slower by a factor of
    exp(N(0, local_stretch)). Formants: `warp` scales the mel axis by up to exp(warp), as vocal tracts of other lengths
    would (Jaitly and Hinton, 2013). Microphone: `tilt`, standard deviation of a slope over the bins; `equaliser`, that
    of a smooth curve over them; `band`, share of the clips that are cut off below and above, as by a telephone. Room:
    `room`, the longest reverberation time, in frames, of an echo that half of the clips get. Noise: `snr`, the lowest
    signal-to-noise ratio, in dB, of steady noise of random colour (None: none); `noise`, the largest standard deviation
    of what is added to each value. `pad`: up to so many quiet frames before and after. The rest are masks over
    bins and frames, set to each bin's mean (SpecAugment, arXiv:1904.08779). Slopes, curves and noise are in natural
    logarithms of power (1 is 4.3 dB).
    """

    def __init__(
        self,
        stretch: float = 0.0,
        local_stretch: float = 0.0,
        warp: float = 0.0,
        tilt: float = 0.0,
        equaliser: float = 0.0,
        band: float = 0.0,
        room: float = 0.0,
        snr: float | None = None,
        noise: float = 0.0,
        pad: int = 0,
        num_masks: int = 0,
        mask_bins: int = 0,
        mask_frames: int = 0,
    ) -> None:
        if not 0 <= stretch < 1:
            raise ValueError(f"stretch={stretch} must be in [0, 1)")
        if not 0 <= band <= 1:
            raise ValueError(f"band={band} must be in [0, 1]")
        factors = {"local_stretch": local_stretch, "warp": warp}  # their exponentials are finite
        strengths = {"tilt": tilt, "equaliser": equaliser, "noise": noise}
        counts = {"room": room, "pad": pad, "num_masks": num_masks, "mask_bins": mask_bins, "mask_frames": mask_frames}
        for most, values in ((LARGEST_FACTOR, factors), (LARGEST_STRENGTH, strengths), (LARGEST_COUNT, counts)):
            for name, value in values.items():
                if not 0 <= value <= most:
                    raise ValueError(f"{name}={value} must be from 0 to {most:g}")
        if snr is not None and not LOUDEST <= snr <= QUIETEST:
            raise ValueError(f"snr={snr} must be from {LOUDEST:g} to {QUIETEST:g} dB, or null for no noise")
        self.stretch, self.local_stretch, self.warp = stretch, local_stretch, warp
        self.tilt, self.equaliser, self.band, self.room, self.snr, self.noise = tilt, equaliser, band, room, snr, noise
        self.pad, self.num_masks, self.mask_bins, self.mask_frames = pad, num_masks, mask_bins, mask_frames

    def __call__(self, x_Tm: Tensor, rng: np.random.Generator) -> Tensor:
        """An augmented spectrogram; the number of frames may change."""
        # One generator a part, so that switching one off leaves the others as they were.
        shape, response, echo, hiss, ends, grain, masks = rng.spawn(7)
        x_Tm = self._resample(x_Tm, shape)
        x_Tm = x_Tm + self._response(x_Tm.shape[1], response)
        if self.room and echo.random() < 0.5:
            x_Tm = _echo(x_Tm, echo.uniform(1, max(self.room, 1)), echo.uniform(0.1, 1))
        if self.snr is not None:
            x_Tm = _with_noise(x_Tm, hiss.uniform(self.snr, QUIETEST), hiss)
        if self.pad:
            before, after = (int(count) for count in ends.integers(0, self.pad + 1, size=2))
            quiet_m = x_Tm.amin(dim=0)
            x_Tm = torch.cat([quiet_m.expand(before, -1), x_Tm, quiet_m.expand(after, -1)])
        if self.noise:
            strength = self.noise * grain.random()
            x_Tm = x_Tm + strength * torch.from_numpy(grain.standard_normal(tuple(x_Tm.shape), dtype=np.float32))
        return self._masked(x_Tm, masks)

    def _resample(self, x_Tm: Tensor, rng: np.random.Generator) -> Tensor:
        """Bilinear interpolation of both axes; bins above the last one repeat it."""
        frames, bins = x_Tm.shape
        speed, formants, pieces = rng.spawn(3)
        stretched = max(round(frames * speed.uniform(1 - self.stretch, 1 + self.stretch)), 1)
        place_m = (torch.arange(bins) * math.exp(formants.uniform(-self.warp, self.warp))).clamp(max=bins - 1)
        x_m = place_m * (2 / max(bins - 1, 1)) - 1
        y_T = self._times(stretched, pieces) if stretched > 1 else torch.zeros(1)
        grid = torch.stack([x_m.expand(stretched, bins), y_T[:, None].expand(stretched, bins)], dim=-1)
        return nn.functional.grid_sample(x_Tm[None, None], grid[None], align_corners=True)[0, 0]

    def _times(self, frames: int, rng: np.random.Generator) -> Tensor:
        """Where in the clip, -1 to 1, each frame is read [T]; rising."""
        even_T = torch.linspace(-1, 1, frames)
        if not self.local_stretch:
            return even_T
        ends = np.concatenate([[0.0], np.exp(rng.normal(0, self.local_stretch, PIECES)).cumsum()])
        read_T = np.interp(even_T.numpy(), np.linspace(-1, 1, PIECES + 1), 2 * ends / ends[-1] - 1)
        return torch.from_numpy(read_T.astype(np.float32))

    def _response(self, bins: int, rng: np.random.Generator) -> Tensor:
        """What a microphone adds to every frame [m]: a slope, a curve, and a band; little is left outside of it."""
        place_m = np.linspace(0, 1, bins)
        slope, curve, edges = rng.spawn(3)
        added_m = slope.normal(0, self.tilt) * (2 * place_m - 1)
        if self.equaliser:
            added_m = added_m + _curve(place_m, self.equaliser, curve)
        if self.band and edges.random() < self.band:
            low, high = edges.uniform(-0.05, 0.12), edges.uniform(0.7, 1.1)
            added_m = added_m + edges.uniform(20, 80) * np.minimum(place_m - low, 0)
            added_m = added_m + edges.uniform(12, 48) * np.minimum(high - place_m, 0)
        return torch.from_numpy(np.asarray(added_m, dtype=np.float32))

    def _masked(self, x_Tm: Tensor, rng: np.random.Generator) -> Tensor:
        mean_m = x_Tm.mean(dim=0)
        for _ in range(self.num_masks):
            bins, frames = _span(x_Tm.shape[1], self.mask_bins, rng), _span(x_Tm.shape[0], self.mask_frames, rng)
            x_Tm[:, bins], x_Tm[frames] = mean_m[bins], mean_m
        return x_Tm


def _curve(place_m: np.ndarray, deviation: float, rng: np.random.Generator) -> np.ndarray:
    """A smooth curve over the bins, [m]; its root mean square is about `deviation` over many draws."""
    heights = rng.normal(0, deviation * math.sqrt(2 / CURVES), CURVES)
    return np.asarray(sum(h * np.cos(math.pi * (k + 1) * place_m) for k, h in enumerate(heights)))


def _echo(x_Tm: Tensor, reverberation: float, level: float) -> Tensor:
    """Adds to each frame's power what is left of those before it, which fall by 60 dB in `reverberation` frames.

    level: energy of the echo over that of the sound, for a sound that lasts.
    """
    taps_t = torch.exp(-DECAY / reverberation * torch.arange(1, math.ceil(reverberation) + 1))
    taps_t = level * taps_t / taps_t.sum()
    power_mT = x_Tm.exp().T
    padded = nn.functional.pad(power_mT[:, None], (len(taps_t), 0))
    late_mT = nn.functional.conv1d(padded, taps_t.flip(0)[None, None])[:, 0, : power_mT.shape[1]]
    return (power_mT + late_mT).log().T


def _with_noise(x_Tm: Tensor, ratio: float, rng: np.random.Generator) -> Tensor:
    """Adds noise of a random colour, steady but for its grain, `ratio` dB below the clip's mean power."""
    frames, bins = x_Tm.shape
    place_m = np.linspace(0, 1, bins)
    colour_m = np.exp(rng.normal(0, 1) * (2 * place_m - 1) + _curve(place_m, 0.7, rng))
    grain_Tm = rng.standard_gamma(4.0, size=(frames, bins), dtype=np.float32) / 4
    power_Tm = x_Tm.exp()
    level = float(power_Tm.mean()) * 10 ** (-ratio / 10)
    noise_Tm = torch.from_numpy(grain_Tm * (level * colour_m / colour_m.mean()).astype(np.float32))
    return (power_Tm + noise_Tm).log()


def _span(size: int, largest: int, rng: np.random.Generator) -> slice:
    """A random stretch of up to `largest` of `size` places."""
    width = min(int(rng.integers(0, largest + 1)), size)
    start = int(rng.integers(0, size - width + 1))
    return slice(start, start + width)
