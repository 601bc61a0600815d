"""Renders the clips that will be read, and no others, before they are read.

A batch is a function of its number, so that the clips of a training are known before it starts.
"""

from __future__ import annotations

from collections.abc import Sequence

from data.batching.mixture import Mixture
from data.randomness import Draws
from data.sources.messages import named_segments
from data.storage.array_store import StoredClip
from data.storage.growing_store import GrowingStore
from data.types import Media

# A training that reads so much of a bank soon reads all of it; the rest of its samples need not be looked at.
NEARLY_ALL = 0.9


def render_ahead(mixture: Mixture, num_samples: int) -> None:
    """Makes the clips of the first `num_samples` positions of the stream.

    Only sources that name their `stores` (see `data.sources.easy_vqa.EasyVqa`) are looked at.
    """
    incomplete = {
        name: [store for store in _stores(source) if not store.is_complete] for name, source in mixture.sources.items()
    }
    wanted: dict[GrowingStore, set[int]] = {store: set() for found in incomplete.values() for store in found}
    for position in range(num_samples):
        if all(len(found) >= NEARLY_ALL * len(store) for store, found in wanted.items()):
            break
        name, index = mixture.locate(position)
        if not incomplete[name]:
            continue
        sample = mixture.sources[name].sample(index, Draws(mixture.seed, position)("sample"))
        for _, segment in named_segments(sample):
            clip = segment.source if isinstance(segment, Media) else None
            if isinstance(clip, StoredClip) and clip.store in wanted:
                wanted[clip.store].add(clip.index)
    for store, found in wanted.items():
        store.ensure(found if len(found) < NEARLY_ALL * len(store) else range(len(store)))


def _stores(source: object) -> Sequence[GrowingStore]:
    return getattr(source, "stores", ())
