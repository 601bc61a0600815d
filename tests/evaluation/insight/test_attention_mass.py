"""Attention between modalities adds up, and is what a slow count over all pairs gives."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
import torch

from data.batching.absence import without
from data.batching.collate import collate
from data.batching.interleave import Interleaver
from data.batching.packing import pack
from data.tokenizer import Tokenizer
from data.types import InterleavedBatch
from evaluation.insight.attention_mass import ADDED, attention_mass, mass_scalars
from evaluation.monitors.monitor import Monitor
from fusion.methods.bottleneck import BottleneckFusion
from fusion.methods.cross_attention import CrossAttentionFusion
from fusion.mixers.cross_attention import PairAttention
from fusion.model import FusionModel
from tests.evaluation.colours import Colours
from tests.evaluation.monitors.test_monitor import Recorder
from tests.fusion.dense_maps import dense_maps
from tests.fusion.methods.test_methods import CROSS, model_and_batch

Parts = tuple[FusionModel, Tokenizer, Interleaver]
LAYERS = ("layer_1", "layer_2")


def batch(interleaver: Interleaver, kinds: tuple[str, ...] = ("typed", "spoken")) -> InterleavedBatch:
    """Packed rows of two documents and more, with padding behind."""
    samples = [Colours(kind, 4).sample(i, np.random.default_rng(0)) for kind in kinds for i in range(4)]
    return collate(pack([interleaver.document(sample) for sample in samples], 80))


def test_rows_sum_to_one_and_equal_a_count_by_hand(trained: Parts) -> None:
    model, _, interleaver = trained
    given = batch(interleaver)
    masses = attention_mass(model, given)
    assert tuple(masses) == LAYERS
    for layer, weights in zip(LAYERS, dense_maps(model, given), strict=True):
        shares: dict[tuple[str, str], list[float]] = defaultdict(list)
        for row, column in (given.document_ids >= 0).nonzero().tolist():
            asks = int(given.modality_ids[row, column])
            if asks or given.labels[row, column] >= 0:
                for key, name in enumerate(model.modalities):
                    mass = float(weights[row, :, column, given.modality_ids[row] == key].mean(0).sum())
                    shares[model.modalities[asks], name].append(mass)
        assert masses[layer] == pytest.approx({pair: np.mean(found) for pair, found in shares.items()}, abs=1e-5)
        for query in model.modalities:
            assert sum(masses[layer][query, key] for key in model.modalities) == pytest.approx(1)


def test_cross_attention_equals_a_softmax_written_out() -> None:
    """Over each answering text token that sees a medium at all, from queries and keys as they come."""
    model, given = model_and_batch(CrossAttentionFusion, media_layers=1, **CROSS)
    found = []
    crossing = [module for module in model.fusion.modules() if isinstance(module, PairAttention)]
    hooks = [module.register_forward_pre_hook(lambda _, inputs: found.append(inputs[:2])) for module in crossing]
    masses = attention_mass(model, given)
    for hook in hooks:
        hook.remove()
    ids, documents = given.modality_ids.flatten(), given.document_ids.flatten()
    valid, places = documents >= 0, given.places.flatten()
    text, media = (valid & (ids == 0)).nonzero()[:, 0], (valid & (ids != 0)).nonzero()[:, 0]
    names = model.modalities
    for layer, (q_1HQK, k_1HTK) in zip(("cross_1", "cross_2"), found, strict=True):
        shares: dict[tuple[str, str], list[float]] = defaultdict(list)
        for row, token in enumerate(text.tolist()):
            seen = (documents[media] == documents[token]) & (places[media] < places[token])
            if given.labels.flatten()[token] < 0 or not seen.any():
                continue
            heads = [
                torch.softmax(k_1HTK[0, head // 2][seen] @ q_1HQK[0, head, row] / q_1HQK.shape[-1] ** 0.5, 0)
                for head in range(q_1HQK.shape[1])
            ]
            for key, name in enumerate(names):
                shares["text", name].append(float(torch.stack(heads)[:, ids[media][seen] == key].mean(0).sum()))
        assert masses[layer] == pytest.approx({pair: np.mean(mass) for pair, mass in shares.items()}, abs=1e-6)
        assert masses[layer]["text", "text"] == 0
        assert min(masses[layer]["text", "image"], masses[layer]["text", "audio"]) > 0
        assert sum(masses[layer].values()) == pytest.approx(1)
    for layer in LAYERS:
        assert masses[layer] == pytest.approx({("text", "text"): 1})
    own = {(query, key): float(query == key) for query in ("audio", "image") for key in ("audio", "image")}
    assert masses["media_layer_1"] == pytest.approx(own)


def test_bottlenecks_have_a_row_and_a_column() -> None:
    """Modalities see themselves and bottlenecks, which see everything."""
    model, given = model_and_batch(BottleneckFusion)
    for found in (attention_mass(model, given)[layer] for layer in LAYERS):
        for query in model.modalities:
            assert found[query, query] + found[query, ADDED] == pytest.approx(1)
            assert found["text", ADDED] > 0
            assert found[ADDED, query] > 0
        assert sum(found[ADDED, key] for key in (*model.modalities, ADDED)) == pytest.approx(1)


def test_the_future_has_no_mass(trained: Parts) -> None:
    """An image that comes before the sound cannot look at it."""
    model, _, interleaver = trained
    for mass in attention_mass(model, batch(interleaver)).values():
        assert mass["image", "audio"] == 0
        assert mass["audio", "image"] > 0


def test_only_modalities_that_are_there_are_named(trained: Parts) -> None:
    model, _, interleaver = trained
    scalars = mass_scalars(attention_mass(model, batch(interleaver, ("typed",))))
    pairs = {"text_to_text", "text_to_image", "image_to_text", "image_to_image"}
    assert set(scalars) == {f"attention/{layer}/{pair}" for layer in LAYERS for pair in pairs}
    assert all(0 <= value <= 1 for value in scalars.values())
    sample = without(Colours("typed", 1).sample(0, np.random.default_rng(0)), ["image"])
    alone = attention_mass(model, collate([[interleaver.document(sample)]]))
    assert mass_scalars(alone) == {f"attention/{layer}/text_to_text": 1.0 for layer in LAYERS}


def test_validation_logs_it(trained: Parts) -> None:
    model, tokenizer, interleaver = trained
    sources = {"typed": Colours("typed", 8), "spoken": Colours("spoken", 8)}
    seen = Recorder()
    metrics = Monitor(sources, tokenizer, interleaver, num_examples=0)(model, 7, seen)
    [(step, scalars)] = seen.scalars
    assert step == 7
    for layer in LAYERS:
        names = [f"attention/{layer}/text_to_{key}" for key in ("text", "audio", "image")]
        assert sum(scalars[name] for name in names) == pytest.approx(1, abs=1e-5)
        assert min(scalars[name] for name in names) > 0
    assert not any(name.startswith("attention") for name in metrics), "beside the scores, not among them"
    silent = Recorder()
    Monitor(sources, tokenizer, interleaver, num_examples=0, mass_samples=0)(model, 7, silent)
    assert silent.scalars == []
    with pytest.raises(ValueError, match="mass_samples=-1"):
        Monitor(sources, tokenizer, interleaver, mass_samples=-1)
