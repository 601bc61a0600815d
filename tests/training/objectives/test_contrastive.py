"""Contrastive losses against the papers' own definitions, forward and gradient, with modalities missing."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations

import pytest
import torch
from hydra import compose, initialize_config_module
from hydra.utils import instantiate

from data.types import AlignedSample, BadSampleError
from tests.data.memory import MemorySource
from tests.training.aligned import LACKING, AlignedMemory, aligned_model, aligned_stream
from tests.training.tiny import tiny_model
from training.objectives.contrastive import InfoNCE, Sigmoid
from training.objectives.next_token import NextToken
from training.objectives.weighted_sum import WeightedSum
from training.optimizers.groups import muon
from training.steps.accumulation import accumulate

TWO = ("audio",)  # every sample lacks it: image and text are left


def clip_loss(image, text, scale, bias):
    """The pseudocode of CLIP, figure 3 of arXiv:2103.00020; no bias."""
    logits = image @ text.T * scale
    partners = torch.arange(len(image))
    rows = torch.log_softmax(logits, dim=1)[partners, partners]
    columns = torch.log_softmax(logits, dim=0)[partners, partners]
    return -(rows.mean() + columns.mean()) / 2


def siglip_loss(image, text, scale, bias):
    """The pseudocode of SigLIP, algorithm 1 of arXiv:2303.15343."""
    signs = 2 * torch.eye(len(image)) - 1
    return (-torch.log(torch.sigmoid(signs * (image @ text.T * scale + bias)))).sum() / len(image)


def reference(model, batch, loss, samples):
    """Mean over pairs of modalities of `loss` over the samples that have both, by a plain loop over segments."""
    hidden = model(batch).states
    space, alignment = model.shared_space, batch.alignment
    vectors = {}
    for document, sample, modality in zip(
        *(ids.tolist() for ids in (alignment.documents, alignment.samples, alignment.modality_ids)), strict=True
    ):
        tokens = hidden[batch.document_ids == document]
        name = model.modalities[modality]
        vector = tokens.mean(dim=0) @ space.heads[name].weight.T
        vectors[sample, modality] = vector / vector.norm()
    losses = []
    for index, (first, second) in enumerate(combinations(range(len(model.modalities)), 2)):
        both = [n for n in range(samples) if (n, first) in vectors and (n, second) in vectors]
        if both:
            one, other = (torch.stack([vectors[n, modality] for n in both]) for modality in (first, second))
            losses.append(loss(one, other, space.logit_scale[index].exp(), space.logit_bias[index]))
    return torch.stack(losses).mean()


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(("objective", "loss"), [(InfoNCE(), clip_loss), (Sigmoid(), siglip_loss)])
@pytest.mark.parametrize("lacking", [TWO, ("",), LACKING], ids=["two modalities", "three", "some missing"])
def test_loss_and_gradient_are_those_of_the_paper(objective, loss, lacking):
    model = aligned_model().double()
    with torch.no_grad():
        model.shared_space.logit_scale.copy_(torch.tensor([1.0, 2.0, 3.0]).log())
    batch = aligned_stream(model, samples_per_batch=9, source=AlignedMemory(9, lacking))[0]
    batch = batch_in_double(batch)
    expected = reference(model, batch, loss, 9)
    wanted = gradients(model, expected)
    terms = objective(model, batch)
    assert terms.count == 9
    found = gradients(model, terms.sum / terms.count)
    torch.testing.assert_close(terms.sum / terms.count, expected, rtol=1e-9, atol=1e-9)
    # The same arithmetic in another order, in float64.
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-6, atol=1e-9, msg=name)
    assert wanted["shared_space.heads.text.weight"].abs().max() > 1e-4


def batch_in_double(batch):
    media = {name: replace(item, values=item.values.double()) for name, item in batch.media.items()}
    return replace(batch, media=media)


@pytest.mark.parametrize(("objective", "name"), [(InfoNCE(), "ClipLoss"), (Sigmoid(), "SigLipLoss")])
def test_two_modalities_are_compared_as_open_clip_does(objective, name):
    """On the same embeddings, with their scale and bias: loss and gradients of the whole model."""
    theirs = getattr(pytest.importorskip("open_clip.loss"), name)()
    model = aligned_model().double()
    space = model.shared_space
    with torch.no_grad():
        space.logit_scale.copy_(torch.tensor([1.0, 2.0, 3.0]).log())
        space.logit_bias.copy_(torch.tensor([-1.0, -2.0, -3.0]))
    batch = batch_in_double(aligned_stream(model, samples_per_batch=9, source=AlignedMemory(9, TWO))[0])
    text, image = (model.modalities.index(modality) for modality in ("text", "image"))
    pair = space.pairs.index((text, image))
    embeddings, _ = space(model(batch).states, batch)
    bias = space.logit_bias[pair] if name == "SigLipLoss" else None
    expected = theirs(embeddings[:, image], embeddings[:, text], space.logit_scale[pair].exp(), bias)
    wanted = gradients(model, expected)
    terms = objective(model, batch)
    found = gradients(model, terms.sum / terms.count)
    torch.testing.assert_close(terms.sum / terms.count, expected, rtol=1e-9, atol=1e-9)
    assert found.keys() == wanted.keys()
    # The same arithmetic in another order, in float64.
    for key, gradient in wanted.items():
        torch.testing.assert_close(found[key], gradient, rtol=1e-6, atol=1e-9, msg=key)
    learned = ("logit_scale", "logit_bias") if name == "SigLipLoss" else ("logit_scale",)
    assert all(wanted[f"shared_space.{key}"][pair].abs() > 1e-4 for key in learned)


@pytest.mark.parametrize("objective", [InfoNCE(), Sigmoid()])
def test_similarities_are_compared_in_full_precision(objective):
    model = aligned_model(scale=20.0)
    batch = aligned_stream(model, samples_per_batch=9, source=AlignedMemory(9, ("",)))[0]
    with torch.autocast("cpu", torch.bfloat16):
        terms = objective(model, batch)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        embeddings, _ = model.shared_space(model(batch).states, batch)
    assert terms.sum.dtype == embeddings.dtype == torch.float32
    loss = clip_loss if isinstance(objective, InfoNCE) else siglip_loss
    space = model.shared_space
    parts = [
        loss(embeddings[:, first], embeddings[:, second], space.scale[index], space.logit_bias[index])
        for index, (first, second) in enumerate(combinations(range(3), 2))
    ]
    torch.testing.assert_close((terms.sum / 9).detach(), torch.stack(parts).mean().detach(), rtol=1e-4, atol=1e-5)


def test_pairs_are_reported_apart_and_a_pair_that_nobody_has_is_left_out():
    model = aligned_model()
    terms = InfoNCE()(model, aligned_stream(model, 8, source=AlignedMemory(8, ("audio", "image")))[0])
    counts = {name: count for name, (_, count) in terms.groups.items()}
    assert counts == {"contrastive/text-image": 4, "contrastive/text-audio": 4}


def test_a_larger_scale_than_100_acts_as_100_and_keeps_its_gradient():
    space = aligned_model().shared_space
    with torch.no_grad():
        space.logit_scale.copy_(torch.tensor([math.log(50), math.log(100), math.log(500)]))
    assert space.scale.tolist() == pytest.approx([50, 100, 100], rel=1e-5)
    space.scale.sum().backward()
    assert space.logit_scale.grad.tolist() == pytest.approx([50, 100, 100], rel=1e-5)


def test_scales_and_biases_start_as_in_the_papers():
    with initialize_config_module("conf", version_base="1.3"):
        for choice, scale, bias in (("linear", 1 / 0.07, None), ("linear_with_bias", 10.0, -10.0)):
            config = compose("train", overrides=[f"shared_space={choice}"]).shared_space
            space = instantiate(config)(d_model=8, modalities=("text", "image"))
            assert space.scale.tolist() == pytest.approx([scale], rel=1e-4)
            assert (space.logit_bias if bias is None else space.logit_bias.tolist()) == (bias and [bias])


def test_heads_join_the_graph_where_no_sample_is_aligned():
    model = aligned_model()
    batch = aligned_stream(model, 4, reads=("messages",), source=MemorySource(4))[0]
    assert batch.alignment is None
    terms = WeightedSum([NextToken(), InfoNCE()], [1, 1])(model, batch)
    terms.sum.backward()
    heads = list(model.shared_space.parameters())
    assert len(heads) == 5
    assert all(parameter.grad is not None and not parameter.grad.any() for parameter in heads)
    assert terms.count == batch.num_supervised


def test_the_sum_is_the_weighted_mean_of_its_terms():
    model = aligned_model()
    batch = aligned_stream(model, 8, reads=("messages", "aligned"), conversations=True)[0]
    alone = [NextToken()(model, batch), InfoNCE()(model, batch)]
    assert min(terms.count for terms in alone) > 0
    both = WeightedSum([NextToken(), InfoNCE()], [1, 3])(model, batch)
    assert both.count == alone[0].count + 3 * alone[1].count
    torch.testing.assert_close(both.sum, alone[0].sum + 3 * alone[1].sum)
    assert both.groups.keys() == alone[0].groups.keys() | alone[1].groups.keys()
    totals = accumulate(model, WeightedSum([NextToken(), InfoNCE()], [1, 3]), [batch])
    assert totals.mean == pytest.approx(float(both.sum.detach()) / both.count, rel=1e-5)


@pytest.mark.parametrize("objective", [InfoNCE(), Sigmoid()])
def test_one_batch_is_learned_by_heart(objective):
    torch.manual_seed(0)
    model = aligned_model(scale=10.0)
    batch = aligned_stream(model, 8, source=AlignedMemory(8, ("",)))[0]
    optimizer = muon(model, lr=0.02, adamw_lr=1e-2)
    losses = []
    for step in range(120):
        totals = accumulate(model, objective, [batch])
        optimizer.set_lr_factor(1 - step / 120)  # at the full rate, which of the last steps is looked at would decide
        optimizer.step()
        optimizer.zero_grad()
        losses.append(totals.mean)
    assert losses[-1] < 0.25 * losses[0]
    with torch.no_grad():
        embeddings, _ = model.eval().shared_space(model(batch).states, batch)
    for first, second in combinations(range(3), 2):
        similarity = embeddings[:, first] @ embeddings[:, second].T
        assert similarity.argmax(dim=1).tolist() == list(range(8))


def test_what_a_model_lacks_is_said_before_the_training():
    with pytest.raises(ValueError, match=r"choose shared_space=linear$"):
        InfoNCE().check(tiny_model())
    with pytest.raises(ValueError, match=r"choose shared_space=linear_with_bias$"):
        Sigmoid().check(aligned_model(bias=None))
    with pytest.raises(ValueError, match=r"choose shared_space=linear$"):
        WeightedSum([NextToken(), InfoNCE()], [1, 1]).check(tiny_model())
    NextToken().check(tiny_model())


def test_a_conversation_is_refused_by_a_contrastive_objective_alone():
    model = aligned_model()
    with pytest.raises(BadSampleError, match=r"is a conversation, .*choose an objective that generates too"):
        aligned_stream(model, 4, source=MemorySource(4))[0]


@pytest.mark.parametrize("weights", [[1], [1, 0], [1, 0.5]])
def test_weights_are_checked(weights):
    with pytest.raises(ValueError, match="weights="):
        WeightedSum([NextToken(), InfoNCE()], weights)


class Repeated(AlignedMemory):
    """Image and text, where sample 6 is sample 0 again, and 7 has the caption of 1 with a picture of its own."""

    def sample(self, index, rng):
        sample = super().sample({6: 0, 7: 1}.get(index, index), rng)
        image, text, _ = sample.segments
        if index == 7:
            image = replace(image, source=image.source + 1)
        return AlignedSample(str(index), (image, text), origin=f"pairs.jsonl:{index + 1}")


def without_equals(image, text, scale, bias, kind):
    """The papers' losses, where what is equal to a sample is left out of what it is told from; by plain loops."""
    # The place of each sample's image and text among equals: 6 is 0, and the caption of 7 is that of 1.
    images, texts = [0, 1, 2, 3, 4, 5, 0, 7], [0, 1, 2, 3, 4, 5, 0, 1]
    losses = []
    for i in range(8):
        others = [j for j in range(8) if images[j] != images[i] and texts[j] != texts[i]]
        own = image[i] @ text[i] * scale
        if kind == "infonce":
            forth = torch.stack([own, *(image[i] @ text[j] * scale for j in others)])
            back = torch.stack([own, *(image[j] @ text[i] * scale for j in others)])
            losses.append(-(forth.log_softmax(0)[0] + back.log_softmax(0)[0]) / 2)
        else:
            wrong = torch.stack([-(text[i] @ image[j] * scale + bias) for j in others])
            losses.append(-torch.nn.functional.logsigmoid(torch.cat([(own + bias)[None], wrong])).sum())
    return torch.stack(losses).sum()


