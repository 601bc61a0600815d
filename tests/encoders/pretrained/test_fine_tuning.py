from functools import partial

import pytest
import torch
from torch import nn

from data.types import MediaBatch
from encoders.base import MediaEncoder
from encoders.lora import Lora, LoraLinear, merge
from encoders.pretrained.fine_tuning import Frozen, Full, Partial, find_blocks
from encoders.pretrained.hugging_face import TransformersEncoder
from encoders.projector import LinearProjector
from tests.fusion.builders import perturb
from training.optimizers.groups import adamw, muon, named_parameters
from training.steps.ema import Ema

SIZES = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24}
VIT = {"model_type": "vit", "image_size": 16, "patch_size": 8, **SIZES}
OPTIMIZERS = [partial(adamw, lr=0.01, eps=1e-12), partial(muon, lr=0.01, adamw_lr=0.01, eps=1e-12)]


def encoder(fine_tuning, **options) -> MediaEncoder:
    torch.manual_seed(0)
    made = MediaEncoder(TransformersEncoder(fine_tuning, architecture=VIT, **options), LinearProjector, 8)
    perturb(made)
    return made.train()


def images() -> MediaBatch:
    values = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    return MediaBatch(values, torch.tensor([[3, 16, 16]] * 3), torch.arange(3))


def step(model: nn.Module, make_optimizer) -> dict[str, torch.Tensor]:
    """By how much each weight moves in one update."""
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = make_optimizer(model)
    generator = torch.Generator().manual_seed(1)
    output = model(images())
    (output * torch.randn(output.shape, generator=generator)).sum().backward()
    optimizer.step()
    return {name: parameter.detach() - before[name] for name, parameter in model.named_parameters()}


def moved(changes: dict[str, torch.Tensor]) -> set[str]:
    return {name.removeprefix("encoder.backbone.") for name, change in changes.items() if change.abs().max() > 0}


PROJECTOR = {"projector.norm.weight", "projector.norm.bias", "projector.linear.weight", "projector.linear.bias"}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_only_what_fine_tuning_names_is_trained(optimizer) -> None:
    names = {name for name, _ in encoder(Frozen()).encoder.backbone.named_parameters()}
    used = {name for name in names if not name.startswith("pooler")}
    last = {name for name in names if name.startswith("layers.2.")}
    assert moved(step(encoder(Frozen()), optimizer)) == PROJECTOR
    assert moved(step(encoder(Full()), optimizer)) == PROJECTOR | used
    assert moved(step(encoder(Partial(1)), optimizer)) == PROJECTOR | last
    norms = {name for name in names if name.startswith("layernorm.")}
    assert moved(step(encoder(Partial(1, ["layernorm.*"])), optimizer)) == PROJECTOR | last | norms
    assert len(norms) == 2
    lora = moved(step(encoder(Lora(2, targets=["*q_proj"])), optimizer)) - PROJECTOR
    assert lora
    assert {name.rpartition(".")[2] for name in lora} == {"lora_a_RI", "lora_b_OR"}


def test_weights_behind_the_chosen_layer_are_gone_and_unused_ones_frozen() -> None:
    backbone = encoder(Full(), layer=2).encoder.backbone
    assert len(find_blocks(backbone)) == 2
    frozen = {name.partition(".")[0] for name, p in backbone.named_parameters() if not p.requires_grad}
    assert frozen == {"layernorm", "pooler"}


def test_kernels_of_a_vit_are_matrices_and_its_learned_tokens_are_not() -> None:
    items = {item.name: item.matrices() for item in named_parameters(encoder(Full()).encoder.backbone)}
    assert items["embeddings.patch_embeddings.projection.weight"] == (1, 16, 3 * 8 * 8)
    assert {name for name, matrices in items.items() if matrices and not name.startswith("layers.")} == {
        "embeddings.patch_embeddings.projection.weight"
    }
    assert {"embeddings.cls_token", "embeddings.position_embeddings"} <= items.keys()


