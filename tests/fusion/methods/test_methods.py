"""What each fusion method means; that all of them are causal, isolated and decodable is certified for every config."""

from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from data.types import InterleavedBatch
from fusion.cost.counting import flops_per_sample
from fusion.method import FusionMethod
from fusion.methods.bottleneck import BottleneckFusion
from fusion.methods.concat import ConcatFusion
from fusion.methods.cross_attention import CrossAttentionFusion
from fusion.methods.early import EarlyFusion
from fusion.methods.late import LateFusion
from fusion.methods.mid import MidFusion
from fusion.methods.mixture_of_transformers import MixtureOfTransformers
from fusion.methods.simbamm import SimBaMM
from fusion.mixers.cross_attention import CrossAttention
from fusion.model import FusionModel
from fusion.positions.once import Positions
from fusion.positions.places import TokenPlaces
from fusion.positions.rope import Rope
from fusion.sequence import EmbeddedSequence, Visibility
from tests.fusion.builders import batch_of, small_model

ROWS = [[[3, "image", 4, ("audio", 13), 4], [2]], [["image", "image", 3], [("audio", 6), ("audio", 9), 5]]]
TEXT, AUDIO, IMAGE = 0, 1, 2
CROSS = {"cross_attention": partial(CrossAttention, num_heads=4, num_kv_heads=2, position=Rope)}


def model_and_batch(
    fusion: Callable[..., FusionMethod], device: torch.device | str = "cpu", **options: Any
) -> tuple[FusionModel, InterleavedBatch]:
    model = small_model(fusion=fusion, **options).double().to(device)
    batch = batch_of(model, ROWS)
    media = {name: replace(item, values=item.values.double()) for name, item in batch.media.items()}
    return model, replace(batch, media=media).to(device)


def states_after(model: FusionModel, sequence: EmbeddedSequence, layer: int) -> Tensor:
    found: list[Tensor] = []
    hook = model.fusion.blocks[layer].register_forward_hook(lambda *call: found.append(call[2].states))
    model.fusion(sequence)
    hook.remove()
    return found[0]


def moved(before: Tensor, after: Tensor, chosen: Tensor) -> bool:
    return bool((before - after)[chosen].abs().max() > 1e-9)


def perturbed(sequence: EmbeddedSequence, chosen: Tensor) -> EmbeddedSequence:
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(sequence.hidden.shape, generator=generator, dtype=torch.float64).to(sequence.hidden)
    return replace(sequence, hidden=sequence.hidden + noise * chosen[..., None])


def joint_layers(number: int) -> Callable[..., FusionMethod]:
    """SimBaMM with so many; its weights are not chosen."""
    return lambda weights, **stack: SimBaMM(joint_layers=number, **stack)


@pytest.mark.parametrize("weights", ["shared", "per_modality"])
@pytest.mark.parametrize(
    ("fusion", "first_common"),
    [(partial(MidFusion, fusion_layer=1), 1), (LateFusion, 2), (joint_layers(2), 1), (joint_layers(1), 2)],
)
def test_modalities_meet_at_the_fusion_layer_and_not_before(
    device: torch.device, fusion: Any, first_common: int, weights: str
) -> None:
    model, batch = model_and_batch(fusion, device, num_layers=3, weights=weights)
    sequence = model.embed(batch)
    document = batch.document_ids == 0
    text, image = (document & (batch.modality_ids == kind) for kind in (TEXT, IMAGE))
    other = perturbed(sequence, text & (batch.places < 3))
    for layer in range(3):
        before, after = states_after(model, sequence, layer), states_after(model, other, layer)
        assert moved(before, after, text)
        assert moved(before, after, image) == (layer >= first_common)


def test_mid_fusion_at_layer_0_is_early_fusion() -> None:
    early, batch = model_and_batch(EarlyFusion)
    mid, _ = model_and_batch(MidFusion, fusion_layer=0)
    torch.testing.assert_close(mid(batch), early(batch))


