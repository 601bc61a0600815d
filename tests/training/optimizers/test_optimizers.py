"""Optimizers: who gets what, and what one update is."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from encoders.text import TokenEmbedding
from tests.training.small_parts import OPTIMIZERS, UNUSED, SmallParts, updates
from tests.training.tiny import tiny_model
from training.optimizers.adamw import AdamW
from training.optimizers.groups import adamw, muon, named_parameters
from training.optimizers.muon import Muon, orthogonalize, update_scale


class Everything(nn.Module):
    """One of each kind of parameter."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 6)
        self.convolution = nn.Conv2d(3, 5, 3)
        self.attention = nn.MultiheadAttention(4, 2)
        self.norm = nn.LayerNorm(4)
        self.table = nn.Embedding(7, 4)
        self.text = TokenEmbedding(7, 4)
        self.patch_embedding = nn.Conv2d(3, 5, 2)
        self.embeddings = nn.ModuleDict({"projection": nn.Linear(4, 6)})
        self.embedding_weight = nn.Parameter(torch.randn(3, 4))
        self.expert_weight = nn.Parameter(torch.randn(3, 4, 5))
        self.queries_TD = nn.Parameter(torch.randn(2, 4))
        self.frozen = nn.Parameter(torch.randn(4, 4), requires_grad=False)


MATRICES = {
    "linear.weight": (1, 6, 4),
    "convolution.weight": (1, 5, 27),
    "patch_embedding.weight": (1, 5, 12),
    "embeddings.projection.weight": (1, 6, 4),
    "attention.in_proj_weight": (3, 4, 4),
    "attention.out_proj.weight": (1, 4, 4),
    "expert_weight": (3, 4, 5),
}


def names_of(model, parameters):
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {names[parameter] for parameter in parameters}


def test_only_weights_of_matrices_decay():
    model = Everything()
    groups = adamw(model, lr=1.0, weight_decay=0.1).param_groups
    decaying = [p for group in groups if group["weight_decay"] for p in group["params"]]
    others = [p for group in groups if not group["weight_decay"] for p in group["params"]]
    assert names_of(model, decaying) == set(MATRICES)
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert names_of(model, others) == trainable - set(MATRICES)


def test_muon_takes_matrices_as_what_they_are():
    assert {item.name: item.matrices() for item in named_parameters(Everything()) if item.matrices()} == MATRICES


@pytest.mark.parametrize("convolutions", [True, False])
def test_muon_and_adamw_share_the_parameters(convolutions):
    model = Everything()
    optimizers = muon(model, lr=0.02, adamw_lr=0.001, convolutions=convolutions).optimizers
    first, second = ([p for group in o.param_groups for p in group["params"]] for o in optimizers)
    expected = set(MATRICES) - (set() if convolutions else {"convolution.weight", "patch_embedding.weight"})
    assert names_of(model, first) == expected
    assert len(first) + len(second) == sum(p.requires_grad for p in model.parameters())


def test_of_the_real_model_muon_takes_blocks_and_encoders_only():
    model = tiny_model()
    first, second = muon(model, lr=0.02, adamw_lr=0.001).optimizers
    taken = names_of(model, [p for group in first.param_groups for p in group["params"]])
    rest = names_of(model, [p for group in second.param_groups for p in group["params"]])
    assert {name.split(".")[0] for name in taken} == {"media_encoders", "fusion"}
    assert {"text.weight", "modality_embedding.weight", "media_encoders.image.encoder.place_TC"} <= rest
    vectors = {name for name, parameter in model.named_parameters() if parameter.ndim < 2}
    assert rest - vectors == {"text.weight", "modality_embedding.weight", "media_encoders.image.encoder.place_TC"}


