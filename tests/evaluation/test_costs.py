"""What the training of a sample took, from the summary of its run."""

from pathlib import Path

import pytest

from evaluation.costs import training_flops


@pytest.mark.parametrize(
    ("summary", "expected"),
    [
        ('{"flops/training": 3e8, "flops/inference": 1e8}', 3e8),
        ('{"flops_per_training_sample": 1e8}', None),  # an older run, which counted the forward pass alone
        ("[]", None),
        ("{", None),
        (None, None),
    ],
)
def test_operations_of_the_training_are_those_of_its_run(
    summary: str | None, expected: float | None, tmp_path: Path
) -> None:
    if summary is not None:
        (tmp_path / "summary.json").write_text(summary, encoding="utf-8")
    assert training_flops(tmp_path) == expected
