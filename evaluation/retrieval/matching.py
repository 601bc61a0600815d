"""Do two embeddings belong together? Conversations that ask so about frozen vectors, made of aligned samples.

The question can only be answered from both: each vector alone stands in as many pairs that match as in others.

    rows of a manifest -> vectors of two modalities -> (vector)(vector) -> yes | no

Shape legend: n those of N that have it (samples with both), C width of the features.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.batching.interleave import Interleaver
from data.randomness import generator
from data.storage.atomic_write import write_text
from data.types import AlignedSample, BadInputError, Modality
from evaluation.retrieval.embedding import check_shared_space, embed
from evaluation.retrieval.frozen_baseline import frozen_modalities, pooled_features
from fusion.model import FusionModel

ALIGNED, FROZEN = "aligned", "frozen"
VECTOR = "{}_vector"  # the modality of a vector, by that of what it stands for
VECTORS = "vectors"


@dataclass(frozen=True)
class Vectors:
    """Two vectors for each sample that has both modalities, [n, C]: rows match. ids, concepts: of the samples [n]."""

    modalities: tuple[Modality, Modality]
    first: np.ndarray
    second: np.ndarray
    ids: Sequence[str]
    concepts: Sequence[str]


def vectors_of(
    model: FusionModel,
    interleaver: Interleaver,
    samples: Sequence[AlignedSample],
    modalities: tuple[Modality, Modality],
    features: str = ALIGNED,
) -> Vectors:
    """features: "aligned", embeddings of the shared space, which a training brought together; or "frozen", what the
    frozen encoders said before it, as a mean over each item.

    Raises:
        BadInputError: the model lacks what is asked for, or no sample has both modalities.
    """
    if features == ALIGNED:
        check_shared_space(model)
        found = embed(model, interleaver, samples)
    else:
        lacking = [name for name in modalities if name not in frozen_modalities(model)]
        if lacking:
            raise BadInputError(f"features={FROZEN}: the checkpoint has no frozen encoder of {lacking[0]}")
        found = pooled_features(model, interleaver, samples, range(len(samples)), modalities)
    lacking = [name for name in modalities if name not in found]
    if lacking:
        raise BadInputError(f"modalities: no sample has {lacking[0]}; there are {', '.join(found) or 'none'}")
    left, right = (found[name] for name in modalities)
    places, rows, others = np.intersect1d(left.samples, right.samples, assume_unique=True, return_indices=True)
    if len(places) < 2:
        raise BadInputError(f"modalities: {len(places)} samples have both {' and '.join(modalities)}; two are needed")
    chosen = [samples[place] for place in places]
    concepts = [str(sample.metadata.get("concept", sample.id)) for sample in chosen]
    return Vectors(modalities, left.values[rows], right.values[others], [s.id for s in chosen], concepts)


def pairs(concepts: Sequence[str], rounds: int, seed: int) -> list[tuple[int, int, bool]]:
    """(first, second, whether they match), twice for each sample in every round: once with its own partner, and once
    with that of a sample of another concept. So each second vector matches as often as not, too.

    Raises `BadInputError` if there are not two concepts, or if one has more than half of the samples.
    """
    names, numbers = np.unique(list(concepts), return_inverse=True)
    if len(names) < 2 or 2 * np.bincount(numbers).max() > len(numbers):
        raise BadInputError("samples: no concept may have more than half of them, or some have no other to stand with")
    found: list[tuple[int, int, bool]] = []
    for number in range(rounds):
        rng = generator(seed, "pairs that do not match", number)
        # Shuffled concept by concept, then shifted by the size of the largest: no concept meets itself.
        order = np.lexsort((rng.random(len(numbers)), rng.permutation(len(names))[numbers]))
        partner = np.empty_like(order)
        partner[order] = np.roll(order, int(np.bincount(numbers).max()))
        found += [(place, place, True) for place in range(len(numbers))]
        found += [(place, int(partner[place]), False) for place in range(len(numbers))]
    return found


def write_matching(vectors: Vectors, folder: Path, name: str, rounds: int, seed: int) -> Path:
    """Writes the vectors, and `name`.jsonl with the conversations about them; returns its path."""
    (folder / VECTORS).mkdir(parents=True, exist_ok=True)
    for side, values in zip(vectors.modalities, (vectors.first, vectors.second), strict=True):
        for place, vector in enumerate(values):
            np.save(folder / VECTORS / f"{name}-{side}-{place}.npy", vector.astype(np.float32))
    rows = []
    for number, (first, second, match) in enumerate(pairs(vectors.concepts, rounds, seed)):
        content = [
            {"type": VECTOR.format(side), "path": f"{VECTORS}/{name}-{side}-{place}.npy"}
            for side, place in zip(vectors.modalities, (first, second), strict=True)
        ]
        answer = [{"type": "text", "text": "yes" if match else "no"}]
        messages = [{"role": "user", "content": content}, {"role": "assistant", "content": answer}]
        # A picture that is hard to tell makes both of its pairs hard.
        metadata = {"image": vectors.concepts[first], "match": "yes" if match else "no"}
        rows.append({"id": f"{vectors.ids[first]}-{number}", "messages": messages, "metadata": metadata})
    path = folder / f"{name}.jsonl"
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path