@pytest.mark.parametrize("shape", [(4, 16, 16), (3, 8, 40), (2, 40, 8)])
def test_orthogonalize_brings_singular_values_near_1(shape):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 100
    result = orthogonalize(matrices, steps=8)
    values = torch.linalg.svdvals(result)
    assert 0.6 < values.min() < values.max() < 1.3
    # The singular vectors stay: U^T X V is diagonal and positive.
    u, _, vh = torch.linalg.svd(matrices, full_matrices=False)
    turned = u.mT @ result @ vh.mT
    torch.testing.assert_close(turned, torch.diag_embed(turned.diagonal(dim1=1, dim2=2)), atol=1e-4, rtol=0)
    assert (turned.diagonal(dim1=1, dim2=2) > 0).all()


def test_orthogonalize_treats_each_matrix_of_a_batch_alone():
    matrices = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(0))
    together = orthogonalize(matrices)
    matrices[1] *= 1000
    matrices[2].zero_()
    torch.testing.assert_close(orthogonalize(matrices)[:2], together[:2], atol=1e-5, rtol=1e-4)
    assert (orthogonalize(matrices)[2] == 0).all()


@pytest.mark.parametrize(("scale", "reference"), [("spectral", "original"), ("match_rms_adamw", "match_rms_adamw")])
@pytest.mark.parametrize("nesterov", [True, False])
def test_muon_equals_that_of_torch(device, scale, reference, nesterov):
    """torch iterates in bfloat16, so the matrices agree to its 8 bits, a little worse after five iterations."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(8, 8), (24, 8), (8, 24), (8, 8)]
    mine = [nn.Parameter(torch.randn(shape, generator=generator).to(device)) for shape in shapes]
    theirs = [nn.Parameter(p.detach().clone()) for p in mine]
    groups = [{"params": [p], "matrices": (1, *p.shape)} for p in mine]
    first = Muon(groups, lr=0.1, momentum=0.9, nesterov=nesterov, weight_decay=0.3, scale=scale)
    second = torch.optim.Muon(theirs, lr=0.1, momentum=0.9, nesterov=nesterov, weight_decay=0.3, adjust_lr_fn=reference)
    for _ in range(3):
        for one, other in zip(mine, theirs, strict=True):
            one.grad = torch.randn(one.shape, generator=generator).to(device)
            other.grad = one.grad.clone()
        first.step()
        second.step()
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=0.02, rtol=0)


def test_stacked_matrices_are_orthogonalised_apart():
    """A joint projection of queries, keys and values gives the updates that three separate weights would get."""
    generator = torch.Generator().manual_seed(0)
    gradient = torch.randn(12, 4, generator=generator)
    joint = nn.Parameter(torch.zeros(12, 4))
    parts = [nn.Parameter(torch.zeros(4, 4)) for _ in range(3)]
    joint.grad = gradient
    for part, piece in zip(parts, gradient.split(4), strict=True):
        part.grad = piece.clone()
    Muon([{"params": [joint], "matrices": (3, 4, 4)}], lr=0.1).step()
    Muon([{"params": [part], "matrices": (1, 4, 4)} for part in parts], lr=0.1).step()
    torch.testing.assert_close(joint, torch.cat(list(parts)), atol=1e-6, rtol=1e-5)


def test_weight_decay_shrinks_by_lr_times_decay():
    weight = nn.Parameter(torch.full((4, 4), 2.0))
    weight.grad = torch.zeros(4, 4)
    Muon([{"params": [weight], "matrices": (1, 4, 4)}], lr=0.5, weight_decay=0.1).step()
    torch.testing.assert_close(weight.detach(), torch.full((4, 4), 1.9))


def test_muon_does_not_move_what_a_batch_does_not_use():
    """Its momentum would go on at full speed: orthogonalisation does not see that it fades."""
    torch.manual_seed(0)
    used, idle = (nn.Parameter(torch.randn(4, 3)) for _ in range(2))
    groups = [{"params": [parameter], "matrices": (1, 4, 3)} for parameter in (used, idle)]
    optimizer = Muon(groups, lr=0.1, weight_decay=0.1)
    for parameter in (used, idle):
        parameter.grad = torch.randn(4, 3)
    optimizer.step()
    before = used.detach().clone(), idle.detach().clone()
    used.grad, idle.grad = torch.randn(4, 3), torch.zeros(4, 3)
    optimizer.step()
    assert not torch.equal(used, before[0])
    assert torch.equal(idle, before[1] * (1 - 0.1 * 0.1))


@pytest.mark.parametrize("shape", [(4, 3, 5), (2, 2, 3, 5), (12, 5)])
def test_muon_does_not_move_a_matrix_of_a_stack_that_no_token_used(shape):
    """As if each of four experts were a parameter of its own: an expert that no token chose only decays."""
    torch.manual_seed(0)
    start = torch.randn(4, 3, 5)
    stack = nn.Parameter(start.reshape(shape).clone())
    apart = [nn.Parameter(matrix.clone()) for matrix in start]
    options = {"lr": 0.1, "weight_decay": 0.1}
    together = Muon([{"params": [stack], "matrices": (4, 3, 5)}], **options)
    alone = Muon([{"params": [parameter], "matrices": (1, 3, 5)} for parameter in apart], **options)
    for chosen in ([0, 1, 2, 3], [0, 2], [], [3]):
        before = stack.detach().reshape(4, 3, 5).clone()
        gradient = torch.zeros(4, 3, 5)
        gradient[chosen] = torch.randn(len(chosen), 3, 5)
        stack.grad = gradient.reshape(shape).clone()
        for parameter, part in zip(apart, gradient, strict=True):
            parameter.grad = part.clone()
        together.step()
        alone.step()
        after = stack.detach().reshape(4, 3, 5)
        torch.testing.assert_close(after, torch.stack([p.detach() for p in apart]), rtol=1e-5, atol=1e-6)
        for expert in range(4):
            assert torch.equal(after[expert], before[expert] * (1 - 0.1 * 0.1)) == (expert not in chosen)


def test_routers_and_depthwise_kernels_may_be_for_adamw():
    """A module says so; weight decay stays as it is."""

    class Mixing(nn.Module):
        def __init__(self):
            super().__init__()
            self.router, self.experts = nn.Linear(4, 3), nn.Parameter(torch.randn(3, 4, 4))
            self.expert_weight, self.depthwise = nn.Parameter(torch.randn(3, 4, 4)), nn.Conv1d(4, 4, 3, groups=4)

        def adamw_parameters(self):
            return [self.router.weight, self.depthwise.weight]

    model = nn.ModuleDict({"inner": Mixing(), "linear": nn.Linear(4, 4)})
    first, second = muon(model, lr=0.02, adamw_lr=0.001, adamw_weight_decay=0.1).optimizers
    taken, rest = (
        {p: group for group in optimizer.param_groups for p in group["params"]} for optimizer in (first, second)
    )
    assert names_of(model, taken) == {"inner.expert_weight", "linear.weight"}
    decaying = [p for p, group in rest.items() if group["weight_decay"]]
    assert names_of(model, decaying) == {"inner.router.weight", "inner.depthwise.weight"}
    assert all(group["lr"] == 0.001 for group in rest.values())


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_no_optimizer_moves_an_encoder_that_no_batch_uses(kind):
    """Kernels, norms, biases and embeddings alike; what decays goes on to decay, to the last bit."""
    before, *idle = updates(kind)[min(UNUSED) - 1 : max(UNUSED) + 1]
    decaying = {item.name for item in named_parameters(SmallParts()) if item.decays}
    rates = dict.fromkeys(decaying, 0.02 if kind == "muon" else 0.01)
    expected = dict(before["weights"])
    for after in idle:
        for name, value in after["weights"].items():
            if name.startswith("encoder"):
                if name in decaying:
                    expected[name] = expected[name] * (1 - rates[name] * 0.1)
                assert torch.equal(value, expected[name]), name
        assert not torch.equal(after["weights"]["head.bias"], before["weights"]["head.bias"])
    assert any(name.startswith("encoder") for name in expected.keys() - decaying)


def test_adamw_equals_that_of_torch_where_everything_is_used():
    torch.manual_seed(0)
    mine, theirs = ([nn.Parameter(torch.ones(4, 3)), nn.Parameter(torch.ones(5))] for _ in range(2))
    options = {"lr": 0.1, "betas": (0.9, 0.95), "weight_decay": 0.1}
    first, second = AdamW(mine, **options), torch.optim.AdamW(theirs, **options, fused=True)
    for _ in range(3):
        for one, other in zip(mine, theirs, strict=True):
            one.grad = torch.randn(one.shape)
            other.grad = one.grad.clone()
        first.step()
        second.step()
    assert all(torch.equal(one, other) for one, other in zip(mine, theirs, strict=True))


def test_one_entry_that_is_used_moves_all_of_its_parameter():
    """Momentum belongs to what is used, even where one batch leaves entries out, such as tokens of a vocabulary."""
    table = nn.Parameter(torch.ones(4, 3))
    optimizer = AdamW([table], lr=0.1)
    for used in ([1.0] * 4, [0.0, 0.0, 1e-30, 0.0]):
        before = table.detach().clone()
        table.grad = torch.tensor(used)[:, None].expand(4, 3).clone()
        optimizer.step()
        assert (table != before).all()


def test_update_scales():
    assert update_scale(32, 8, "spectral") == 2.0
    assert update_scale(8, 32, "spectral") == 1.0
    assert update_scale(25, 16, "match_rms_adamw") == pytest.approx(1.0)
    assert update_scale(25, 16, "none") == 1.0


def test_lr_factor_multiplies_both_rates():
    optimizers = muon(Everything(), lr=0.02, adamw_lr=0.001)
    optimizers.set_lr_factor(0.5)
    optimizers.set_lr_factor(0.25)
    assert {group["lr"] for group in optimizers.param_groups} == {0.005, 0.00025}


@pytest.mark.parametrize("build", [adamw, lambda model, lr: muon(model, lr=lr, adamw_lr=0.01)])
def test_state_survives_a_round_trip(build, tmp_path):
    """Update, save, load into a fresh optimizer: the next updates are the same to the last bit."""

    def update(model, optimizers, seed):
        generator = torch.Generator().manual_seed(seed)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizers.step()
        optimizers.zero_grad()

    torch.manual_seed(0)
    model = Everything()
    optimizers = build(model, lr=0.1)
    update(model, optimizers, 1)
    torch.save(optimizers.state_dict(), tmp_path / "state.pt")
    other = Everything()
    other.load_state_dict(model.state_dict())
    restored = build(other, lr=0.1)
    restored.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for seed in (2, 3):
        update(model, optimizers, seed)
        update(other, restored, seed)
    for one, another in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, another)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"lr": -1.0, "adamw_lr": 0.1}, "lr=-1"),
        ({"lr": 0.1, "adamw_lr": 0.1, "momentum": 1.0}, "momentum=1.0"),
        ({"lr": 0.1, "adamw_lr": 0.1, "scale": "large"}, "scale='large'"),
        ({"lr": 0.1, "adamw_lr": 0.1, "dtype": "float8"}, "dtype='float8'"),
        ({"lr": 0.1, "adamw_lr": 0.1, "adamw_weight_decay": -0.1}, "weight_decay=-0.1"),
    ],
)
def test_wrong_arguments_are_named(options, name):
    with pytest.raises(ValueError, match=name):
        muon(Everything(), **options)


def test_a_model_without_matrices_needs_another_optimizer():
    with pytest.raises(ValueError, match="use optimizer=adamw"):
        muon(nn.LayerNorm(4), lr=0.1, adamw_lr=0.1)
