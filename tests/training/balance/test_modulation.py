"""Coefficients by hand, and what they do to an update."""

from __future__ import annotations

import math

import pytest
import torch

from data.batching.absence import without
from data.batching.collate import collate
from data.batching.packing import pack
from data.types import AUDIO, IMAGE
from fusion.token_loss import token_losses
from tests.training.balance.balanced import ALONE, made, sgd, stream_of
from tests.training.small_parts import OPTIMIZERS
from tests.training.tiny import fusion_configs, tiny_model
from training.balance.base import Balance
from training.balance.modulation import SCALES, Modulation
from training.balance.ogm_ge import OgmGe, coefficients
from training.balance.own_weights import own_weights
from training.balance.pdmp import Pdmp
from training.objectives.next_token import NextToken
from training.steps.accumulation import accumulate

K = {IMAGE: 0.25, AUDIO: 1.0}


class Fixed(Modulation):
    def weigh(self):
        self.coefficients = dict(K)


def prepared(balance, model, seed=0):
    balance.prepare(model, ALONE, seed)
    return balance


def with_gradients(model, extra=None, index=0):
    model.zero_grad()
    return accumulate(model, NextToken(), [stream_of(model)[index]], extra=extra)


def weights(model):
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def modality_of(name):
    return next((m for m in (IMAGE, AUDIO) if name.startswith(f"media_encoders.{m}.")), None)


def test_coefficients_by_hand():
    """The one that is ahead by a ratio of 2 has 1 - tanh(0.5 * 2); the other has 1."""
    assert coefficients({IMAGE: 0.6, AUDIO: 0.3}, 0.5) == {IMAGE: 1 - math.tanh(1.0), AUDIO: 1.0}
    assert coefficients({IMAGE: 0.3, AUDIO: 0.3}, 0.5) == {IMAGE: 1.0, AUDIO: 1.0}
    found = coefficients({IMAGE: 0.8, AUDIO: 0.1, "video": 0.3}, 0.1)  # the mean of the others is 0.2
    assert found == {IMAGE: pytest.approx(1 - math.tanh(0.4)), AUDIO: 1.0, "video": 1.0}


@pytest.mark.parametrize("scores", [{}, {IMAGE: 0.5}, {IMAGE: 0.5, AUDIO: 0.0}, {IMAGE: math.nan, AUDIO: 0.5}])
def test_without_a_ratio_nothing_is_held_back(scores):
    assert set(coefficients(scores, 1.0).values()) <= {1.0}


def test_a_score_is_the_probability_of_the_right_tokens_with_the_medium_alone():
    """By hand from documents rendered without the other medium; and it draws no gradient, nor random numbers."""
    model, stream = tiny_model(), None
    stream, balance = stream_of(model), prepared(OgmGe(alpha=0.5, noise=False), model)
    scores = {}
    for modality, other in ((IMAGE, AUDIO), (AUDIO, IMAGE)):
        documents = []
        for position in stream.positions(0):
            _, sample, draws = stream.mixture.at(position)
            if {IMAGE, AUDIO} <= {segment.modality for segment in sample.messages[0].content}:
                documents.append(stream.interleaver.document(without(sample, {other}), draws))
        batch = collate(pack(documents, 64))
        with torch.no_grad():
            scores[modality] = float(token_losses(model, model(batch).states, batch).neg().exp().mean())
    state, expected = torch.get_rng_state(), with_gradients(model)
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    totals = with_gradients(model, balance.extra(0))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(gradients[name], p.grad) for name, p in model.named_parameters())
    assert totals.loss == expected.loss
    assert model.training
    for modality, score in scores.items():
        total, count = totals.statistics[f"balance/score/{modality}"]
        assert total / count == pytest.approx(score, rel=1e-5)
    said = balance.modulate(0)
    for modality, coefficient in coefficients(scores, 0.5).items():
        assert said[f"balance/coefficient/{modality}"] == (pytest.approx(coefficient, rel=1e-5), 1.0)
    assert min(balance.coefficients.values()) < 1.0


def test_between_scorings_the_coefficients_stay():
    model = tiny_model()
    balance = prepared(OgmGe(every=2, noise=False), model)
    with_gradients(model, balance.extra(0))
    balance.modulate(0)
    first = dict(balance.coefficients)
    assert balance.extra(1) is None
    with_gradients(model, None, index=1)
    balance.modulate(1)
    assert balance.coefficients == first != dict.fromkeys(first, 1.0)
    with_gradients(model, balance.extra(2), index=1)
    balance.modulate(2)
    assert balance.coefficients != first


@pytest.mark.parametrize("scales", SCALES)
def test_under_sgd_a_step_is_that_of_the_paper(scales):
    """w - lr * k * g, by hand, whether gradient or update is scaled; all else takes w - lr * g."""
    model = tiny_model()
    balance, optimizer = prepared(Fixed(scales, noise=False), model), sgd(0.1)(model.parameters())
    with_gradients(model)
    gradients, before = {name: p.grad.clone() for name, p in model.named_parameters()}, weights(model)
    balance.modulate(0)
    with balance.updating():
        optimizer.step()
    for name, weight in weights(model).items():
        factor = K.get(modality_of(name), 1.0)
        torch.testing.assert_close(weight, before[name] - 0.1 * factor * gradients[name], rtol=1e-6, atol=1e-8)


