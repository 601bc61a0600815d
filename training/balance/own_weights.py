"""Which weights belong to one modality alone."""

from __future__ import annotations

from torch import nn

from data.types import Modality
from fusion.block import ModalityBlock
from fusion.model import FusionModel


def own_weights(model: FusionModel, modality: Modality) -> dict[str, nn.Parameter]:
    """The trainable weights of a medium, by their names in the model.

    They are those of its encoder and projector, and its part of every block with weights per modality. Rows of tables
    that it shares with others (modality embedding, learned tokens of absent media) are not among them. Nothing without
    this medium reads its own weights. `BottleneckFusion` with weights per modality is an exception: there bottleneck
    tokens of other media pass the layers of each medium, too.
    """
    prefixes = [f"media_encoders.{modality}."]
    number = model.modalities.index(modality)
    for name, module in model.named_modules():
        if isinstance(module, ModalityBlock):
            # A stream of media alone has no block for text, which is the first modality.
            first = len(model.modalities) - len(module.experts)
            prefixes.append(f"{name}.experts.{number - first}.")
    named = ((name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad)
    return {name: parameter for name, parameter in named if name.startswith(tuple(prefixes))}
