"""The width that meets a cost, for every fusion method that is configured."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf

import conf
from certify.documents import make_documents
from data.batching.collate import collate
from data.types import BadInputError, InterleavedBatch
from fusion.build import build_model
from fusion.cost import sizing
from fusion.cost.counting import flops_per_sample, parameter_counts, sample_flops

FUSION = sorted(file.stem for file in (Path(str(conf.__file__)).parent / "fusion").glob("*.yaml"))
VOCAB_SIZE = 64


def configured(*overrides: str) -> DictConfig:
    with initialize_config_module("conf", version_base="1.3"):
        return compose("train", overrides=[*overrides])


def test_layers_with_mixers_of_their_own_are_sized_too() -> None:
    """The list is a value, in which each mixer has its own options."""
    config = configured("fusion=mixture_of_transformers", "fusion.mixer=[${mixer},${mixer}]", "fusion.num_layers=3")
    config.fusion.mixer = OmegaConf.to_container(config.fusion.mixer, resolve=True)
    config.fusion.mixer[1].num_heads = 8
    assert sizing.width_step(config) == 16
    batch = documents(config)
    size = sizing.solve(config, VOCAB_SIZE, "flops", 6.0e7, batch)
    model = build_model(size.config, VOCAB_SIZE)
    assert [block.experts[0].mixer.num_heads for block in model.fusion.blocks] == [4, 8, 4]
    assert flops_per_sample(model, batch) == size.cost


def documents(config: DictConfig) -> InterleavedBatch:
    model = build_model(config, VOCAB_SIZE).double()
    batch = collate([[document] for document in make_documents(model, VOCAB_SIZE, seed=0)[:5]])
    media = {name: type(m)(m.values.float(), m.shapes, m.documents) for name, m in batch.media.items()}
    return type(batch)(**{**vars(batch), "media": media})


@pytest.mark.parametrize("fusion", FUSION)
@pytest.mark.parametrize("quantity", sizing.QUANTITIES)
def test_every_method_is_brought_to_the_same_cost(fusion: str, quantity: str) -> None:
    config = configured(f"fusion={fusion}")
    batch = documents(config)
    target = {"flops": 6.0e7, "fusion_flops": 3.0e7, "parameters": 1.7e6}[quantity]
    size = sizing.solve(config, VOCAB_SIZE, quantity, target, batch)
    model = build_model(size.config, VOCAB_SIZE)
    real = {
        "flops": flops_per_sample(model, batch),
        "fusion_flops": sample_flops(model, batch).forward["fusion"],
        "parameters": parameter_counts(model)["total"],
    }[quantity]
    assert real == size.cost  # counted on the meta device from the calls of a narrow model, and here by running it
    assert abs(real - target) <= sizing.TOLERANCE * target
    assert size.config.d_model % 8 == 0
    assert config.d_model == 128


def test_the_expansion_helps_where_widths_are_too_coarse() -> None:
    config = configured("~encoders/image", "~encoders/audio", "mixer.num_heads=16")
    found = [sizing.solve(config, VOCAB_SIZE, "parameters", target) for target in (1.0e6, 1.25e6, 1.5e6)]
    assert all(size.config.d_model % 32 == 0 for size in found)
    expansions = {size.config.fusion.feed_forward.expansion for size in found}
    assert expansions != {config.fusion.feed_forward.expansion}
    for size in found:
        assert parameter_counts(build_model(size.config, VOCAB_SIZE))["total"] == size.cost


def test_the_nearest_width_is_taken() -> None:
    """Against all widths, one by one."""
    config = configured("~encoders/image", "~encoders/audio")
    costs = {}
    for width in range(8, 512, 8):
        config.d_model = width
        with torch.device("meta"):
            costs[width] = parameter_counts(build_model(config, VOCAB_SIZE))["total"]
    target = 1.01 * costs[240]
    assert abs(costs[232] - target) > abs(costs[240] - target) < abs(costs[248] - target)
    assert sizing.solve(config, VOCAB_SIZE, "parameters", target).config.d_model == 240


@pytest.mark.parametrize(
    ("quantity", "target", "message"),
    [
        ("flops", 10.0, r"target.flops=10 cannot be met within 2%: the nearest is \S+ with d_model=8"),
        ("parameters", 1e5, r"target.parameters=100000 cannot be met within 2%: the nearest is \S+ with d_model=8"),
        (
            "parameters",
            1e15,
            r"target.parameters=1e\+15 cannot be met within 2%: the nearest is \S+ with d_model=65536",
        ),
        ("flops", -1.0, r"target.flops=-1.0 must be above 0"),
    ],
)
def test_an_impossible_target_names_the_nearest_possible(quantity: str, target: float, message: str) -> None:
    config = configured()
    with pytest.raises(BadInputError, match=message) as refused:
        sizing.solve(config, VOCAB_SIZE, quantity, target, documents(config))
    assert "\n" not in str(refused.value)


def test_widths_fit_all_heads() -> None:
    config = configured("projector=qformer", "projector.num_heads=6", "mixer.num_heads=8")
    assert sizing.width_step(config) == 48
    size = sizing.solve(config, VOCAB_SIZE, "parameters", 3.0e6)
    assert size.config.d_model % 48 == 0
