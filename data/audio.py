"""Sound: from a file, bytes, a tensor or a stored clip to the log-mel spectrogram that the audio encoder reads.

Shape legend: S samples, F frames, M mel bins.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile
import torch
import torchaudio
from torch import Tensor, nn

from data.array_store import ArrayStore, StoredClip, build_once, write_store
from data.progress import with_progress
from data.types import AUDIO, BadSampleError, Media


def read_audio(media: Media, sample_rate: int, max_seconds: float | None = None) -> Tensor:
    """One channel of sound at `sample_rate`, float [S]. A raw tensor is taken to have that rate already.

    Raises `BadSampleError` when the file is missing, corrupt, empty, not finite, or longer than `max_seconds`; how long
    a file is, is known before it is decoded.
    """
    source = media.source
    if isinstance(source, Path | bytes):
        name = str(source) if isinstance(source, Path) else "audio data"
        samples, rate = _decode(source, name, max_seconds)
    elif isinstance(source, Tensor):
        name, samples, rate = "audio tensor", source, sample_rate
    else:
        name, samples, rate = repr(source), source.read(), sample_rate
        if isinstance(source, StoredClip):
            rate = int(source.store.metadata.get("sample_rate", sample_rate))
    if samples.ndim != 1 or len(samples) == 0 or not samples.is_floating_point():
        raise BadSampleError(f"{name}: must be non-empty float [samples], not {samples.dtype} {tuple(samples.shape)}")
    if not bool(samples.isfinite().all()):
        raise BadSampleError(f"{name}: holds samples that are not finite")
    _refuse_long(len(samples) / rate, max_seconds, name)
    return resample(samples, rate, sample_rate)


def sample_rate(media: Media) -> int | None:
    """The rate that a sound says it has; None for raw samples, which do not say theirs.

    Raises `BadSampleError` when the file is missing or not sound.
    """
    source = media.source
    if isinstance(source, StoredClip):
        rate = source.store.metadata.get("sample_rate")
        return None if rate is None else int(rate)
    if not isinstance(source, Path | bytes):
        return None
    name = str(source) if isinstance(source, Path) else "audio data"
    try:
        return int(soundfile.info(io.BytesIO(source) if isinstance(source, bytes) else source).samplerate)
    except (soundfile.SoundFileError, OSError, TypeError) as error:
        raise BadSampleError(f"{name}: not readable sound ({' '.join(str(error).split())})") from error


def resample(samples_S: Tensor, rate: int, new_rate: int) -> Tensor:
    """The same sound at another rate, by torchaudio's windowed sinc."""
    if rate == new_rate:
        return samples_S
    # A convolution caches a plan for every length that it meets: few lengths are faster, and memory stays flat. The
    # zeros change nothing, for torchaudio itself takes the sound to be silent beyond its end.
    padded = nn.functional.pad(samples_S, (0, -len(samples_S) % rate))
    length = math.ceil(len(samples_S) * new_rate / rate)
    return _resampler(rate, new_rate)(padded)[:length].contiguous()


@lru_cache(maxsize=16)
def _resampler(rate: int, new_rate: int) -> torchaudio.transforms.Resample:
    # Computing the filter takes longer than applying it.
    return torchaudio.transforms.Resample(rate, new_rate)


def _decode(source: Path | bytes, name: str, max_seconds: float | None) -> tuple[Tensor, int]:
    """Samples of a file, its channels averaged, and their rate."""
    if isinstance(source, Path) and not source.is_file():
        raise BadSampleError(f"{name}: file not found")
    try:
        with soundfile.SoundFile(io.BytesIO(source) if isinstance(source, bytes) else source) as file:
            _refuse_long(file.frames / file.samplerate, max_seconds, name)
            return torch.from_numpy(file.read(dtype="float32", always_2d=True).mean(axis=1)), file.samplerate
    except (soundfile.SoundFileError, OSError, TypeError) as error:  # TypeError: a suffix that promises raw samples
        raise BadSampleError(f"{name}: not readable sound ({' '.join(str(error).split())})") from error


