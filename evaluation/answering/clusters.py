"""Which answers stand or fall together, so that an interval must draw them together.

Answers about the same picture are not independent. The same holds for those about the same clip. Rows are one cluster
if their contexts hold a medium of equal content. Rows that are linked through others are one cluster, too. The question
is not the context: that many rows ask in the same words, typed or in one stored clip, makes them no cluster. (See
`evaluation.answering.context`. All media of an aligned sample are its context, except sentences.) A row may say
otherwise: rows with an equal value of a chosen field of their metadata are one cluster, whatever they show. All others
are alone, even if their ids are equal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from data.types import AlignedSample, Media, Sample
from evaluation.answering.context import context_of
from evaluation.answering.identity import media_hash


@dataclass(frozen=True)
class Clusters:
    """`names`: the cluster of each sample, in their order. `words`: what the clusters are, for a reader."""

    names: tuple[str, ...]
    words: str

    def of(self, places: Iterable[int]) -> list[str]:
        """The clusters of the samples at some places."""
        return [self.names[place] for place in places]

    def to_json(self) -> dict[str, int | str]:
        """The form that `report.json` holds."""
        return {"count": len(set(self.names)), "words": self.words}


def clusters_of(samples: Sequence[Sample | AlignedSample], field: str) -> Clusters:
    """The clusters of samples; `field` of their metadata is what a row may say itself.

    The names are the same whenever the samples are.
    """
    ids = Counter(sample.id for sample in samples)
    seen: Counter[str] = Counter()
    known: dict[Hashable, str] = {}
    groups = _Groups()
    names, kinds = [], []
    for sample in samples:
        seen[sample.id] += 1
        own = f"sample {sample.id}" if ids[sample.id] == 1 else f"sample {sample.id}, {seen[sample.id]} of its id"
        media = [] if field in sample.metadata else list(dict.fromkeys(_context_hashes(sample, known)))
        names.append(sample.metadata[field] if field in sample.metadata else (media or [own])[0])
        kinds.append("field" if field in sample.metadata else "media" if media else "alone")
        groups.join(media)
    names = [groups.root(name) if kind == "media" else name for name, kind in zip(names, kinds, strict=True)]
    repeated = sum(kind == "alone" and ids[sample.id] > 1 for sample, kind in zip(samples, kinds, strict=True))
    return Clusters(tuple(names), _words(names, kinds, field, repeated))


def _words(names: Sequence[str], kinds: Sequence[str], field: str, repeated: int) -> str:
    found: Mapping[str, set[str]] = {
        kind: {n for n, k in zip(names, kinds, strict=True) if k == kind} for kind in kinds
    }
    parts = []
    if "field" in found:
        parts.append(f"{_counted(len(found['field']), 'group')} of rows with one value of metadata.{field}")
    if "media" in found:
        parts.append(f"{_counted(len(found['media']), 'group')} of rows that share a medium of what they are about")
    if "alone" in found:
        parts.append(f"{_counted(len(found['alone']), 'row')} alone")
    text = " and ".join(parts)
    # Last, so that "these" are the rows alone.
    return f"{text}; {repeated:,} of these have an id that is not theirs alone, and count each" if repeated else text


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _context_hashes(sample: Sample | AlignedSample, known: dict[Hashable, str]) -> Iterator[str]:
    """A name for the content of each medium of the context; `known` is filled on the way."""
    for item in context_of(sample):
        # A file that is missing has no content to share; its row cannot be asked either.
        if isinstance(item, Media) and not (isinstance(item.source, Path) and not item.source.is_file()):
            modality, _, content = media_hash(item, known).decode().rpartition(" ")
            yield f"{modality} {content[:16]}"


class _Groups:
    """Sets that are joined where they meet (union-find); each is known by one member, its root."""

    def __init__(self) -> None:
        self._parents: dict[str, str] = {}

    def root(self, name: str) -> str:
        while (parent := self._parents.setdefault(name, name)) != name:
            self._parents[name] = self._parents[parent]
            name = parent
        return name

    def join(self, names: Sequence[str]) -> None:
        for name in names[1:]:
            self._parents[self.root(name)] = self.root(names[0])