@pytest.mark.parametrize("fusion", [EarlyFusion, MidFusion])
def test_equal_weights_per_modality_are_shared_weights(device: torch.device, fusion: Any) -> None:
    """Mixture of transformers with the same weights in each: early fusion, in outputs and in summed gradients."""
    shared, batch = model_and_batch(fusion, device)
    separate, _ = model_and_batch(
        MixtureOfTransformers if fusion is EarlyFusion else partial(fusion, weights="per_modality"), device
    )
    copy_shared(shared, separate)
    valid = batch.document_ids >= 0
    outputs = [model(batch).states[valid] for model in (shared, separate)]
    torch.testing.assert_close(outputs[1], outputs[0])
    for output in outputs:
        output.pow(3).sum().backward()
    for layer, block in enumerate(shared.fusion.blocks):
        experts = separate.fusion.blocks[layer].experts
        for name, parameter in block.named_parameters():
            total = sum(dict(expert.named_parameters())[name].grad for expert in experts)
            torch.testing.assert_close(total, parameter.grad)


def copy_shared(shared: FusionModel, separate: FusionModel) -> None:
    rest = {name: value for name, value in shared.state_dict().items() if not name.startswith("fusion.")}
    separate.load_state_dict(rest, strict=False)
    for block, several in zip(shared.fusion.blocks, separate.fusion.blocks, strict=True):
        for expert in several.experts:
            expert.load_state_dict(block.state_dict())


def test_weights_per_modality_touch_their_modality_alone() -> None:
    model, batch = model_and_batch(MixtureOfTransformers, num_layers=1)
    before = model.fusion(model.embed(batch)).states
    with torch.no_grad():
        model.fusion.blocks[0].experts[IMAGE].feed_forward.down.weight.add_(0.1)
    after = model.fusion(model.embed(batch)).states
    valid = batch.document_ids >= 0
    for kind in (TEXT, AUDIO, IMAGE):
        assert moved(before, after, valid & (batch.modality_ids == kind)) == (kind == IMAGE)


@pytest.mark.parametrize("weights", ["shared", "per_modality"])
def test_bottleneck_equals_its_definition_written_out(weights: str) -> None:
    """Document by document, pass by pass, with lists of tokens in place of index tensors."""
    model, batch = model_and_batch(BottleneckFusion, weights=weights, num_bottlenecks=3)
    sequence = model.embed(batch)
    result = model.fusion(sequence).states
    for document in range(len(batch.sample_ids)):
        chosen = batch.document_ids == document
        expected = bottleneck_of_document(model, sequence, chosen)
        torch.testing.assert_close(result[chosen], expected)


def bottleneck_of_document(model: FusionModel, sequence: EmbeddedSequence, chosen: Tensor) -> Tensor:
    fusion = model.fusion
    kinds, segments, places = (
        getattr(sequence, name)[chosen].tolist() for name in ("modality_ids", "segment_ids", "places")
    )
    tokens = []  # [modality (None: a bottleneck), place, state]
    for index, state in enumerate(sequence.hidden[chosen]):
        tokens.append([kinds[index], places[index], state])
        if segments[index] and (index + 1 == len(kinds) or segments[index + 1] != segments[index]):
            tokens += [[None, places[index], extra] for extra in fusion.bottlenecks_KD]
    for block in fusion.blocks:
        for modality in (AUDIO, IMAGE, TEXT):
            members = [token for token in tokens if token[0] in (modality, None)]
            if members:
                layer = block if fusion.weights == "shared" else block.experts[modality]
                x = torch.stack([state for _, _, state in members])[None]
                positions = torch.tensor([[place for _, place, _ in members]])
                after = layer(x, all_of(modality, positions), Positions(positions[..., None])).states[0]
                for token, state in zip(members, after, strict=True):
                    token[2] = state
    return torch.stack([state for kind, _, state in tokens if kind is not None])


