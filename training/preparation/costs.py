"""What a training costs, as a run's summary says it."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig
from torch import nn

from data.batching.loader import BatchStream
from data.instantiate import completed, instantiate
from fusion.cost.active import active_parameters
from fusion.cost.counting import parameter_counts, sample_flops, trainable_parameters
from fusion.model import FusionModel
from training.balance.base import Balance


def costs(
    config: DictConfig, model: FusionModel, stream: BatchStream, objective: nn.Module, balance: Balance
) -> dict[str, Any]:
    """Parameters, and operations of a training sample: forward alone (inference), and all that training does for it.

    Both by part. An update of the optimizer is shared by its samples. Parameters of the objective, which are dropped
    after the training, are counted apart, and its operations not at all. Passes that `balance` adds are counted.
    """
    parameters = {f"parameters/{name}": count for name, count in parameter_counts(model).items()}
    samples = stream.samples_per_batch * config.trainer.get("accumulation_steps", 1)
    with completed(config.optimizer, "optimizer"):
        optimizer = instantiate(config.optimizer, "optimizer")(model).flops() / samples
    batch = stream[0]
    found, added = sample_flops(model, batch), balance.flops(model, batch)
    flops = {"flops/inference": found.inference, "flops/training": found.training + optimizer + added}
    flops |= {f"flops/inference/{name}": forward for name, forward in found.forward.items()}
    flops |= {f"flops/training/{name}": both for name, both in found.training_parts.items()}
    used = {"parameters/active": active_parameters(model), "parameters/trainable": trainable_parameters(model)}
    if own := trainable_parameters(objective):
        used["parameters/objective"] = own
    if added:
        flops["flops/training/balance"] = added
    return {**parameters, **used, **flops, "flops/training/optimizer": optimizer}
