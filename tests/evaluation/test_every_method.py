"""Every configured fusion method and mixer can be looked into: attention between modalities, and attributions."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module

import conf
from certify.context import Context
from certify.suite import make_context
from evaluation.insight.attention_mass import ADDED, attention_mass, mass_scalars
from evaluation.insight.attribution import ATTENTION, GRADIENT, MAGNITUDE, Answered, _media_regions, attribute
from evaluation.insight.rollout import rollout
from fusion.attention_maps import attention_maps
from fusion.mixers.attention import GroupAttention

CONF = Path(str(conf.__file__)).parent
CHOICES = [f"{group}={file.stem}" for group in ("fusion", "mixer") for file in sorted((CONF / group).glob("*.yaml"))]

# Media come to its text by an MLP, not by attention.
UNSEEN = "fusion=concat"


@cache
def checked(choice: str) -> Context:
    with initialize_config_module("conf", version_base="1.3"):
        context = make_context(compose("train", [choice, "d_model=32"]))
    context.model.eval()
    return context


def attends(choice: str) -> bool:
    """Whether the layers have attention weights; a mixer may do without, a fusion method is tried with one that has."""
    return choice.startswith("fusion=") or any(
        isinstance(module, GroupAttention) for module in checked(choice).model.fusion.modules()
    )


@pytest.mark.parametrize("choice", CHOICES)
def test_mass_is_shared_out(choice: str) -> None:
    """What a kind of tokens gives away sums to 1 in every layer, however documents are packed."""
    context = checked(choice)
    model = context.model
    masses = attention_mass(model, context.packed(context.documents()))
    assert bool(masses) == attends(choice)
    for found in masses.values():
        for query in {query for query, _ in found}:
            assert sum(mass for (asking, _), mass in found.items() if asking == query) == pytest.approx(1)
    unpacked = mass_scalars(attention_mass(model, context.batched(context.documents())))
    assert mass_scalars(masses) == pytest.approx(unpacked, abs=1e-5)


@pytest.mark.parametrize("choice", CHOICES)
def test_text_attends_to_media_or_through_bottlenecks(choice: str) -> None:
    """Only concatenation has no attention from text to media, and there it is exactly 0."""
    context = checked(choice)
    scalars = mass_scalars(attention_mass(context.model, context.packed(context.documents())))
    to_media = [scalars[name] for name in scalars if name.endswith(("text_to_image", f"text_to_{ADDED}"))]
    assert bool(to_media) == attends(choice)
    assert any(to_media) == (attends(choice) and choice != UNSEEN)
    assert all(f"attention/layer_{layer + 1}/text_to_text" in scalars for layer in range(4)) == attends(choice)


@pytest.mark.parametrize("choice", CHOICES)
def test_rollout_reaches_what_the_last_position_depends_on(choice: str) -> None:
    """It is positive exactly where the gradient is not zero, but for concatenation, whose media go other ways."""
    context = checked(choice)
    model = context.model
    for document in context.documents():
        batch = context.batched([document])
        sequence = model.embed(batch)
        hidden_1LD = sequence.hidden.detach().requires_grad_()
        last = len(document) - 1
        states_1LD = model.fusion(replace(sequence, hidden=hidden_1LD)).states
        [gradient_1LD] = torch.autograd.grad(states_1LD[0, last].pow(3).sum(), hidden_1LD)
        expected_L = (gradient_1LD[0] != 0).any(-1)
        assert batch.modality_ids[0, last] or expected_L.sum() == last + 1, "text sees all before it"
        if choice == UNSEEN:
            expected_L &= batch.modality_ids[0] == batch.modality_ids[0, last]
        if attends(choice):
            share_L = rollout(attention_maps(model, batch), torch.tensor([last]), batch.token_ids.numel())
            assert ((share_L > 0) == expected_L).all(), document.sample_id
            assert share_L.sum() <= 1 + 1e-5


@pytest.mark.parametrize("choice", CHOICES)
def test_attention_is_a_ranking_where_it_leads_to_the_media(choice: str) -> None:
    context = checked(choice)
    [document] = [found for found in context.documents() if found.sample_id == "audio-image-text"]
    item = Answered(document, tuple(_media_regions(context.model, document)), len(document) - 1)
    scores = attribute(context.model, [item])[0]
    assert (ATTENTION in scores) == (attends(choice) and choice != UNSEEN)
    if ATTENTION in scores:
        assert (scores[ATTENTION] > 0).all()


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
