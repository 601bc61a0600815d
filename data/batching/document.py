"""One sample as tokens, with the marks that say what is supervised.

Shape legend: L tokens in a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
from torch import Tensor

from data.batching.tracks import Track, alternate
from data.chat import ChatTokenizer
from data.types import UNSUPERVISED, AlignedSample, Modality, Sample


@dataclass(frozen=True)
class Document:
    """One sample as tokens; arrays are int64 [L].

    token_ids, modality_ids: as in `InterleavedBatch`.
    labels: the token that position i must predict, that is token i + 1; -100 where unsupervised.
    label_groups: index into `group_names`, "source/modality of the question"; -1 where unsupervised.
    media: modality and processed values of each item, in the order of their first placeholders.
    aligned: number, in its batch, of the aligned sample that this is a segment of; -1 for a conversation.
    content: of such a segment, what it holds (see `data.batching.content`).
    """

    token_ids: np.ndarray
    modality_ids: np.ndarray
    labels: np.ndarray
    label_groups: np.ndarray
    group_names: tuple[str, ...]
    media: tuple[tuple[Modality, Tensor], ...]
    sample_id: str
    source: str
    aligned: int = -1
    content: int = 0

    def __len__(self) -> int:
        return len(self.token_ids)


@dataclass
class Turn:
    """The tokens of one message; `group` is None if nothing in it is supervised."""

    group: str | None = None
    token_ids: list[int] = field(default_factory=list)
    modality_ids: list[int] = field(default_factory=list)
    supervised: list[bool] = field(default_factory=list)
    media: list[tuple[Modality, Tensor]] = field(default_factory=list)

    def add(self, token_ids: Sequence[int], modality_id: int = 0, supervised: bool = False) -> None:
        """Tokens at the end of the turn."""
        self.token_ids.extend(token_ids)
        self.modality_ids.extend([modality_id] * len(token_ids))
        self.supervised.extend([supervised] * len(token_ids))

    def add_tracks(self, tracks: Sequence[Track], placeholder: int, modalities: Sequence[Modality]) -> None:
        """One segment of media: its runs of placeholders, and its items, sorted by where they begin.

        A placeholder is never a target, in an assistant's turn neither: its token has no features to predict.
        """
        runs = alternate(tracks)
        for run in runs:
            self.add([placeholder] * run.count, modalities.index(tracks[run.track].modality))
        self.media += [
            (tracks[number].modality, tracks[number].values) for number in dict.fromkeys(r.track for r in runs)
        ]


def assemble(sample: Sample | AlignedSample, turns: Sequence[Turn]) -> Document:
    """The turns of a sample, or its segments, one after the other."""
    token_ids = np.array([token for turn in turns for token in turn.token_ids], dtype=np.int64)
    modality_ids = np.array([modality for turn in turns for modality in turn.modality_ids], dtype=np.int64)
    group_names = tuple(dict.fromkeys(turn.group for turn in turns if turn.group))
    target_groups = np.array(
        [
            group_names.index(turn.group) if turn.group and supervised else -1
            for turn in turns
            for supervised in turn.supervised
        ]
    )
    # The label of a position is the next token: shift by one, and the last position predicts nothing.
    label_groups = np.append(target_groups[1:], -1).astype(np.int64)
    labels = np.where(label_groups >= 0, np.append(token_ids[1:], UNSUPERVISED), UNSUPERVISED)
    media = tuple(item for turn in turns for item in turn.media)
    return Document(token_ids, modality_ids, labels, label_groups, group_names, media, sample.id, sample.source)


def dump(document: Document, tokenizer: ChatTokenizer) -> str:
    """A line for each token: its place, the token, and the target that this place must predict, if any.

    Equal placeholders in a run share a line.
    """
    # Modalities, sorted by where they first occur, once by the ids of placeholders and once by the names of media.
    ids = dict.fromkeys(document.modality_ids[document.modality_ids > 0].tolist())
    names = dict(zip(ids, dict.fromkeys(modality for modality, _ in document.media), strict=True))
    rows = []
    for token, modality, label, group in zip(
        document.token_ids, document.modality_ids, document.labels, document.label_groups, strict=True
    ):
        shown = f"{tokenizer.token(token)} {names.get(modality, '')}"
        target = "" if label == UNSUPERVISED else f"=> {tokenizer.token(label)} ({document.group_names[group]})"
        rows.append((f"{shown:<24}  {target}".rstrip(), int(modality)))
    lines, start = [], 0
    for (row, modality), run in groupby(rows):
        count = len(list(run))
        # Only placeholders share a line: of text, each token is worth seeing.
        for length in [count] if modality else [1] * count:
            place = str(start) if length == 1 else f"{start}-{start + length - 1}"
            lines.append(f"{place:>9}  {row}")
            start += length
    return "\n".join(lines)
