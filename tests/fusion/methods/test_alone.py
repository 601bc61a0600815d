"""Documents of one modality, as a contrastive training has them: who sees whom makes no difference there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from data.batching.collate import collate
from data.batching.document import Document
from data.types import AlignedSample, Media, Text
from fusion.method import FusionMethod
from fusion.methods.early import EarlyFusion
from fusion.methods.late import LateFusion
from fusion.methods.mid import MidFusion
from tests.evaluation.colours import colour_image, parts, whistle


def states(fusion: type[FusionMethod], aligned: bool) -> torch.Tensor:
    """Of a picture, a sound and words with the same weights: as three documents, or as the turn of one."""
    model, _, interleaver = parts(seed=1, fusion=fusion)
    picture = Media("image", colour_image("red", np.random.default_rng(0)))
    segments = (picture, Media("audio", whistle(0, 1)), Text("red"))
    documents = interleaver.segments(AlignedSample("x", segments))
    if not aligned:
        documents = [joined(documents)]
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():  # output projections start at zero, so that nobody would be seen
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
        return model.eval()(collate([documents])).states


def joined(documents: Sequence[Document]) -> Document:
    """One document in place of three."""
    arrays = {
        field.name: np.concatenate([getattr(document, field.name) for document in documents])
        for field in fields(documents[0])
        if isinstance(getattr(documents[0], field.name), np.ndarray)
    }
    return replace(
        documents[0], **arrays, media=tuple(item for document in documents for item in document.media), aligned=-1
    )


@pytest.mark.parametrize("fusion", [MidFusion, LateFusion])
def test_early_mid_and_late_fusion_embed_alike(fusion: type[FusionMethod]) -> None:
    assert torch.allclose(states(fusion, aligned=True), states(EarlyFusion, aligned=True), atol=1e-6)
    assert not torch.allclose(states(fusion, aligned=False), states(EarlyFusion, aligned=False), atol=1e-3)