def test_below_the_fusion_layer_the_bottleneck_is_closed() -> None:
    model, batch = model_and_batch(partial(BottleneckFusion, fusion_layer=1), num_layers=2)
    sequence = model.embed(batch)
    document = batch.document_ids == 0
    image = document & (batch.modality_ids == IMAGE)
    other = perturbed(sequence, image)
    text = document & (batch.modality_ids == TEXT)
    assert not moved(states_after(model, sequence, 0), states_after(model, other, 0), text)
    assert moved(model.fusion(sequence).states, model.fusion(other).states, text)


def test_cross_attention_equals_its_definition_written_out() -> None:
    """Each text token alone, over a list of the media before it."""
    model, batch = model_and_batch(CrossAttentionFusion, num_layers=1, media_layers=0, **CROSS)
    sequence = model.embed(batch)
    result = model.fusion(sequence).states
    gated = model.fusion.cross[0]
    for document in range(len(batch.sample_ids)):
        chosen = batch.document_ids == document
        text = chosen & (batch.modality_ids == TEXT)
        positions = sequence.places[text][None]
        x = sequence.hidden[text]
        seen = torch.stack(
            [look(gated, sequence, chosen, state, place) for state, place in zip(x, positions[0], strict=True)]
        )
        x = x + gated.gate.tanh() * seen
        x = x + gated.feed_forward_gate.tanh() * gated.feed_forward(gated.feed_forward_norm(x))
        visibility = all_of(TEXT, positions)
        expected = model.fusion.blocks[0](x[None], visibility, Positions(positions[..., None])).states[0]
        torch.testing.assert_close(result[text], expected)
        media = chosen & (batch.modality_ids != TEXT)
        torch.testing.assert_close(result[media], sequence.hidden[media])


def all_of(modality: int, positions: Tensor) -> Visibility:
    groups = torch.zeros_like(positions)
    return Visibility(groups, modality_ids_BL=torch.full_like(groups, modality))


def look(gated: Any, sequence: EmbeddedSequence, chosen: Tensor, state: Tensor, place: Tensor) -> Tensor:
    cross = gated.cross_attention
    memory = chosen & (sequence.modality_ids != TEXT) & (sequence.places < place)
    if not memory.any():
        return torch.zeros_like(state)
    keys = gated.memory_norm(sequence.hidden[memory])[None]
    q = cross.queries(
        gated.norm(state)[None, None], cross.position.rotation(Positions(place[None, None, None]), state.dtype)
    )
    places = Positions(sequence.positions[memory][None])
    k, v = cross.keys_and_values(keys, cross.position.rotation(places, state.dtype))
    k, v = (x.repeat_interleave(2, dim=1) for x in (k, v))
    weights = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
    return cross.out((weights @ v).transpose(1, 2).flatten(2))[0, 0]


def test_cross_attention_starts_as_a_text_model_and_learns_to_look() -> None:
    """At first the gates are closed, and open by their own gradient."""
    model, batch = model_and_batch(CrossAttentionFusion, **CROSS)
    with torch.no_grad():
        for gated in model.fusion.cross:
            gated.gate.zero_(), gated.feed_forward_gate.zero_()
    sequence = model.embed(batch)
    media = (batch.modality_ids != TEXT) & (batch.document_ids >= 0)
    text = (batch.modality_ids == TEXT) & (batch.document_ids >= 0)
    result = model.fusion(sequence).states
    assert not moved(result, model.fusion(perturbed(sequence, media)).states, text)
    result[text].pow(3).sum().backward()
    assert all(float(gated.gate.grad.abs()) > 1e-9 for gated in model.fusion.cross)


