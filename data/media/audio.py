"""Sound: from a file, bytes, a tensor or a stored clip to the log-mel spectrogram that the audio encoder reads.

Shape legend: a samples of a signal, T places in an item (frames), m mel bins.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import numpy as np
import soundfile
import torch
import torchaudio
from pydantic import Field
from torch import Tensor, nn

from data.bad_samples import reason
from data.media.audio_augmentation import SpectrogramAugmentation
from data.media.resampling import HIGHEST_RATE, resample
from data.progress import with_progress
from data.storage.array_store import ArrayStore, StoredClip, build_once, write_store
from data.storage.files import check_file
from data.types import AUDIO, BadSampleError, Media

MEANS = ("clip", "bins")
# Hertz, of what a configuration asks for; the highest is four times that of studios.
SampleRate = Annotated[int, Field(ge=1, le=768_000)]
# Full scale is 1. Floats that hold 32-bit integers still pass; beyond, the power of a frame soon is no number.
LOUDEST = 2.0**32
# Values of a file that are decoded at most (1 GiB): half an hour at 48 kHz in three channels, for instance.
LARGEST_SOUND = 2**28


def read_audio(media: Media, sample_rate: int, max_seconds: float | None = None) -> Tensor:
    """One channel of sound at `sample_rate`, float [a]. A raw tensor is taken to have that rate already.

    Raises `BadSampleError` when the file is missing, corrupt, empty, not finite, far louder than sound can be, or
    longer than `max_seconds`; how long a file is, is known before it is decoded.
    """
    source, name = media.source, media.name
    if isinstance(source, Path | bytes):
        samples, rate = _decode(source, name, max_seconds)
    elif isinstance(source, Tensor):
        samples, rate = source, sample_rate
    else:
        samples, rate = source.read(), sample_rate
        if isinstance(source, StoredClip):
            rate = int(source.store.metadata.get("sample_rate", sample_rate))
    if samples.ndim != 1 or len(samples) == 0 or not samples.is_floating_point():
        raise BadSampleError(f"{name}: must be non-empty float [samples], not {samples.dtype} {tuple(samples.shape)}")
    if not bool(samples.isfinite().all()):
        raise BadSampleError(f"{name}: holds samples that are not finite")
    if (peak := float(samples.abs().max())) > LOUDEST:
        raise BadSampleError(f"{name}: holds a sample of {peak:.3g}, where full scale is 1")
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
    with _opened(source, media.name) as file:
        return int(file.samplerate)


class _Bytes(io.BytesIO):
    """A file in memory. A damaged header may lead to a place before its start; this is refused without a word."""

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As `io.BytesIO.seek`; -1 for what is no place."""
        try:
            return super().seek(offset, whence)
        except (ValueError, OSError):
            return -1


def _readable(source: Path | bytes) -> Path | _Bytes:
    """What the library opens. With a path, it would also read what macOS leaves next to it, and refuse MP3 for that."""
    if isinstance(source, bytes):
        return _Bytes(source)
    return _Bytes(source.read_bytes()) if source.with_name(f"._{source.name}").exists() else source


@contextmanager
def _opened(source: Path | bytes, name: str) -> Iterator[soundfile.SoundFile]:
    """The file of a sound; whatever the library says in the block is the `BadSampleError` of this sound."""
    if isinstance(source, Path):
        check_file(source)
    try:
        with soundfile.SoundFile(_readable(source)) as file:
            if not 1 <= file.samplerate <= HIGHEST_RATE:
                raise BadSampleError(f"{name}: has {file.samplerate} samples a second, must have 1 to {HIGHEST_RATE}")
            yield file
    except BadSampleError:
        raise
    except soundfile.LibsndfileError as error:  # its own words name the file again, or an address in memory
        raise BadSampleError(f"{name}: not readable sound ({error.error_string.strip()})") from error
    except Exception as error:  # TypeError: a suffix that promises raw samples
        raise BadSampleError(f"{name}: not readable sound ({reason(error)})") from error


