"""Attention between modalities adds up, and is what a slow count over the maps gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from data.absence import without
from data.collate import collate
from data.interleave import Interleaver
from data.packing import pack
from data.tokenizer import Tokenizer
from data.types import InterleavedBatch
from evaluation.attention_mass import attention_mass, mass_scalars
from evaluation.monitor import Monitor
from fusion.attention_maps import attention_maps
from fusion.model import FusionModel
from tests.evaluation.colours import Colours
from tests.evaluation.test_monitor import Recorder

Parts = tuple[FusionModel, Tokenizer, Interleaver]


def batch(interleaver: Interleaver, kinds: tuple[str, ...] = ("typed", "spoken")) -> InterleavedBatch:
    """Packed rows of two documents and more, with padding behind."""
    samples = [Colours(kind, 4).sample(i, np.random.default_rng(0)) for kind in kinds for i in range(4)]
    return collate(pack([interleaver.document(sample) for sample in samples], 80))


def test_rows_sum_to_one_and_equal_a_count_by_hand(trained: Parts) -> None:
    model, _, interleaver = trained
    given = batch(interleaver)
    masses = attention_mass(model, given)
    assert list(masses) == [0, 1]
    for layer, weights in enumerate(attention_maps(model, given)):
        torch.testing.assert_close(masses[layer].sum(1), torch.ones(3))
        shares: dict[tuple[int, int], list[float]] = {}
        for row, column in (given.document_ids >= 0).nonzero().tolist():
            asks = int(given.modality_ids[row, column])
            if asks or given.labels[row, column] >= 0:
                for key in range(3):
                    there = given.modality_ids[row] == key
                    shares.setdefault((asks, key), []).append(float(weights[row, :, column, there].mean(0).sum()))
        for (asks, key), found in shares.items():
            assert masses[layer][asks, key].item() == pytest.approx(np.mean(found), abs=1e-5)


def test_the_future_has_no_mass(trained: Parts) -> None:
    """An image that comes before the sound cannot look at it."""
    model, _, interleaver = trained
    audio, image = (model.modalities.index(name) for name in ("audio", "image"))
    for mass in attention_mass(model, batch(interleaver)).values():
        assert mass[image, audio] == 0
        assert mass[audio, image] > 0


def test_only_modalities_that_are_there_are_named(trained: Parts) -> None:
    model, _, interleaver = trained
    scalars = mass_scalars(attention_mass(model, batch(interleaver, ("typed",))), model.modalities)
    pairs = {"text_to_text", "text_to_image", "image_to_text", "image_to_image"}
    assert set(scalars) == {f"attention/layer_{layer}/{pair}" for layer in (1, 2) for pair in pairs}
    assert all(0 <= value <= 1 for value in scalars.values())
    sample = without(Colours("typed", 1).sample(0, np.random.default_rng(0)), ["image"])
    alone = attention_mass(model, collate([[interleaver.document(sample)]]))
    assert mass_scalars(alone, model.modalities) == {f"attention/layer_{n}/text_to_text": 1.0 for n in (1, 2)}


def test_validation_logs_it(trained: Parts) -> None:
    model, tokenizer, interleaver = trained
    sources = {"typed": Colours("typed", 8), "spoken": Colours("spoken", 8)}
    seen = Recorder()
    metrics = Monitor(sources, tokenizer, interleaver, seen, num_examples=0)(model, 7)
    [(step, scalars)] = seen.scalars
    assert step == 7
    for layer in (1, 2):
        names = [f"attention/layer_{layer}/text_to_{key}" for key in ("text", "audio", "image")]
        assert sum(scalars[name] for name in names) == pytest.approx(1, abs=1e-5)
        assert min(scalars[name] for name in names) > 0
    assert not any(name.startswith("attention") for name in metrics), "beside the scores, not among them"
    silent = Recorder()
    Monitor(sources, tokenizer, interleaver, silent, num_examples=0, mass_samples=0)(model, 7)
    assert silent.scalars == []
    with pytest.raises(ValueError, match="mass_samples=-1"):
        Monitor(sources, tokenizer, interleaver, mass_samples=-1)
