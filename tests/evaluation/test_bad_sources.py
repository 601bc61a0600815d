"""Whatever a source raises for one row is skipped and counted, or named, wherever rows are read to be evaluated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data.batching.mixture import Mixture
from data.types import AlignedSample, BadSampleError, Media, Message, Sample, Text
from evaluation.answering.identity import data_fingerprint
from evaluation.answering.questions import read_samples
from evaluation.retrieval.embedding import read_aligned
from training.preparation.feature_cache import needed_media

ASKED = (Message("user", (Text("?"),)), Message("assistant", (Text("yes"),)))


class Disk:
    """Row 1 cannot be read, row 2 has half a surrogate pair, and row 3 names a folder as its picture."""

    def __init__(self, folder: Path, is_aligned: bool) -> None:
        self.folder, self.is_aligned = folder, is_aligned

    def __len__(self) -> int:
        return 4

    def sample(self, index: int, rng: np.random.Generator) -> Sample | AlignedSample:
        if index == 1:
            raise OSError(5, "Input/output error")
        text = Text("half \ud800" if index == 2 else "whole")
        picture = Media("image", self.folder if index == 3 else b"picture")
        if self.is_aligned:
            return AlignedSample(str(index), (picture, text))
        return Sample(str(index), (Message("user", (picture, text)), *ASKED))

    def texts(self) -> list[str]:
        return []


@pytest.mark.parametrize(("read", "is_aligned"), [(read_samples, False), (read_aligned, True)])
def test_rows_are_skipped_and_counted_or_named(read, is_aligned: bool, tmp_path: Path) -> None:
    source, skipped = Disk(tmp_path, is_aligned), []
    samples = read(source, skipped)
    assert [sample.id for sample in samples] == ["0", "3"]
    assert skipped[0] == "Disk[1]: Input/output error"
    assert skipped[1].startswith("Disk[2]: ")
    assert "\\ud800, half a surrogate pair" in skipped[1]
    with pytest.raises(BadSampleError, match=r"^Disk\[1\]: Input/output error$"):
        read(source)
    assert data_fingerprint(samples) == data_fingerprint(read(source, []))


@pytest.mark.parametrize("is_aligned", [False, True])
def test_a_feature_cache_names_row_and_field(is_aligned: bool, tmp_path: Path) -> None:
    mixture = Mixture({"disk": (Disk(tmp_path, is_aligned), 1.0)}, 0)
    assert len(needed_media(mixture, "image", 4, skips=True)) == 1
    kept = Disk(tmp_path, is_aligned)
    kept.sample = lambda index, rng: Disk.sample(kept, 3, rng)  # type: ignore[method-assign]
    with pytest.raises(BadSampleError, match=r"\(id 3\): (messages\[0\]\.content|aligned)\[0\]: .*: is a folder"):
        needed_media(Mixture({"disk": (kept, 1.0)}, 0), "image", 1, skips=False)