def _decode(source: Path | bytes, name: str, max_seconds: float | None) -> tuple[Tensor, int]:
    """Samples of a file, its channels averaged, and their rate."""
    with _opened(source, name) as file:
        _refuse_long(file.frames / file.samplerate, max_seconds, name)
        if file.frames * file.channels > LARGEST_SOUND:
            raise BadSampleError(f"{name}: {file.frames} samples of {file.channels} channels, more than can be read")
        # Of formats that only go forward (GSM 6.10, G.721, XI) the length has to be said.
        samples = file.read(max(file.frames, 0), dtype="float32", always_2d=True)
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused later
            return torch.from_numpy(samples.mean(axis=1)), file.samplerate


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
    """log(mel power + floor) of frames of `window` samples every `hop` samples: [a] -> [T, m], F = S // hop + 1.

    The mel filters are those of torchaudio (HTK scale). Frames are centred on multiples of `hop`, and the sound is
    reflected at its ends; sound that is shorter than the transform is filled up with silence first.
    """

    def __init__(
        self,
        sample_rate: SampleRate,
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
        f_max = sample_rate / 2 if f_max is None else f_max
        if not 0 <= f_min < f_max <= sample_rate / 2:
            raise ValueError(
                f"f_min={f_min} and f_max={f_max} must rise and stay within half of sample_rate={sample_rate}"
            )
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
    def forward(self, samples_a: Tensor) -> Tensor:
        """Frames [T, m]."""
        if len(samples_a) < self.num_fft:
            samples_a = nn.functional.pad(samples_a, (0, self.num_fft - len(samples_a)))
        return torch.log(self.mel(samples_a) + self.floor).T


class AudioProcessor:
    """Sound -> log-mel -> augmented (training only) -> minus its own mean, over `scale` -> [T, m].

    The spectrograms of a store of clips are computed once and kept next to it under the fingerprint of the features,
    in half precision (which moves a value by 0.004 at most). max_seconds: longer clips are refused. mean: "clip" takes
    one mean of the whole clip away; "bins" that of each mel bin (cepstral mean normalisation: Atal, JASA 55, 1974).
    "bins" removes what a voice, a microphone or a synthesiser colours alike at all times, and with it everything that
    is constant in the sound.
    """

    def __init__(
        self,
        features: LogMel,
        scale: float = 4.0,
        max_seconds: float = 30.0,
        augmentation: SpectrogramAugmentation | None = None,
        mean: str = "clip",
    ) -> None:
        if scale <= 0 or max_seconds <= 0:
            raise ValueError(f"scale={scale} and max_seconds={max_seconds} must be positive")
        if mean not in MEANS:
            raise ValueError(f"mean={mean!r} must be one of {', '.join(MEANS)}")
        self.mean = mean
        self.features, self.scale, self.max_seconds = features, scale, max_seconds
        self.augmentation = augmentation
        self._stores: dict[Path, ArrayStore] = {}

    @property
    def augments(self) -> bool:
        """Whether a generator makes a difference."""
        return self.augmentation is not None

    def __call__(self, media: Media, rng: np.random.Generator | None = None) -> Tensor:
        """Values [T, m]. Raises `BadSampleError` for sound that cannot be read or is too long."""
        if isinstance(clip := media.source, StoredClip):
            rate = clip.store.metadata.get("sample_rate", self.features.sample_rate)
            part, place = clip.store.place(clip.index)
            _refuse_long(part.lengths[place] / rate, self.max_seconds, repr(clip))
            x_Tm = torch.from_numpy(self._stored(part)[place].astype(np.float32))
        else:
            x_Tm = self.features(read_audio(media, self.features.sample_rate, self.max_seconds))
        if rng is not None and self.augmentation is not None:
            x_Tm = self.augmentation(x_Tm, rng)
        return (x_Tm - (x_Tm.mean() if self.mean == "clip" else x_Tm.mean(dim=0))) / self.scale

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
