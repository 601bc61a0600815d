"""Manifests as `scripts/match_pairs.py` writes them, about vectors that mean nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from evaluation.retrieval.matching import Vectors, write_matching


def write_vectors(folder: Path, name: str, width: int, num_rows: int = 8) -> Path:
    """The path of NAME.jsonl, with two conversations about each of so many pairs of vectors."""
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((2, num_rows, width))
    names = [f"row {number}" for number in range(num_rows)]
    return write_matching(Vectors(("image", "sentence"), first, second, names, names), folder, name, 1, seed=0)