def test_decoded_text_leaves_the_memory_of_media_where_it_lies() -> None:
    model = small_model(fusion=CrossAttentionFusion, **CROSS).eval()
    sequence = model.embed(batch_of(model, [[["image", 4, ("audio", 13), 5]]]))
    length = sequence.hidden.shape[1]
    cache = model.make_cache(1, length)

    def part(start: int, stop: int) -> Tensor:
        cut = {field.name: getattr(sequence, field.name)[:, start:stop] for field in fields(sequence)}
        return model.fusion(EmbeddedSequence(**cut), cache).states

    def places() -> list[int]:
        return [tensor.data_ptr() for memory in cache[2] for tensor in memory.kept]

    with torch.no_grad():
        states, before = [part(0, length - 4)], places()
        for place in range(length - 4, length):
            states.append(part(place, place + 1))
            assert places() == before
        torch.testing.assert_close(torch.cat(states, 1), model.fusion(sequence).states, rtol=1e-4, atol=1e-5)
    memory = cache[2][0]
    used, new = int(memory.lengths_B[0]), torch.randn(1, 2, 1, 8)  # and what is new still comes behind it
    held = memory.kept[0][:, :used].clone()
    tokens = TokenPlaces(*torch.zeros(2, 1, 1, dtype=torch.long))
    memory.attend(new, new, new, tokens, tokens, alone=lambda q, *rest: q)
    assert torch.equal(memory.kept[0][:, : used + 1], torch.cat([held, new.transpose(1, 2)], dim=1))


def test_concat_pools_the_latest_token_of_each_medium() -> None:
    """Only the last token of the latest medium reaches a text token, and with an idle perceptron nothing does."""
    model, batch = model_and_batch(ConcatFusion, num_layers=1)
    sequence = model.embed(batch)
    with torch.no_grad():
        model.fusion.blocks[0].experts[IMAGE].mixer.out.weight.zero_()  # an image's tokens do not see one another
    document = batch.document_ids == 2  # image, image, three text tokens
    text, image = (document & (batch.modality_ids == kind) for kind in (TEXT, IMAGE))
    last = image & (batch.places == batch.places[image].max())
    result = model.fusion(sequence).states
    assert not moved(result, model.fusion(perturbed(sequence, image & ~last)).states, text)
    assert moved(result, model.fusion(perturbed(sequence, last)).states, text)
    with torch.no_grad():
        model.fusion.down.weight.zero_(), model.fusion.down.bias.zero_()
    assert not moved(model.fusion(sequence).states, model.fusion(perturbed(sequence, last)).states, text)


@pytest.mark.parametrize(
    "fusion",
    [
        EarlyFusion,
        MixtureOfTransformers,
        MidFusion,
        LateFusion,
        BottleneckFusion,
        ConcatFusion,
        partial(CrossAttentionFusion, media_layers=1, **CROSS),
        partial(CrossAttentionFusion, media_layers=1, weights="shared", **CROSS),
        SimBaMM,
    ],
)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_media_see_themselves_in_both_directions_if_so_configured(
    device: torch.device, fusion: Any, bidirectional: bool
) -> None:
    model, batch = model_and_batch(fusion, device, num_layers=1, bidirectional_media=bidirectional)
    sequence = model.embed(batch)
    document = batch.document_ids == 2
    first_image = document & (sequence.segment_ids == sequence.segment_ids[document].unique()[1])
    start, stop = int(batch.places[first_image].min()), int(batch.places[first_image].max())
    result = model.fusion(sequence).states
    after = model.fusion(perturbed(sequence, first_image & (batch.places == stop))).states
    assert moved(result, after, document & (batch.places == start)) == bidirectional
    second_image = document & (batch.places == stop + 1)
    before = model.fusion(perturbed(sequence, second_image)).states
    assert not moved(result, before, first_image)


def test_layers_apart_cost_less_and_weights_apart_cost_the_same() -> None:
    def operations(fusion: Any, **options: Any) -> float:
        model, batch = model_and_batch(fusion, num_layers=4, **options)
        return flops_per_sample(model, batch)

    early, late, mid = operations(EarlyFusion), operations(LateFusion), operations(MidFusion)
    assert late < mid < early
    assert operations(MixtureOfTransformers) == early
    assert operations(MidFusion, weights="per_modality") == operations(SimBaMM) == mid
    assert operations(ConcatFusion, weights="shared") == operations(ConcatFusion)
    cross = partial(CrossAttentionFusion, **CROSS)
    assert operations(cross, weights="shared") == operations(cross)
