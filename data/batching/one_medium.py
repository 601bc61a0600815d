"""Documents that see the media of one modality alone, made of those that have several.

Shape legend: L tokens in a row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from data.batching.document import Document
from data.types import ABSENT_SHAPE, LayoutOf, Modality


class OneMedium:
    """For each modality of media, the documents that see it and no other medium; text stays as it is.

    A hidden medium looks as one that modality dropout took away (`data.batching.absence`): its placeholders are gone,
    or one learned token is in their place. Here the tokens of a finished document are taken, and not its sample. So
    media are read, processed and augmented once, and every target stays, in documents that were truncated too.
    Documents with media of one modality are left out, for they would only be seen again.

    modalities: text first, as a model has them. layouts: how many tokens an item of a shape becomes.
    """

    def __init__(self, modalities: Sequence[Modality], layouts: Mapping[Modality, LayoutOf]) -> None:
        self.modalities, self.layouts = tuple(modalities), dict(layouts)

    def __call__(self, documents: Sequence[Document]) -> dict[Modality, list[Document]]:
        """The documents that see each medium of the model alone, perhaps none."""
        found: dict[Modality, list[Document]] = {name: [] for name in self.modalities[1:]}
        for document in documents:
            held = dict.fromkeys(name for name, _ in document.media)
            if len(held) > 1:
                for name in held:
                    found[name].append(self.only(document, name))
        return found

    def only(self, document: Document, modality: Modality) -> Document:
        """The document without media of other modalities."""
        stays_L, modality_ids_L = np.ones(len(document), dtype=bool), document.modality_ids.copy()
        for other in {name for name, _ in document.media} - {modality}:
            number, layout = self.modalities.index(other), self.layouts[other]
            places = np.flatnonzero(document.modality_ids == number)
            stays_L[places] = False
            if layout(ABSENT_SHAPE).count:  # one learned token for each item, where its placeholders began
                counts = [layout(tuple(values.shape)).count for name, values in document.media if name == other]
                first = places[np.cumsum([0, *counts[:-1]])]
                stays_L[first], modality_ids_L[first] = True, -number
        places = np.flatnonzero(stays_L)
        # A label stands right before the token that it names, whatever stood between that token and the one before.
        before_next = np.append(places[1:], len(document)) - 1
        return replace(
            document,
            token_ids=document.token_ids[places],
            modality_ids=modality_ids_L[places],
            labels=document.labels[before_next],
            label_groups=document.label_groups[before_next],
            media=tuple(item for item in document.media if item[0] == modality),
        )
