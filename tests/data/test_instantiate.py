"""Options that are not there, named at their own place."""

from __future__ import annotations

import pytest
from hydra import compose, initialize_config_module
from omegaconf import DictConfig, open_dict

from data.instantiate import completed, instantiate
from data.types import BadInputError
from fusion.build import build_model
from training.preparation.setup import build_schedule


def composed(*overrides: str) -> DictConfig:
    with initialize_config_module("conf", version_base="1.3"):
        return compose("train", ["d_model=32", "fusion.num_layers=1", *overrides])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["~mixer.num_heads"], "fusion.mixer.num_heads: must be given, .*SelfAttention has no default for it"),
        (["~fusion.num_layers"], "fusion.num_layers: must be given, .*EarlyFusion has no default for it"),
        (
            ["fusion=cross_attention", "~mixer.num_heads"],
            "fusion.cross_attention.num_heads: is read from mixer.num_heads, which is not there; "
            "give fusion.cross_attention.num_heads=VALUE",
        ),
        (["d_model=1000000000000"], "d_model=1000000000000: does not fit into the memory; make it, .* smaller"),
        (["d_model=100000000", "mixer.num_heads=1"], "d_model=100000000: does not fit into the memory"),
        (["projector.expansion=1e15"], r"projector.expansion=1000000000000000\.0: does not fit into the memory"),
        (["encoders.audio.num_mels=1000000000000"], "encoders.audio.num_mels=1000000000000: does not fit into the"),
    ],
)
def test_a_part_of_the_model_that_cannot_be_made_is_named(overrides: list[str], message: str) -> None:
    with pytest.raises(BadInputError, match=f"^{message}") as caught:
        build_model(composed(*overrides), 300)
    assert "\n" not in str(caught.value)


def test_an_option_that_a_schedule_lacks_is_named() -> None:
    with pytest.raises(BadInputError, match=r"^schedule.decay_fraction: must be given, .*trapezoid has no default"):
        build_schedule(composed("~schedule.decay_fraction").schedule, 100)


def test_a_call_that_is_wrong_by_itself_keeps_its_error() -> None:
    node = composed().optimizer
    with pytest.raises(TypeError, match="unexpected keyword"), completed(node, "optimizer"):
        instantiate(node, "optimizer")(None, speed=1)
    with open_dict(node):
        del node["lr"]
    with pytest.raises(BadInputError, match=r"^optimizer.lr: must be given"), completed(node, "optimizer"):
        instantiate(node, "optimizer")(None)
