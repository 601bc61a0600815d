"""Every kind of fine-tuning, found by listing the folder, is certified on an encoder from a library."""

from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_module

import conf
from certify.checks.encoder_checks import (
    absent_joins_the_graph,
    encoder_parameters_learn,
    items_are_independent,
    tokens_are_counted,
)
from certify.checks.training_checks import trains_without_a_modality
from certify.suite import make_context, run

KINDS = sorted(path.stem for path in (Path(str(conf.__file__)).parent / "fine_tuning").glob("*.yaml"))
CHECKS = (
    items_are_independent,
    tokens_are_counted,
    encoder_parameters_learn,
    absent_joins_the_graph,
    trains_without_a_modality,
)


def test_the_kinds_are_found() -> None:
    assert set(KINDS) == {"frozen", "full", "lora", "partial"}


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_certified(kind: str, optimizer: str) -> None:
    torch.set_num_threads(1)
    choices = ["encoders/image=timm", f"fine_tuning@encoders.image.fine_tuning={kind}", f"optimizer={optimizer}"]
    with initialize_config_module("conf", version_base="1.3"):
        config = compose("train", overrides=[*choices, "d_model=32", "fusion.num_layers=1"])
    context = make_context(config)
    failed = [f"{result.name}: {result.detail}" for result in run(context, CHECKS) if not result.passed]
    assert not failed, "\n".join(failed)
    trained = [name for name, p in context.model.media_encoders["image"].encoder.named_parameters() if p.requires_grad]
    assert bool(trained) == (kind != "frozen")
