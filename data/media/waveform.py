"""Sound for encoders that read it raw (wav2vec 2.0, HuBERT), or as their own library prepares it (Whisper, AST).

Shape legend: a samples of a signal.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from data.bad_samples import reason
from data.configuration.locate import first_line, library, locate
from data.media.audio import SampleRate, read_audio
from data.types import BadSampleError, Media


class WaveformProcessor:
    """Sound -> one channel at `sample_rate` -> mean 0 and variance 1 (`normalise`) -> [a]; never augmented.

    The normalisation is that of transformers' `Wav2Vec2FeatureExtractor`. `sample_rate` and `normalise` follow the
    encoder in a training where they are None; elsewhere None is 16 kHz, normalised.
    """

    augments = False

    def __init__(
        self, sample_rate: SampleRate | None = None, max_seconds: float = 30.0, normalise: bool | None = None
    ) -> None:
        sample_rate = 16_000 if sample_rate is None else sample_rate
        if sample_rate < 1 or max_seconds <= 0:
            raise ValueError(f"sample_rate={sample_rate} and max_seconds={max_seconds} must be positive")
        self.sample_rate, self.max_seconds, self.normalise = sample_rate, max_seconds, normalise is not False

    def __call__(self, media: Media, rng: np.random.Generator | None = None) -> Tensor:
        """Values [a]. Raises `BadSampleError` for sound that cannot be read or is too long."""
        samples_a = read_audio(media, self.sample_rate, self.max_seconds)
        if self.normalise:
            samples_a = (samples_a - samples_a.mean()) / (samples_a.var(correction=0) + 1e-7).sqrt()
        return samples_a


class ExtractorProcessor:
    """Sound -> the feature extractor that belongs to a model of transformers -> its values; never augmented.

    model: a name on the hub, a folder with `preprocessor_config.json`, or `package:NAME/FOLDER`.
    Raises `ValueError` if it has no extractor for sound.
    """

    augments = False

    def __init__(self, model: str, max_seconds: float = 30.0) -> None:
        if max_seconds <= 0:
            raise ValueError(f"max_seconds={max_seconds} must be positive")
        transformers = library("transformers")
        try:
            self.extractor = transformers.AutoFeatureExtractor.from_pretrained(locate(model) or model)
        except Exception as error:  # the library and the hub fail in many ways, and none is a bug of this project
            raise ValueError(f"model={model!r} has no feature extractor: {first_line(error)}") from error
        if not hasattr(self.extractor, "sampling_rate"):
            raise ValueError(f"model={model!r}: {type(self.extractor).__name__} is not for sound")
        self.max_seconds = max_seconds

    def __call__(self, media: Media, rng: np.random.Generator | None = None) -> Tensor:
        """The values of one clip. Raises `BadSampleError` for sound that cannot be read or is too long."""
        rate = self.extractor.sampling_rate
        samples_a = read_audio(media, rate, self.max_seconds)
        try:
            extracted = self.extractor(samples_a.numpy(), sampling_rate=rate, return_tensors="np")
        except Exception as error:  # a library with an extractor for every model; each fails in its own way
            extractor = type(self.extractor).__name__
            raise BadSampleError(f"{media.name}: refused by {extractor}: {reason(error)}") from error
        return torch.from_numpy(np.asarray(extracted[self.extractor.model_input_names[0]][0], dtype=np.float32))