@pytest.mark.parametrize("kind", ["infonce", "sigmoid"])
def test_equal_rows_and_captions_are_not_told_apart(kind):
    model = aligned_model().double()
    batch = batch_in_double(aligned_stream(model, 8, source=Repeated(8, ("",)))[0])
    order = [int(batch.sample_ids[place]) for place in range(len(batch.sample_ids))]
    embeddings, present = model.shared_space(model(batch).states, batch)
    assert present.sum(dim=1).tolist() == [2] * 8
    rows = torch.empty(8, dtype=torch.long)
    rows[batch.alignment.samples] = torch.tensor([order[place] for place in batch.alignment.documents.tolist()])
    text, image = (model.modalities.index(name) for name in ("text", "image"))
    pair = model.shared_space.pairs.index((text, image))
    space, sorted_RME = model.shared_space, embeddings[rows.argsort()]
    expected = without_equals(
        sorted_RME[:, image], sorted_RME[:, text], space.scale[pair], space.logit_bias[pair], kind
    )
    terms = {"infonce": InfoNCE(), "sigmoid": Sigmoid()}[kind](model, batch)
    torch.testing.assert_close(terms.sum, expected, rtol=1e-9, atol=1e-9)


def test_augmentation_does_not_hide_that_two_pictures_are_equal():
    class Noisy:
        """A processor that draws."""

        augments = True

        def __call__(self, media, rng=None):
            return media.source + (0 if rng is None else torch.tensor(rng.standard_normal(1), dtype=torch.float32))

    model = aligned_model()
    stream = aligned_stream(model, 8, source=Repeated(8, ("",)))
    stream.interleaver._processors["image"] = Noisy()
    batch = stream[0]
    images = batch.alignment.contents[batch.alignment.modality_ids == model.modalities.index("image")]
    assert len(set(images.tolist())) == 7


