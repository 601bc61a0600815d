import pytest

from training.steps.accumulation import StepTotals
from training.steps.window import Window


def test_the_loss_is_split_by_source_by_modality_and_by_both() -> None:
    groups = {"a/x/text": (6.0, 3), "a/x/audio": (8.0, 2), "b/text": (1.0, 1)}
    window = Window()
    window.add(StepTotals(15.0, 6, 10, 12, 0, (), groups), seconds=1.0, data_seconds=0.1, accepted=True)
    window.add(StepTotals(99.0, 1, 10, 12, 0, (), {"b/text": (99.0, 1)}), seconds=1.0, data_seconds=0.1, accepted=False)
    losses = {name: value for name, value in window.metrics().items() if name.startswith("train/loss")}
    assert losses == pytest.approx(
        {
            "train/loss": 15 / 6,
            "train/loss/a/x/text": 2.0,
            "train/loss/a/x/audio": 4.0,
            "train/loss/b/text": 1.0,
            "train/loss_by_source/a/x": 14 / 5,
            "train/loss_by_source/b": 1.0,
            "train/loss_by_modality/text": 7 / 4,
            "train/loss_by_modality/audio": 4.0,
        }
    )


def test_a_group_without_terms_has_no_mean() -> None:
    window = Window()
    window.add(StepTotals(6.0, 3, 10, 12, 0, (), {"a/text": (6.0, 3), "rate/error": (0.0, 0)}), 1.0, 0.1, accepted=True)
    assert {name for name in window.metrics() if name.startswith("train/loss/")} == {"train/loss/a/text"}
