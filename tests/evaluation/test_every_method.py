"""Every configured fusion method and mixer can be looked into: attention between modalities, and attributions."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module

import conf
from certify.context import Context, packed
from certify.suite import make_context
from evaluation.attention_mass import attention_mass, mass_scalars
from evaluation.attribution import GRADIENT, MAGNITUDE, Answered, _media_regions, attribute

CONF = Path(str(conf.__file__)).parent
CHOICES = [f"{group}={file.stem}" for group in ("fusion", "mixer") for file in sorted((CONF / group).glob("*.yaml"))]


@cache
def checked(choice: str) -> Context:
    with initialize_config_module("conf", version_base="1.3"):
        context = make_context(compose("train", [choice, "d_model=32"]))
    context.model.eval()
    return context


@pytest.mark.parametrize("choice", CHOICES)
def test_mass_is_shared_out(choice: str) -> None:
    """Within a layer no query gives away more than all its attention, and where every token is a key, all of it."""
    context = checked(choice)
    model = context.model
    masses = attention_mass(model, packed(context.documents()))
    layers = range(len(model.fusion.layers()))
    assert set(masses) <= set(layers)
    for mass in masses.values():
        sums = mass[mass.isfinite().all(dim=1)].sum(1)
        assert len(sums)
        assert (sums <= 1 + 1e-5).all()
        if choice in ("fusion=early", "mixer=attention"):
            torch.testing.assert_close(sums, torch.ones_like(sums))
    assert all(0 <= value <= 1 + 1e-5 for value in mass_scalars(masses, model.modalities).values())


@pytest.mark.parametrize("choice", CHOICES)
def test_media_that_reach_a_target_are_attributed(choice: str) -> None:
    context = checked(choice)
    for document in (found for found in context.documents() if found.sample_id == "audio-image-text"):
        begin = int(np.flatnonzero(document.labels >= 0)[0])
        item = Answered(document, tuple(_media_regions(context.model, document)), begin)
        scores = attribute(context.model, [item])[0]
        for modality in ("audio", "image"):
            mine = [region.modality == modality for region in item.regions]
            assert np.isfinite(scores[GRADIENT][mine]).all()
            assert (scores[MAGNITUDE][mine] > 0).any(), modality
            assert (np.abs(scores[GRADIENT]) <= scores[MAGNITUDE] + 1e-9).all()
