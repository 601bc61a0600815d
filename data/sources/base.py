"""What a source of samples is, whatever it reads from."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import numpy as np

from data.bad_samples import check_text, reading
from data.sources.messages import format_row
from data.types import AlignedSample, Sample

# Kinds of samples, by the name of their field in a manifest.
MESSAGES, ALIGNED = "messages", "aligned"


class Readable(Protocol):
    """A set of samples that can be read in any order, and exported."""

    def __len__(self) -> int: ...

    def sample(self, index: int, rng: np.random.Generator) -> Sample | AlignedSample:
        """Sample `index` of `len(self)`; `rng` decides what varies between epochs (turns, voices)."""
        ...


class Source(Readable, Protocol):
    """A set of samples that can be trained on."""

    def texts(self) -> Iterable[str]:
        """All text that the samples hold, to train the tokenizer from."""
        ...


def read_sample(
    source: Readable, index: int, rng: np.random.Generator, name: str | None = None
) -> Sample | AlignedSample:
    """Sample `index` of a source, for everything that reads samples.

    name: what errors call the source, where it does not say the row itself. Whatever the source meets raises
    `BadSampleError`. Text in the sample that no file could hold raises it, too.
    """
    where = f"{name or type(source).__name__}[{index}]"
    with reading(where):
        sample = source.sample(index, rng)
        check_text(format_row(sample, lambda media: str(media.source) if isinstance(media.source, Path) else ""), where)
    return sample
