"""A source without the media of some modalities: what `data.without` makes of every source that a run reads."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from data.batching.absence import user_segments
from data.sources.base import Source
from data.sources.fields import hint
from data.types import TEXT, AlignedSample, BadInputError, BadSampleError, Message, Modality, Sample

OPTION = "data.without"
ASKED_IN = "asked_in"


class Without:
    """The samples of `source`, none of which holds media of `removed`, in any turn. What the source says of itself
    (`kinds`, `stores`, `fingerprint`, ..) stays, but for its modalities.

    Differs from `data.modality_dropout` at a share of 1 in that nothing is left, not even a learned token for what is
    absent. So no encoder is needed, and the model costs what a model without it costs.
    """

    def __init__(self, source: Source, removed: Collection[Modality]) -> None:
        self.source, self.removed = source, frozenset(removed)

    def __getattr__(self, name: str) -> Any:
        if name in ("source", "removed"):  # not there yet where a worker unpacks it
            raise AttributeError(name)
        found = getattr(self.source, name)
        return set(found) - self.removed if name == "modalities" else found

    def __len__(self) -> int:
        return len(self.source)

    def sample(self, index: int, rng: np.random.Generator) -> Sample | AlignedSample:
        """As that of the source. Raises `BadSampleError` where nothing is left of what the user gives."""
        sample = self.source.sample(index, rng)
        if isinstance(sample, AlignedSample):
            segments = tuple(item for item in sample.segments if item.modality not in self.removed)
            self._check(sample, bool(segments))
            return replace(sample, segments=segments)
        found: Sample = replace(sample, messages=without_media(sample.messages, self.removed))
        self._check(sample, bool(user_segments(found)) or not user_segments(sample))
        if sample.metadata.get(ASKED_IN) in self.removed:  # the question is gone, and not in another place
            metadata = {key: value for key, value in sample.metadata.items() if key != ASKED_IN}
            return replace(found, metadata=metadata)
        return found

    def texts(self) -> Iterable[str]:
        """Those of the source: the same tokenizer, whatever is removed."""
        return self.source.texts()

    def _check(self, sample: Sample | AlignedSample, something_left: bool) -> None:
        if not something_left:
            names = ", ".join(sorted(self.removed))
            raise BadSampleError(f"{sample.name}: nothing is left of it without {names} ({OPTION})")


def without_media(messages: Iterable[Message], removed: Collection[Modality]) -> tuple[Message, ...]:
    """The turns without the media of these modalities."""
    return tuple(
        replace(message, content=tuple(item for item in message.content if item.modality not in removed))
        for message in messages
    )


def stripped(source: Any, removed: Collection[Modality]) -> Any:
    """The source without media of these modalities; the source itself where there are none."""
    return Without(source, removed) if removed else source


def removed_modalities(data: Mapping[str, Any] | None) -> tuple[Modality, ...]:
    """The `without` of a `data` node, each name once. Raises `BadInputError` for one that cannot be removed."""
    names = tuple(dict.fromkeys((data or {}).get("without") or ()))
    if TEXT in names:
        raise BadInputError(f"{OPTION}: {TEXT} cannot be removed: it asks and answers; name modalities of media")
    return names


def check_removed(removed: Collection[Modality], sources: Collection[Source]) -> None:
    """Refuses modalities that no source holds: a slip of the pen would leave everything as it is.

    Where a source does not say what it holds, nothing is refused.
    """
    held = [item.source if isinstance(item, Without) else item for item in sources]
    if not all(hasattr(item, "modalities") for item in held):
        return
    known = sorted({name for item in held for name in getattr(item, "modalities", ())})
    for name in removed:
        if name not in known:
            raise BadInputError(
                f"{OPTION}: no source holds media of modality {name!r} (they hold: {', '.join(known) or 'none'})"
                f"{hint(name, known)}"
            )
