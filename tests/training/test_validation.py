"""A validation that fails leaves the model as it was."""

from pathlib import Path

import pytest
from torch import nn

from tests.training.tiny import tiny_trainer


def test_training_goes_on_in_its_mode_after_an_error(tmp_path: Path) -> None:
    seen = []

    def fails(model: nn.Module, step: int) -> dict[str, float]:
        seen.append(model.training)
        raise RuntimeError("out of memory")

    trainer = tiny_trainer(tmp_path, evaluate=fails)
    with pytest.raises(RuntimeError, match="out of memory"):
        trainer.validation(1, None)
    assert seen == [False]
    assert all(module.training for module in trainer.model.modules())
