"""Every configured part of a model and every objective, found by listing the folders, is certified in a small model."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
from torch import Tensor, nn

import conf
from certify.result import Result
from certify.suite import ENCODER_CHECKS, MODEL_CHECKS, make_context, run
from data.instantiate import instantiate
from data.sources.base import MESSAGES
from data.types import InterleavedBatch
from tests.training.objectives.contract import accumulates, trains_and_resumes
from tests.training.probed import Probed
from training.objectives.base import LossTerms, Objective
from training.objectives.next_token import NextToken

CONF = Path(str(conf.__file__)).parent
GROUPS = ("fusion", "mixer", "feed_forward", "projector", "position", "shared_space")
# What a model is made of; two choices that agree in it are the same model.
MODEL_KEYS = ("d_model", "encoders", "projector", "fusion", "shared_space", "seed")
D_MODEL = 32
# Options of fusion methods whose other value is certified too, wherever a method has them.
OTHER_VALUES = {
    "weights": {"shared": "per_modality", "per_modality": "shared"},
    "bidirectional_media": {False: "true", True: "false"},
}
# A model that has all that an objective may need.
FOR_OBJECTIVES = "shared_space=linear_with_bias"
# What a choice is certified with where its own values take long.
SMALL = {f"encoders/image={name}": ("encoders.image.image_size=64",) for name in ("efficientnet_lite0", "timm")}


def choices() -> list[str]:
    """An override for every file of every group."""
    encoders = sorted(f"encoders/{folder.name}" for folder in (CONF / "encoders").iterdir() if folder.is_dir())
    return [f"{group}={file.stem}" for group in (*GROUPS, *encoders) for file in sorted((CONF / group).glob("*.yaml"))]


def fusion_variants() -> list[str]:
    """For every fusion method that has some of `OTHER_VALUES`, its overrides to all of them."""
    with initialize_config_module("conf", version_base="1.3"):
        names = sorted(file.stem for file in (CONF / "fusion").glob("*.yaml"))
        options = {name: compose("train", overrides=[f"fusion={name}"]).fusion for name in names}
    return [
        " ".join(
            [f"fusion={name}", *(f"fusion.{key}={OTHER_VALUES[key][own[key]]}" for key in OTHER_VALUES if key in own)]
        )
        for name, own in options.items()
        if OTHER_VALUES.keys() & own.keys()
    ]


def mixer_variants() -> list[str]:
    """Every mixer with weights for each modality."""
    return [f"mixer={file.stem} fusion=mixture_of_transformers" for file in sorted((CONF / "mixer").glob("*.yaml"))]


def objectives() -> list[str]:
    """The name of every objective."""
    return sorted(file.stem for file in (CONF / "objective").glob("*.yaml"))


def objective_of(name: str) -> Objective:
    with initialize_config_module("conf", version_base="1.3"):
        return instantiate(compose("train", overrides=[f"objective={name}"]).objective, "objective")


def objective_variants() -> list[str]:
    """Objectives that learn from conversations, which a certificate asks; terms of the others depend on one another."""
    return [f"objective={name} {FOR_OBJECTIVES}" for name in objectives() if MESSAGES in objective_of(name).reads]


@cache
def certified(model: str) -> list[Result]:
    """The results of all fast checks on the model of a resolved configuration."""
    torch.set_num_threads(1)
    context = make_context(OmegaConf.create(json.loads(model)))
    return list(run(context, (*MODEL_CHECKS, *ENCODER_CHECKS)))


def configured(choice: str) -> str:
    with initialize_config_module("conf", version_base="1.3"):
        group, _, _ = choice.partition("=")
        known = any(group in entry for entry in OmegaConf.load(CONF / "train.yaml").defaults if entry != "_self_")
        first, *options = choice.split(" ")
        options += [*SMALL.get(first, ()), f"d_model={D_MODEL}"]
        config = compose("train", overrides=[first if known else f"+{first}", *options])
    keys = (*MODEL_KEYS, "objective", "optimizer")
    parts = OmegaConf.create({key: config[key] for key in (*keys, "mixer", "feed_forward", "position")})
    resolved = OmegaConf.to_container(parts, resolve=True)
    assert isinstance(resolved, dict)
    for node in resolved["encoders"].values():  # `auto` is the model of the encoder that it takes
        node.pop("if_held", None)
    return json.dumps({key: resolved[key] for key in keys}, sort_keys=True)


def test_all_groups_are_found() -> None:
    groups = {choice.partition("=")[0] for choice in choices()}
    assert {*GROUPS, "encoders/text", "encoders/image", "encoders/audio"} <= groups
    assert mixer_variants()
    assert objective_variants()


@pytest.mark.parametrize("choice", choices() + fusion_variants() + mixer_variants() + objective_variants())
def test_every_choice_is_certified(choice: str) -> None:
    failed = [f"{r.name}: {r.deviation:.1e} ({r.detail})" for r in certified(configured(choice)) if not r.passed]
    assert not failed, "\n".join(failed)


@pytest.mark.parametrize("name", objectives())
def test_every_objective_trains_and_resumes(name: str, tmp_path: Path) -> None:
    trains_and_resumes(tmp_path, lambda: objective_of(name))


@pytest.mark.parametrize("name", objectives())
def test_every_objective_accumulates(name: str) -> None:
    accumulates(lambda: objective_of(name))


def test_an_objective_with_parameters_of_its_own_keeps_the_contract(tmp_path: Path) -> None:
    trains_and_resumes(tmp_path, Probed)
    accumulates(Probed)


class Forgetful(NextToken):
    """Weighs batches by how many it has seen, which no checkpoint keeps."""

    seen = 0

    def terms(self, model: nn.Module, hidden_BLD: Tensor, batch: InterleavedBatch) -> LossTerms:
        self.seen += 1
        terms = super().terms(model, hidden_BLD, batch)
        return LossTerms(terms.sum * self.seen, terms.count)


def test_what_an_objective_forgets_is_found(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        trains_and_resumes(tmp_path, Forgetful)
    with pytest.raises(AssertionError, match=r"text\.weight"):
        accumulates(Forgetful)
