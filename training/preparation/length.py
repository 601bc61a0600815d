"""How many updates a training makes, where its configuration does not say it in steps."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping

from omegaconf import DictConfig

from data.sources.base import Source

# What a training gets that asks for no length: so many passes over its samples, but within these limits. A model that
# begins with random weights learns little from less, and more takes longer than a first attempt should.
DEFAULT_EPOCHS, FEWEST_STEPS, MOST_STEPS = 30, 300, 3000


def with_length(
    config: DictConfig, sources: Mapping[str, tuple[Source, float]], resumed: bool = False
) -> tuple[DictConfig, str]:
    """The configuration with the number of updates in `trainer.max_steps`, and a line that says where it comes from.

    An epoch is as many samples as all sources hold together. So `trainer.max_epochs` is reached after
    `max_epochs * samples / (samples_per_batch * accumulation_steps)` updates, rounded up. It ends the training, or
    `max_steps` does, if that comes first. Without either it is as long as its samples need: `DEFAULT_EPOCHS` epochs,
    but at least `FEWEST_STEPS` and at most `MOST_STEPS`. An empty line where the configuration says the number. A run
    that is resumed has its number of steps from the configuration that it has left.
    """
    trainer = config.trainer
    if resumed and trainer.max_steps is not None:
        return config, ""
    num_samples = sum(len(source) for source, _ in sources.values())
    a_step = config.data.samples_per_batch * trainer.accumulation_steps
    epochs = trainer.get("max_epochs")
    if epochs is not None:
        wanted = max(math.ceil(epochs * num_samples / a_step), 1)
        reason = f"trainer.max_epochs={epochs:g}"
        if trainer.max_steps is not None and trainer.max_steps <= wanted:
            wanted, reason = trainer.max_steps, f"before trainer.max_epochs={epochs:g}"
    elif trainer.max_steps is None:
        wanted = min(max(math.ceil(DEFAULT_EPOCHS * num_samples / a_step), FEWEST_STEPS), MOST_STEPS)
        reason = "chosen; trainer.max_steps=N or trainer.max_epochs=N is another length"
    else:
        return config, ""
    config = copy.deepcopy(config)
    config.trainer.max_steps = wanted
    passes = wanted * a_step / num_samples
    return config, f"trainer.max_steps={wanted} ({reason}): {num_samples:,} samples are seen {passes:.3g} times"