def _refuse_long(seconds: float, max_seconds: float | None, name: str) -> None:
    if max_seconds is not None and seconds > max_seconds:
        raise BadSampleError(f"{name}: {seconds:.1f} s of sound, more than max_seconds={max_seconds:g}")


@contextmanager
def one_thread() -> Iterator[None]:
    """Many small operations on clips are slower on several threads, and far slower when the cores are busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class LogMel(nn.Module):
    """log(mel power + floor) of frames of `window` samples every `hop` samples: [S] -> [F, M], F = S // hop + 1.

    The mel filters are those of torchaudio (HTK scale). Frames are centred on multiples of `hop`, and the sound is
    reflected at its ends; sound that is shorter than the transform is filled up with silence first.
    """

    def __init__(
        self,
        sample_rate: int,
        num_mels: int,
        window: int,
        hop: int,
        f_min: float = 50.0,
        f_max: float | None = None,
        floor: float = 1e-5,
    ) -> None:
        super().__init__()
        for name, value in (("sample_rate", sample_rate), ("num_mels", num_mels), ("window", window), ("hop", hop)):
            if value < 1:
                raise ValueError(f"{name}={value} must be positive")
        f_max = f_max or sample_rate / 2
        if not 0 <= f_min < f_max <= sample_rate / 2:
            raise ValueError(f"f_min={f_min} and f_max={f_max} must rise and stay within half of {sample_rate}")
        self.sample_rate, self.num_mels, self.floor = sample_rate, num_mels, floor
        self.num_fft = 2 ** math.ceil(math.log2(window))
        settings = [sample_rate, num_mels, window, hop, f_min, f_max, floor]
        self.fingerprint = hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:12]
        self.mel = torchaudio.transforms.MelSpectrogram(
            sample_rate,
            n_fft=self.num_fft,
            win_length=window,
            hop_length=hop,
            f_min=f_min,
            f_max=f_max,
            n_mels=num_mels,
        )

    @torch.no_grad()
    def forward(self, samples_S: Tensor) -> Tensor:
        """Frames [F, M]."""
        if len(samples_S) < self.num_fft:
            samples_S = nn.functional.pad(samples_S, (0, self.num_fft - len(samples_S)))
        return torch.log(self.mel(samples_S) + self.floor).T


class SpectrogramAugmentation:
    """Imitates other speakers and rooms on a normalised spectrogram [F, M]; strengths of 0 switch a part off.

    stretch: the clip becomes up to this share longer or shorter. warp: the mel axis is scaled by a factor of up to
    exp(warp), as vocal tracts of other lengths would (Jaitly and Hinton, 2013). tilt: standard deviation of a slope
    over the bins. noise: largest standard deviation of added noise. The rest are masks over bins and frames,
    set to the mean (SpecAugment, arXiv:1904.08779).
    """

    def __init__(
        self,
        stretch: float = 0.0,
        warp: float = 0.0,
        tilt: float = 0.0,
        noise: float = 0.0,
        num_masks: int = 0,
        mask_bins: int = 0,
        mask_frames: int = 0,
    ) -> None:
        if not 0 <= stretch < 1:
            raise ValueError(f"stretch={stretch} must be in [0, 1)")
        strengths = {"warp": warp, "tilt": tilt, "noise": noise}
        masks = {"num_masks": num_masks, "mask_bins": mask_bins, "mask_frames": mask_frames}
        for name, value in {**strengths, **masks}.items():
            if value < 0:
                raise ValueError(f"{name}={value} must be 0 or more")
        self.stretch, self.warp, self.tilt, self.noise = stretch, warp, tilt, noise
        self.num_masks, self.mask_bins, self.mask_frames = num_masks, mask_bins, mask_frames

    def __call__(self, x_FM: Tensor, rng: np.random.Generator) -> Tensor:
        """An augmented spectrogram; the number of frames may change."""
        shape, noise, bin_masks, frame_masks = rng.spawn(4)
        stretch, warp = shape.uniform(1 - self.stretch, 1 + self.stretch), shape.uniform(-self.warp, self.warp)
        x_FM = self._resample(x_FM, stretch, warp)
        frames, bins = x_FM.shape
        x_FM = x_FM + float(shape.normal(0.0, self.tilt)) * torch.linspace(-1, 1, bins)
        strength = self.noise * noise.random()
        x_FM += strength * torch.from_numpy(noise.standard_normal((frames, bins), dtype=np.float32))
        for _ in range(self.num_masks):
            _mask(x_FM, 1, self.mask_bins, bin_masks)
            _mask(x_FM, 0, self.mask_frames, frame_masks)
        return x_FM

    def _resample(self, x_FM: Tensor, stretch: float, log_warp: float) -> Tensor:
        """Bilinear interpolation of both axes; bins above the last one repeat it."""
        frames, bins = x_FM.shape
        stretched = max(round(frames * stretch), 1)
        y_F = torch.linspace(-1, 1, stretched) if stretched > 1 else torch.zeros(1)
        place_M = (torch.arange(bins) * math.exp(log_warp)).clamp(max=bins - 1)
        x_M = place_M * (2 / max(bins - 1, 1)) - 1
        grid = torch.stack([x_M.expand(stretched, bins), y_F[:, None].expand(stretched, bins)], dim=-1)
        return nn.functional.grid_sample(x_FM[None, None], grid[None], align_corners=True)[0, 0]


def _mask(x_FM: Tensor, axis: int, largest: int, rng: np.random.Generator) -> None:
    width = min(int(rng.integers(0, largest + 1)), x_FM.shape[axis])
    start = int(rng.integers(0, x_FM.shape[axis] - width + 1))
    x_FM.narrow(axis, start, width).zero_()


class AudioProcessor:
    """Sound -> log-mel -> minus its own mean, over `scale` -> augmented (training only) -> [F, M].

    The spectrograms of a store of clips are computed once and kept beside it under the fingerprint of the features,
    in half precision (which moves a value by 0.004 at most). max_seconds: longer clips are refused.
    """

    def __init__(
        self,
        features: LogMel,
        scale: float = 4.0,
        max_seconds: float = 30.0,
        augmentation: SpectrogramAugmentation | None = None,
    ) -> None:
        if scale <= 0 or max_seconds <= 0:
            raise ValueError(f"scale={scale} and max_seconds={max_seconds} must be positive")
        self.features, self.scale, self.max_seconds = features, scale, max_seconds
        self.augmentation = augmentation
        self._stores: dict[Path, ArrayStore] = {}

    @property
    def augments(self) -> bool:
        """Whether a generator makes a difference."""
        return self.augmentation is not None

    def __call__(self, media: Media, rng: np.random.Generator | None = None) -> Tensor:
        """Values [F, M]. Raises `BadSampleError` for sound that cannot be read or is too long."""
        if isinstance(clip := media.source, StoredClip):
            rate = clip.store.metadata.get("sample_rate", self.features.sample_rate)
            _refuse_long(clip.store.lengths[clip.index] / rate, self.max_seconds, repr(clip))
            x_FM = torch.from_numpy(self._stored(clip.store)[clip.index].astype(np.float32))
        else:
            x_FM = self.features(read_audio(media, self.features.sample_rate, self.max_seconds))
        x_FM = (x_FM - x_FM.mean()) / self.scale
        return x_FM if rng is None or self.augmentation is None else self.augmentation(x_FM, rng)

    def _stored(self, clips: ArrayStore) -> ArrayStore:
        if clips.folder not in self._stores:
            folder = clips.folder.with_name(f"{clips.folder.name}-mel-{self.features.fingerprint}")
            build_once(folder, lambda temporary: self._build(temporary, clips))
            self._stores[clips.folder] = ArrayStore(folder)
        return self._stores[clips.folder]

    def _build(self, folder: Path, clips: ArrayStore) -> None:
        media = (
            Media(AUDIO, StoredClip(clips, index)) for index in with_progress(range(len(clips)), "spectrograms, once")
        )
        arrays = (self.features(read_audio(clip, self.features.sample_rate)).half().numpy() for clip in media)
        with one_thread():
            write_store(folder, arrays, np.float16, (self.features.num_mels,))