@pytest.mark.parametrize("objective", [InfoNCE(), Sigmoid()])
def test_a_micro_batch_that_teaches_nothing_is_said_once(objective, caplog):
    model = aligned_model()
    stream = aligned_stream(model, 1, source=AlignedMemory(4, TWO))
    for index in range(2):
        objective(model, stream[index])
    said = [record.getMessage() for record in caplog.records]
    assert [line.partition(":")[0] for line in said] == ["text-image"]
    assert "in a micro-batch of 1 samples" in said[0]
    caplog.clear()
    objective(model, aligned_stream(model, 4, source=AlignedMemory(4, TWO))[0])
    assert not caplog.records


def test_batches_that_teach_nothing_are_refused_before_the_training():
    model, both = aligned_model(), WeightedSum([NextToken(), InfoNCE()], [1, 1])
    with pytest.raises(ValueError, match=r"^samples_per_batch=1 must be at least 2: .*one alone has a loss of 0$"):
        both.check_data(aligned_stream(model, 1))
    small = aligned_stream(model, 8, source=AlignedMemory(5))
    with pytest.raises(ValueError, match=r"^sources\.pairs: has 5 samples, and a batch takes 8 of it"):
        InfoNCE().check_data(small)
    InfoNCE().check_data(aligned_stream(model, 8, source=AlignedMemory(8)))
    NextToken().check_data(small)
    both.check_data(aligned_stream(model, 8, reads=("messages", "aligned"), source=MemorySource(5)))
