"""Unimodal losses: those of batches that are really rendered without the other media, and of nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from data.batching.absence import without
from data.batching.collate import collate
from data.batching.packing import pack
from data.types import AUDIO, IMAGE
from tests.training.balance.balanced import made, stream_of
from tests.training.tiny import fusion_configs, tiny_model, tiny_stream
from training.balance.unimodal_losses import UnimodalLosses
from training.objectives.next_token import NextToken
from training.steps.accumulation import accumulate

OTHER = {IMAGE: AUDIO, AUDIO: IMAGE}


def gradients(model):
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


def rendered(stream, index, modality):
    """The samples of a batch that have image and sound, without the other medium; None: all samples as they are."""
    documents = []
    for position in stream.positions(index):
        name, sample, draws = stream.mixture.at(position)
        sample = replace(sample, source=name)
        held = {segment.modality for segment in sample.messages[0].content}
        if modality is None:
            documents.append(stream.interleaver.document(sample, draws))
        elif {IMAGE, AUDIO} <= held:
            documents.append(stream.interleaver.document(without(sample, {OTHER[modality]}), draws))
    return collate(pack(documents, 64)) if documents else None


@pytest.mark.parametrize("missing", ["none", "learned"])
@pytest.mark.parametrize("fusion", fusion_configs())
def test_the_gradient_is_that_of_batches_without_the_other_medium(fusion, missing):
    """Written out: (multimodal + weight * unimodal, summed over two micro-batches) / number of multimodal terms."""
    model = tiny_model(fusion=fusion_configs()[fusion], missing_token=missing)
    stream, objective, weight = stream_of(model), NextToken(), 0.5
    total, count, alone = 0.0, 0, {IMAGE: [0.0, 0], AUDIO: [0.0, 0]}
    for index in (0, 1):
        terms = objective(model, rendered(stream, index, None))
        total, count = total + terms.sum, count + terms.count
        for modality, sums in alone.items():
            part = objective(model, rendered(stream, index, modality))
            total = total + weight * part.sum
            sums[0], sums[1] = sums[0] + float(part.sum.detach()), sums[1] + part.count
    (total / count).backward()
    expected = gradients(model)
    totals = accumulate(model, objective, [stream[0], stream[1]], extra=UnimodalLosses(weight).extra(0))
    found = gradients(model)
    assert totals.count == count
    for modality, (loss, number) in alone.items():
        assert number > 0
        assert totals.statistics[f"balance/loss/{modality}"] == (pytest.approx(loss, rel=1e-5), number)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("fusion", fusion_configs())
def test_what_is_hidden_has_no_influence(fusion):
    """Other sound changes the loss of the sound, and not a bit of that of the image."""
    model = tiny_model(fusion=fusion_configs()[fusion])
    losses = []
    for scale in (1.0, 3.0):
        stream = stream_of(model)
        stream.interleaver._processors[AUDIO] = lambda media, rng, scale=scale: scale * media.source + scale
        totals = accumulate(model, NextToken(), [stream[0]], extra=UnimodalLosses().extra(0))
        losses.append(totals.statistics)
    before, after = losses
    assert before["balance/loss/image"] == after["balance/loss/image"]
    assert before["balance/loss/audio"] != after["balance/loss/audio"]


def test_without_samples_of_several_media_nothing_changes():
    model = tiny_model()
    stream, plain = stream_of(model, samples_per_batch=1), tiny_stream(model, samples_per_batch=1)
    typed = [index for index in range(20) if "audio" not in stream[index].media]
    assert len(typed) > 4
    totals = accumulate(model, NextToken(), [stream[index] for index in typed], extra=made("unimodal_losses").extra(0))
    found = gradients(model)
    expected = accumulate(model, NextToken(), [plain[index] for index in typed])
    assert totals == expected
    assert all(torch.equal(found[name], gradient) for name, gradient in gradients(model).items())


def test_a_weight_that_adds_nothing_is_refused():
    with pytest.raises(ValueError, match=r"weight=0.0 must be above 0; balance=none adds no losses"):
        UnimodalLosses(0.0)
