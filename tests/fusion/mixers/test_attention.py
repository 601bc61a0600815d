import pytest
import torch

from fusion.folding import buckets_of
from fusion.sequence import Visibility
from tests.fusion.builders import batch_of, small_model

PACKED = [
    [["image", 3, ("audio", 13), 4], [2], ["image", 2]],
    [[30]],
    [[1], [("audio", 40), 5, ("audio", 3)], [8]],
]


def outputs_and_gradients(implementation: str, rows: list, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    model = small_model(implementation).to(device)
    batch = batch_of(model, rows).to(device)
    hidden = model(batch).states * (batch.document_ids >= 0)[..., None]
    hidden.pow(3).mean().backward()
    return hidden.detach(), torch.cat([p.grad.flatten() for p in model.parameters()])


@pytest.mark.parametrize("implementation", ["sdpa", "folded", "varlen", "flex", "auto"])
@pytest.mark.parametrize("rows", [PACKED, [[[12]], [["image", 3]]]], ids=["packed", "alone"])
def test_fast_attention_equals_dense(device: torch.device, implementation: str, rows: list) -> None:
    # float32 sums in another order differ by a few units in the last place, about 1e-6 of the values.
    expected, expected_gradient = outputs_and_gradients("dense", rows, device)
    hidden, gradient = outputs_and_gradients(implementation, rows, device)
    torch.testing.assert_close(hidden, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-3, atol=1e-5 * float(expected_gradient.abs().max()))


def test_mask_means_same_group_and_not_later() -> None:
    groups = torch.tensor([[0, 1, 0, 1, -1]])
    allowed = Visibility(groups).mask[0].nonzero().tolist()
    assert allowed == [[0, 0], [1, 1], [2, 0], [2, 2], [3, 1], [3, 3]]


def test_folding_holds_every_token_once_in_order() -> None:
    generator = torch.Generator().manual_seed(0)
    groups = torch.randint(-1, 6, (4, 37), generator=generator) + torch.arange(4)[:, None] * 10
    groups[groups % 10 == 9] = -1
    folding = Visibility(groups).folding
    flat = groups.flatten()
    numbers = torch.arange(1, len(flat) + 1)
    buckets = folding.fold(numbers)
    rows = [row[row > 0] - 1 for bucket in buckets for row in bucket]
    assert sorted(torch.cat(rows).tolist()) == (flat != -1).nonzero().flatten().tolist()
    for row in rows:
        assert len(set(flat[row].tolist())) == 1
        assert (row.diff() > 0).all()
    for bucket in buckets:
        lengths = (bucket > 0).sum(1)
        assert lengths.max() == bucket.shape[1] < 2 * lengths.min()
    torch.testing.assert_close(folding.unfold(buckets), torch.where(flat == -1, 0, numbers))


def test_groups_share_a_bucket_if_their_sizes_lie_between_the_same_powers_of_two() -> None:
    powers = 2 ** torch.arange(1, 41)
    counts = torch.cat([torch.arange(1, 2**17), powers - 1, powers, powers + 1])
    expected = counts.double().log2().floor()  # exact up to here, where there is float64
    masks = buckets_of(counts)
    assert len(masks) == 41
    assert all(torch.equal(mask, expected == power) for power, mask in enumerate(masks))


def test_folding_gradients_equal_finite_differences() -> None:
    folding = Visibility(torch.tensor([[0, 1, -1, 0], [2, 2, 2, -1]])).folding
    x = torch.randn(8, 2, dtype=torch.float64, requires_grad=True, generator=torch.Generator().manual_seed(0))
    torch.autograd.gradcheck(lambda x: folding.unfold([bucket**2 for bucket in folding.fold(x)]), x)
    torch.autograd.gradgradcheck(lambda x: folding.unfold([bucket**2 for bucket in folding.fold(x)]), x)


def test_padding_in_front_of_tokens_is_not_mistaken_for_one_group() -> None:
    assert not Visibility(torch.tensor([[-1, 0, 0]])).one_group_per_row
    assert not Visibility(torch.tensor([[0, 0, 1]])).one_group_per_row
    assert Visibility(torch.tensor([[0, 0, -1], [1, 1, 1]])).one_group_per_row


def test_equals_qwen3_of_transformers() -> None:
    """The decoder is Qwen 3's (GQA, QK-norm, half-split RoPE, SwiGLU, RMSNorm): same weights, same logits.

    Both run in float64, so that the tolerance may be far below any difference of meaning.
    """
    transformers = pytest.importorskip("transformers")
    model = small_model("folded").double()
    blocks = model.fusion.layers()
    config = transformers.Qwen3Config(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=blocks[0].feed_forward.gate.out_features,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        tie_word_embeddings=True,
        attention_bias=False,
    )
    other = transformers.Qwen3ForCausalLM(config).double().eval()
    scaled = torch.nn.functional.rms_norm(model.text.weight, (32,), eps=1e-6)
    state = {"model.embed_tokens.weight": scaled + model.modality_embedding.weight[0]}
    for i, block in enumerate(blocks):
        mixer, prefix = block.mixer, f"model.layers.{i}."
        state |= {prefix + f"self_attn.{name}_proj.weight": getattr(mixer, name).weight for name in "qkv"}
        state |= {
            prefix + f"mlp.{n}_proj.weight": getattr(block.feed_forward, n).weight for n in ("gate", "up", "down")
        }
        state |= {
            prefix + "self_attn.o_proj.weight": mixer.out.weight,
            prefix + "self_attn.q_norm.weight": mixer.q_norm.weight,
            prefix + "self_attn.k_norm.weight": mixer.k_norm.weight,
            prefix + "input_layernorm.weight": block.mixer_norm.weight,
            prefix + "post_attention_layernorm.weight": block.feed_forward_norm.weight,
        }
    state |= {"model.norm.weight": model.norm.weight, "lm_head.weight": state["model.embed_tokens.weight"]}
    other.load_state_dict(state)
    batch = batch_of(model, [[[9], [14]]])
    for document in (0, 1):
        ids = batch.token_ids[batch.document_ids == document]
        expected = other.model(ids[None]).last_hidden_state[0]
        torch.testing.assert_close(model(batch).states[batch.document_ids == document], expected, rtol=1e-6, atol=1e-6)
