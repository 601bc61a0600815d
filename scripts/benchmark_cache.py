"""Time training with frozen encoders live and from the cache."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # before a `scripts` that lies on PYTHONPATH

from data.configuration.overrides import MANIFESTS
from scripts.entry import entry_point

if TYPE_CHECKING:
    from omegaconf import DictConfig


@entry_point("benchmark_cache", paths=MANIFESTS)
def main(config: DictConfig) -> None:
    """Prints seconds per step of both, their ratio, and how far the losses differ."""
    import torch

    from data.device import cores
    from data.types import BadInputError
    from training.preparation.cache_benchmark import compare

    if not any(node is not None and node.get("cache") for node in config.encoders.values()):
        raise BadInputError("no encoder has cache=true; try experiment=easy_vqa_pretrained")
    torch.set_num_threads(config.compute_threads or cores())
    live, cached = compare(config, config.steps)
    largest = max(abs(a - b) for a, b in zip(live.losses, cached.losses, strict=True))
    print(f"live         {live.step_seconds:8.3f} s a step")
    print(
        f"from cache   {cached.step_seconds:8.3f} s a step, {live.step_seconds / cached.step_seconds:.2f} times as fast"
    )
    print(f"filling or opening the cache took {cached.fill_seconds:.1f} s, once")
    print(f"largest difference of the {len(live.losses)} losses: {largest:.1e}")


if __name__ == "__main__":
    main()
