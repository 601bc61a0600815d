"""Resamplers against a slow loop over items, and against transformers with the same random weights."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from data.types import Layout
from encoders.base import MediaEncoder
from encoders.projector import Projector
from encoders.projectors.perceiver_resampler import PerceiverResampler
from encoders.projectors.qformer import QFormer
from tests.encoders.test_encoders import audio_batch, audio_encoder
from tests.fusion.builders import perturb

WIDTH, D_MODEL, QUERIES, HEADS = 12, 16, 5, 2
RESAMPLERS = (PerceiverResampler, QFormer)
COUNTS = torch.tensor([7, 1, 4])


def resampler(kind: type[Projector], **options: int) -> Projector:
    torch.manual_seed(0)
    module = kind(WIDTH, D_MODEL, num_queries=QUERIES, num_layers=3, num_heads=HEADS, **options).double()
    perturb(module)
    return module.eval()


def features() -> Tensor:
    return torch.randn(3, 7, WIDTH, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("kind", RESAMPLERS)
def test_padding_has_no_influence_forward_and_backward(device: torch.device, kind: type[Projector]) -> None:
    module, x = resampler(kind).to(device), features().to(device).requires_grad_()
    together = module(x, COUNTS)
    weights = torch.randn(together.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64).to(device)
    (gradient,) = torch.autograd.grad((together * weights).sum(), x)
    for index, number in enumerate(COUNTS.tolist()):
        item = x[index : index + 1, :number].detach().requires_grad_()
        alone = module(item, COUNTS[index : index + 1])
        torch.testing.assert_close(alone[0], together[index], rtol=1e-10, atol=1e-12)
        (expected,) = torch.autograd.grad((alone * weights[index]).sum(), item)
        torch.testing.assert_close(gradient[index, :number], expected[0], rtol=1e-10, atol=1e-12)
        assert not gradient[index, number:].any()


@pytest.mark.parametrize("kind", RESAMPLERS)
def test_any_item_becomes_as_many_tokens_and_every_feature_counts(kind: type[Projector]) -> None:
    module, x = resampler(kind), features()
    assert {module.layout(Layout(n)) for n in (1, 7, 500)} == {Layout(QUERIES)}
    assert module(x, COUNTS).shape == (3, QUERIES, D_MODEL)
    for place in range(int(COUNTS[0])):
        changed = x.clone()
        changed[0, place] += torch.arange(WIDTH)
        moved = (module(changed, COUNTS) - module(x, COUNTS)).abs()
        assert moved[0].amin(0).max() > 1e-4  # every query
        assert not moved[1:].any()


@pytest.mark.parametrize("kind", RESAMPLERS)
def test_clips_of_all_lengths_take_as_many_tokens(kind: type[Projector]) -> None:
    def projector(d_input: int, d_model: int) -> Projector:
        return kind(d_input, d_model, num_queries=QUERIES, num_layers=1, num_heads=HEADS)

    encoder = MediaEncoder(audio_encoder(), projector, D_MODEL)
    batch = audio_batch([1, 30, 64], 64)
    assert encoder.counts(batch) == [QUERIES] * 3
    assert encoder(batch).shape == (3 * QUERIES, D_MODEL)


def test_perceiver_resampler_equals_a_loop_written_out() -> None:
    module, x = resampler(PerceiverResampler), features()
    for index, number in enumerate(COUNTS.tolist()):
        item = module.input(module.input_norm(x[index, :number]))
        queries = module.queries_MD
        for layer in module.layers:
            normed = layer.query_norm(queries)
            seen = torch.cat([layer.feature_norm(item), normed])
            q, k, v = layer.attention.in_proj_weight.chunk(3)
            heads = []
            for rows in torch.arange(D_MODEL).chunk(HEADS):
                scores = (normed @ q[rows].T) @ (seen @ k[rows].T).T / len(rows) ** 0.5
                heads.append(scores.softmax(-1) @ (seen @ v[rows].T))
            queries = queries + torch.cat(heads, -1) @ layer.attention.out_proj.weight.T
            hidden = layer.norm(queries) @ layer.up.weight.T
            queries = queries + (hidden * (hidden > 0)) ** 2 @ layer.down.weight.T
        torch.testing.assert_close(module(x, COUNTS)[index], module.norm(queries), rtol=1e-10, atol=1e-12)


class SquaredReLU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.relu() ** 2


def test_perceiver_resampler_equals_transformers() -> None:
    """Idefics has Flamingo's, but for its ReLU. The same in float64 within 1e-10: only the order of sums differs."""
    from transformers.models.idefics.perceiver import IdeficsPerceiverResampler

    module, x = resampler(PerceiverResampler), features()
    config = SimpleNamespace(
        perceiver_config=SimpleNamespace(qk_layer_norms_perceiver=False),
        vision_config=SimpleNamespace(embed_dim=D_MODEL),
    )
    theirs = IdeficsPerceiverResampler(config, D_MODEL, 3, HEADS, D_MODEL // HEADS, QUERIES).double()  # type: ignore[arg-type]
    with torch.no_grad():
        theirs.latents.copy_(module.queries_MD)
        theirs.layer_norm.load_state_dict(module.norm.state_dict())
        for layer, (attention, feed_forward) in zip(module.layers, theirs.blocks, strict=True):
            q, k, v = layer.attention.in_proj_weight.chunk(3)
            for linear, weight in (
                ("q_proj", q),
                ("k_proj", k),
                ("v_proj", v),
                ("output_proj", layer.attention.out_proj.weight),
            ):
                getattr(attention, linear).weight.copy_(weight)
            attention.context_layer_norm.load_state_dict(layer.feature_norm.state_dict())
            attention.latents_layer_norm.load_state_dict(layer.query_norm.state_dict())
            feed_forward.ln.load_state_dict(layer.norm.state_dict())
            feed_forward.fc.weight.copy_(layer.up.weight)
            feed_forward.c_proj.weight.copy_(layer.down.weight)
            feed_forward.act = SquaredReLU()
    expected = theirs(module.input(module.input_norm(x)))
    torch.testing.assert_close(module(x, torch.tensor([7, 7, 7])), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("cross_every", [1, 2])
def test_qformer_equals_transformers(cross_every: int) -> None:
    """BLIP-2's, padding included. The same in float64 within 1e-10: only the order of sums differs."""
    from transformers import Blip2QFormerConfig
    from transformers.models.blip_2.modeling_blip_2 import Blip2QFormerModel

    module, x = resampler(QFormer, cross_every=cross_every), features()
    config = Blip2QFormerConfig(
        hidden_size=D_MODEL,
        num_hidden_layers=3,
        num_attention_heads=HEADS,
        intermediate_size=4 * D_MODEL,
        encoder_hidden_size=WIDTH,
        cross_attention_frequency=cross_every,
    )
    theirs = Blip2QFormerModel(config).double().eval()
    theirs.layernorm.load_state_dict(module.query_norm.state_dict())
    for ours, layer in zip(module.layers, theirs.encoder.layer, strict=True):
        copy_attention(ours.self_attention, ours.self_norm, layer.attention)
        if ours.cross_attention is not None:
            copy_attention(ours.cross_attention, ours.cross_norm, layer.crossattention)
        layer.intermediate_query.dense.load_state_dict(ours.up.state_dict())
        layer.output_query.dense.load_state_dict(ours.down.state_dict())
        layer.output_query.LayerNorm.load_state_dict(ours.norm.state_dict())
    mask = (torch.arange(7) < COUNTS[:, None]).long()
    expected = theirs(
        module.queries_MD.expand(3, -1, -1), encoder_hidden_states=module.feature_norm(x), encoder_attention_mask=mask
    ).last_hidden_state
    torch.testing.assert_close(module(x, COUNTS), module.output(expected), rtol=1e-10, atol=1e-10)


def copy_attention(ours: nn.MultiheadAttention, norm: nn.LayerNorm, theirs: nn.Module) -> None:
    weights = (
        ours.in_proj_weight.chunk(3)
        if ours.in_proj_weight is not None
        else (ours.q_proj_weight, ours.k_proj_weight, ours.v_proj_weight)
    )
    with torch.no_grad():
        for name, weight, bias in zip(("query", "key", "value"), weights, ours.in_proj_bias.chunk(3), strict=True):
            getattr(theirs.attention, name).weight.copy_(weight)
            getattr(theirs.attention, name).bias.copy_(bias)
    theirs.output.dense.load_state_dict(ours.out_proj.state_dict())
    theirs.output.LayerNorm.load_state_dict(norm.state_dict())


@pytest.mark.parametrize("kind", RESAMPLERS)
def test_a_resampler_is_overfitted(kind: type[Projector]) -> None:
    """Three items of different lengths to random tokens each."""
    module = resampler(kind).train()
    x = features()
    target = torch.randn(3, QUERIES, D_MODEL, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    target = target / target.norm(dim=-1, keepdim=True) * D_MODEL**0.5
    optimizer = torch.optim.AdamW(module.parameters(), lr=5e-3)
    for _ in range(300):
        optimizer.zero_grad()
        loss = (module(x, COUNTS) - target).square().mean()
        loss.backward()
        optimizer.step()
    assert loss < 0.05


@pytest.mark.parametrize("kind", RESAMPLERS)
def test_sizes_that_do_not_fit_are_named(kind: type[Projector]) -> None:
    with pytest.raises(ValueError, match=r"num_heads=3 of the projector must divide d_model=16"):
        kind(WIDTH, D_MODEL, num_heads=3)
    with pytest.raises(ValueError, match=r"num_queries=0 must be 1 or more"):
        kind(WIDTH, D_MODEL, num_queries=0)
    with pytest.raises(ValueError, match=r"expansion=0 must be positive"):
        kind(WIDTH, D_MODEL, expansion=0)
