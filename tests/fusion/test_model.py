from dataclasses import replace

import pytest
import torch

from data.types import BadSampleError
from fusion.cost.counting import flops_per_sample, parameter_counts
from tests.fusion.builders import VOCAB_SIZE, batch_of, small_model

MIXED = [["image", 3, ("audio", 13), 4], [2, ("audio", 6), 3, "image", 2], [7]]


def test_media_land_on_their_own_placeholders() -> None:
    model = small_model()
    batch = batch_of(model, [MIXED[:2], MIXED[2:]])
    embedded = model.embed(batch).hidden - model.modality_embedding(batch.modality_ids)
    image_tokens = model.media_encoders["image"](batch.media["image"])
    audio_tokens = model.media_encoders["audio"](batch.media["audio"])
    flat, kinds = embedded.flatten(0, 1), batch.modality_ids.flatten()
    text = (kinds == 0) & (batch.document_ids.flatten() >= 0)

    def unit(x: torch.Tensor) -> torch.Tensor:
        return x / (x.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt()

    torch.testing.assert_close(flat[kinds == model.modalities.index("image")], unit(image_tokens))
    torch.testing.assert_close(flat[kinds == model.modalities.index("audio")], unit(audio_tokens))
    torch.testing.assert_close(flat[text], unit(model.text.weight[batch.token_ids.flatten()[text]]))


def test_wrong_number_of_placeholders_names_the_sample_and_both_counts() -> None:
    model = small_model()
    batch = batch_of(model, [MIXED[:2]])
    kinds = batch.modality_ids.clone()
    second = (batch.document_ids == 1) & (kinds == model.modalities.index("audio"))
    kinds[tuple(second.nonzero()[0])] = 0
    with pytest.raises(BadSampleError, match=r"document 1: 1 audio placeholders but 2 audio features"):
        model.embed(replace(batch, modality_ids=kinds))


def test_batch_without_a_modality_gives_every_parameter_a_gradient() -> None:
    model = small_model()
    batch = batch_of(model, [[["image", 6]], [[5]]])
    hidden = model(batch).states
    model.logits(hidden[batch.labels >= 0]).pow(2).mean().backward()
    audio = dict(model.media_encoders["audio"].named_parameters())
    assert all(p.grad is not None for p in model.parameters())
    assert all(p.grad.abs().max() == 0 for p in audio.values())
    assert sum(float(p.grad.abs().sum()) for p in model.media_encoders["image"].parameters()) > 0


def test_absent_modality_does_not_move_the_output() -> None:
    model = small_model()
    batch = batch_of(model, [[[9]]])
    with torch.no_grad():
        expected = model(batch).states
        for parameter in model.media_encoders.parameters():
            parameter.mul_(3.0)
        torch.testing.assert_close(model(batch).states, expected)


def test_one_batch_is_overfitted(device: torch.device) -> None:
    model = small_model().to(device)
    batch = batch_of(model, [MIXED[:2], MIXED[2:]]).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    supervised = batch.labels >= 0
    for _ in range(80):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(
            model.logits(model(batch).states[supervised]), batch.labels[supervised]
        )
        loss.backward()
        optimizer.step()
    assert loss < 0.05


def test_parts_add_up_to_all_parameters_and_flops_grow_with_tokens() -> None:
    model = small_model()
    counts = parameter_counts(model)
    assert counts["total"] == sum(v for k, v in counts.items() if k != "total")
    assert counts["text"] == VOCAB_SIZE * 32
    short, long = batch_of(model, [[[20]]]), batch_of(model, [[[40]]])
    linear = sum(p.numel() for name, p in model.fusion.named_parameters() if "norm" not in name)
    fixed = 2 * linear * 20
    added = flops_per_sample(model, long) - flops_per_sample(model, short)
    assert fixed < added < 1.5 * fixed


def test_a_constructor_names_the_bad_argument() -> None:
    from encoders.scratch.image import ImageEncoder
    from fusion.mixers.attention import SelfAttention
    from fusion.positions.rope import Rope

    with pytest.raises(ValueError, match=r"num_kv_heads=3 must divide num_heads=4"):
        SelfAttention(32, num_heads=4, num_kv_heads=3, position=Rope)
    with pytest.raises(ValueError, match=r"image_size=20 must be a positive multiple"):
        ImageEncoder(20, [8, 8], [4, 2], [5, 3], num_layers=0, num_heads=1)
    with pytest.raises(ValueError, match=r"must divide the encoder's width"):
        ImageEncoder(16, [8, 24], [2, 2], [3, 3], num_layers=1, num_heads=5)