def stepped(kind, balance=None, lr_factors=None, scale=1.0, steps=1):
    """Weights after some steps; lr_factors: on the rates of weights by modality; scale: of all gradients."""
    model = tiny_model()
    optimizer = OPTIMIZERS[kind](model)
    names = {id(p): name for name, p in model.named_parameters()}
    for part in optimizer.optimizers if lr_factors else ():
        groups, part.param_groups = part.param_groups, []
        for group in groups:
            for p in group["params"]:
                factor = lr_factors.get(modality_of(names[id(p)]), 1.0)
                part.param_groups.append({**group, "params": [p], "lr": group["lr"] * factor})
    balance = prepared(balance, model) if balance else Balance()
    for step in range(steps):
        with_gradients(model, index=step)
        for parameter in model.parameters():
            parameter.grad.mul_(scale)
        balance.modulate(step)
        with balance.updating():
            optimizer.step()
    return weights(model)


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_coefficient_on_the_update_is_a_factor_on_the_learning_rate(kind):
    """Weight decay included. What has a coefficient of 1 keeps every bit."""
    found, expected, plain = stepped(kind, Fixed("update", noise=False)), stepped(kind, lr_factors=K), stepped(kind)
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, rtol=1e-5, atol=1e-7, msg=name)
        assert torch.equal(found[name], plain[name]) == (modality_of(name) != IMAGE), name


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_these_optimizers_undo_a_constant_coefficient_on_the_gradient(kind):
    """Why the update is scaled by default: a quarter of every gradient moves weights as far as the whole does."""
    model, changed = tiny_model(), 0
    with_gradients(model)
    whole, quarter = stepped(kind, steps=3), stepped(kind, scale=0.25, steps=3)
    for name, parameter in model.named_parameters():
        if float(parameter.grad.norm()) < 1e-4:  # nearly Adam's epsilon: a bias that a norm takes away again
            continue
        steps = [float((final - parameter.detach()).norm()) for final in (whole[name], quarter[name])]
        assert steps[1] == pytest.approx(steps[0], rel=0.02), name
        changed += 1
    assert changed > 20


def test_noise_has_the_deviation_of_the_gradient_and_follows_from_seed_and_step():
    model = tiny_model()
    with_gradients(model)
    own = own_weights(model, IMAGE)
    name, parameter = max(own.items(), key=lambda item: item[1].numel())
    parameter.grad[0] = 0.0  # unused
    gradients = {other: p.grad.clone() for other, p in model.named_parameters()}
    state, drawn = torch.get_rng_state(), []
    for seed, step in ((0, 0), (0, 0), (0, 1), (1, 0)):
        for other, p in model.named_parameters():
            p.grad = gradients[other].clone()
        prepared(Fixed("gradient", noise=True), model, seed).modulate(step)
        drawn.append(parameter.grad - K[IMAGE] * gradients[name])
        shared = [other for other, _ in model.named_parameters() if modality_of(other) is None]
        assert all(torch.equal(model.get_parameter(other).grad, gradients[other]) for other in shared)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.allclose(drawn[0], drawn[2])
    assert not torch.allclose(drawn[0], drawn[3])
    deviation, noise = float(gradients[name].std()), drawn[0][gradients[name] != 0]
    assert len(noise) > 100
    assert float(noise.std()) == pytest.approx(deviation, rel=4 / math.sqrt(len(noise)))
    assert abs(float(noise.mean())) < 4 * deviation / math.sqrt(len(noise))
    assert not drawn[0][0].any(), "what was not used stays so"


@pytest.mark.parametrize("fusion", fusion_configs())
def test_own_weights_of_a_medium_are_those_that_nothing_without_it_reads(fusion):
    """But for the layers of `bottleneck`, where the bottleneck tokens of other media pass them, too."""
    model = tiny_model(fusion=fusion_configs()[fusion])
    stream = stream_of(model, samples_per_batch=1)
    typed = next(stream[index] for index in range(20) if "audio" not in stream[index].media)
    spoken = next(stream[index] for index in range(20) if "audio" in stream[index].media)
    own = own_weights(model, AUDIO)
    assert any("projector" in name for name in own)
    assert not own.keys() & own_weights(model, IMAGE).keys()
    assert any(name.startswith("fusion.") for name in own), "these configurations have weights per modality"
    with torch.no_grad():
        before = model(typed).states, model(spoken).states
        for name, parameter in own.items():
            if fusion == "bottleneck" and name.startswith("fusion."):
                continue
            parameter += 0.5 * torch.randn_like(parameter)
        after = model(typed).states, model(spoken).states
    assert torch.equal(before[0], after[0])
    assert not torch.allclose(before[1], after[1])


def test_the_first_of_the_ranking_leads():
    model = tiny_model()
    for ranking in ([AUDIO, IMAGE], [IMAGE, AUDIO]):
        balance = made("pdmp", ranking=ranking, prioritised=1.5, rest=0.25)
        balance.check(model)
        with_gradients(model)
        said = prepared(balance, model).modulate(0)
        assert [said[f"balance/coefficient/{name}"] for name in ranking] == [(1.5, 1.0), (0.25, 1.0)]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: OgmGe(alpha=-1.0), "alpha=-1.0 must be 0 or more"),
        (lambda: OgmGe(every=0), "every=0 must be 1 or more"),
        (lambda: OgmGe(scales="both"), "scales='both' must be one of update, gradient"),
        (lambda: Pdmp([IMAGE], prioritised=0.5, rest=1.0), "rest=1.0 must be from 0 to prioritised=0.5"),
        (lambda: Pdmp([IMAGE]).check(tiny_model()), r"ranking=\[image\] must name each medium .* audio, image"),
        (lambda: Pdmp([IMAGE, IMAGE]).check(tiny_model()), r"ranking=\[image,image\] must name each medium"),
    ],
)
def test_what_cannot_be_is_refused(make, reason):
    with pytest.raises(ValueError, match=reason):
        make()
