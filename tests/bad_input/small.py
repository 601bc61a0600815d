"""The smallest training that works, which every bad input spoils in one place."""

from __future__ import annotations

from pathlib import Path

from certify.small_data import write_small_data

# Both limits, so that whichever is spoiled, the other one ends the training.
SMALL = (
    "data=manifest",
    "d_model=16",
    "mixer.num_heads=2",
    "mixer.num_kv_heads=2",
    "fusion.num_layers=1",
    "optimizer=adamw",
    "trainer.max_steps=1",
    "trainer.max_seconds=2",
    "trainer.device=cpu",
    "data.samples_per_batch=4",
    "data.tokenizer.vocab_size=300",
    "data.num_workers=0",
    "compute_threads=1",
    "tracker=[]",
    "runs=runs",
    "run=small",
)


def good_data(folder: Path) -> Path:
    """`folder/good/manifest.jsonl`: conversations about pictures and sounds."""
    return write_small_data(folder / "good", ("text", "audio", "image"), num_samples=8)


def training(train: str | Path, *options: str) -> list[str]:
    """Arguments of train.py; a later option wins over an earlier one of the same name."""
    given = [*SMALL, f"data.train={train}", *options]
    last = {option.partition("=")[0].lstrip("+~"): option for option in given}
    return list(last.values())
