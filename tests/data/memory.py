"""A source that lives in memory and processors that read raw tensors, so that tests need no files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from data.batching.interleave import Interleaver
from data.tokenizer import Tokenizer
from data.types import AUDIO, IMAGE, BadSampleError, Layout, Media, Message, Sample, Text

MODALITIES = ("text", "audio", "image")
# An image of 4 x 4 pixels is 4 patches of 2 x 2; every two frames of sound become one token.
# What is absent takes one.
LAYOUTS = {
    IMAGE: lambda shape: Layout(shape[1] * shape[2] // 4, (shape[1] // 2, shape[2] // 2)) if shape else Layout(1),
    AUDIO: lambda shape: Layout(shape[0] // 2, ticks=(1.0, 2.0)) if shape else Layout(1),
}
WORDS = ("what", "is", "it", "a red circle", "yes", "no", "who speaks")


class RawProcessor:
    """Values as they are; noise is added if and only if there is a generator, as augmentation would."""

    def __call__(self, media: Media, rng: np.random.Generator | None = None) -> Tensor:
        values = media.source
        if not isinstance(values, Tensor):
            raise BadSampleError(f"{media.source}: no such file")
        noise = 0.0 if rng is None else rng.standard_normal(values.shape)
        return values + torch.as_tensor(noise, dtype=values.dtype)


class MemorySource:
    """Conversations of an image, then typed and spoken questions; the indices in `bad` lack their file."""

    def __init__(self, num_samples: int, bad: Sequence[int] = (), name: str = "memory") -> None:
        if num_samples < 0:
            raise ValueError(f"num_samples={num_samples} must be at least 0")
        self.num_samples = num_samples
        self.bad = bad
        self.name = name

    def __len__(self) -> int:
        return self.num_samples

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        question = Text(f"is it {index}?")
        if index in self.bad:
            question = Media(AUDIO, b"missing.wav")
        elif rng.random() < 0.5:
            question = Media(AUDIO, torch.full((int(rng.integers(2, 9)), 3), float(index)))
        messages = (
            Message("user", (Media(IMAGE, torch.full((3, 4, 4), float(index))), question)),
            Message("assistant", (Text(f"{index} yes" * int(rng.integers(1, 4))),)),
        )
        return Sample(str(index), messages, source=self.name, origin=f"{self.name}.jsonl:{index + 1}")

    def texts(self) -> Iterable[str]:
        return WORDS


class AlignedSource(MemorySource):
    """Rows that are for contrastive training only."""

    def sample(self, index, rng):
        from data.types import AlignedSample

        return AlignedSample(str(index), (Text("a"), Text("b")), origin="pairs.jsonl:1")


def tokenizer() -> Tokenizer:
    """265 tokens: a token for each byte, no merges, so that expected tokens can be written by hand."""
    return Tokenizer.train((), 265)


def interleaver(max_tokens: int = 64, **options) -> Interleaver:
    processors = {IMAGE: RawProcessor(), AUDIO: RawProcessor()}
    return Interleaver(tokenizer(), processors, LAYOUTS, MODALITIES, max_tokens, **options)