def test_muon_leaves_the_matrices_of_lora_to_adamw_without_decay() -> None:
    model = encoder(Lora(2))
    first, second = muon(model, lr=0.01, adamw_lr=0.01, weight_decay=0.1, adamw_weight_decay=0.1).optimizers
    names = {parameter: name for name, parameter in model.named_parameters()}
    taken = {names[parameter] for group in first.param_groups for parameter in group["params"]}
    decays = {names[p]: group["weight_decay"] for group in second.param_groups for p in group["params"]}
    assert taken == {"projector.linear.weight"}
    lora = {name: decay for name, decay in decays.items() if ".lora_" in name}
    assert len(lora) == 12  # two for queries and two for values of three blocks
    assert set(lora.values()) == {0.0}


@torch.no_grad()
def test_lora_changes_nothing_at_first_and_merges_into_plain_layers_that_compute_the_same() -> None:
    torch.manual_seed(0)
    plain = TransformersEncoder(Frozen(), architecture=VIT)
    torch.manual_seed(0)
    lora = TransformersEncoder(Lora(3, alpha=5.0), architecture=VIT)
    torch.testing.assert_close(lora(images()), plain(images()), rtol=0, atol=0)
    perturb(lora)
    trained = lora(images())
    assert (trained - plain(images())).abs().max() > 0.01
    layers = [module for module in lora.modules() if isinstance(module, LoraLinear)]
    assert len(layers) == 6  # queries and values of three blocks
    merge(lora.backbone)
    assert not any(isinstance(module, LoraLinear) for module in lora.modules())
    torch.testing.assert_close(lora(images()), trained, rtol=1e-4, atol=1e-5)
    assert lora.backbone.state_dict().keys() == plain.backbone.state_dict().keys()


@torch.no_grad()
def test_lora_is_the_formula_of_the_paper() -> None:
    torch.manual_seed(0)
    base = nn.Linear(5, 4)
    layer = LoraLinear(base, rank=2, alpha=6.0)
    perturb(layer)
    x = torch.randn(3, 5)
    expected = base(x) + (6.0 / 2) * x @ layer.lora_a_RI.T @ layer.lora_b_OR.T
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_an_encoder_s_own_learning_rate_scales_its_updates_and_nothing_else(optimizer) -> None:
    whole, slow = step(encoder(Full()), optimizer), step(encoder(Full(), lr_scale=0.1), optimizer)
    for name, change in whole.items():
        factor = 0.1 if name.startswith("encoder.") else 1.0
        assert torch.allclose(slow[name], factor * change, rtol=1e-3, atol=1e-7), name
    assert max(change.abs().max() for change in whole.values()) > 0.005


def test_the_logged_rate_and_schedules_are_those_of_the_rest() -> None:
    for make in (partial(adamw, lr=0.01), partial(muon, lr=0.01, adamw_lr=0.001)):
        optimizer = make(encoder(Full(), lr_scale=0.1))
        optimizer.set_lr_factor(0.5)
        assert optimizer.learning_rate == 0.005
        assert min(group["lr"] / group["base_lr"] for group in optimizer.param_groups) == 0.5


def test_averages_are_kept_of_trained_weights_only() -> None:
    model = encoder(Lora(2))
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert set(Ema(model, 0.9).averages) == trained


def test_an_absent_modality_runs_no_frozen_backbone_and_still_joins_the_graph() -> None:
    calls = []
    for fine_tuning, expected in ((Frozen(), 0), (Full(), 1)):
        model = encoder(fine_tuning)
        calls.clear()
        model.encoder.backbone.register_forward_hook(lambda *_: calls.append(1))
        value = model.absent()
        value.backward()
        assert (value.item(), len(calls)) == (0.0, expected)
        assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Partial(), "last_blocks=0 must be 1 or more"),
        (lambda: encoder(Partial(4)), "last_blocks=4 must be at most 3"),
        (lambda: encoder(Partial(0, ["blocks.*"])), "'blocks.\\*' matches no parameter"),
        (lambda: encoder(Partial(0, ["pooler.*"])), "only weights on which the features do not depend"),
        (lambda: Lora(0), "rank=0 must be 1 or more"),
        (lambda: encoder(Lora(targets=["*qkv"])), "match no linear layer of the backbone, which has layers"),
        (lambda: find_blocks(nn.Linear(2, 2)), "has no list of blocks"),
    ],
)
def test_what_fits_nothing_is_refused(make, words) -> None:
    with pytest.raises(ValueError, match=words):
        make()
