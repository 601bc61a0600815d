"""What prepares the media of an encoder follows from the encoder, but for what the configuration says of it."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from omegaconf import DictConfig, flag_override

from data.instantiate import resolved
from data.types import Modality
from fusion.model import FusionModel

# Makes spectrograms, for encoders that are trained on them; one that expects something else cannot read them.
SPECTROGRAMS = "data.media.audio.AudioProcessor"
# Options that an encoder may state: null means what it says, or the processor's own default.
STATED = ("size", "mean", "std", "sample_rate", "normalise", "model")
# Options that are limits of the data, whatever prepares them.
LIMITS = ("max_seconds",)
# A difference of means and deviations below this is one of rounding.
ROUNDING = 1e-3
Node = dict[str, Any]


def follow_encoders(config: DictConfig, model: FusionModel) -> tuple[DictConfig, list[str]]:
    """The configuration with every processor completed by what its encoder expects, and warnings where they differ.

    Options that are null, or not given, are the encoder's. The whole processor is the encoder's, too, where there is
    none, and where it makes spectrograms that the encoder cannot read.
    """
    config, warnings = deepcopy(config), list[str]()
    with flag_override(config, ["struct", "readonly"], False):
        if config.data.get("processors") is None:
            config.data.processors = {}
        for name in model.modalities[1:]:
            encoder: Any = model.media_encoders[name].encoder
            given = resolved(config.data.processors.get(name), f"data.processors.{name}") or {}
            expected = encoder.preprocessing()
            if node := completed(given, expected):
                config.data.processors[name] = node
            if encoder.is_pretrained:
                warnings += differences(name, node, expected)
    return config, warnings


def completed(given: Node, expected: Node) -> Node:
    """The node of a processor: what is given, and for the rest what an encoder expects.

    One of another class than the encoder's stays as it is, unless it makes spectrograms.
    """
    expected = {name: value for name, value in expected.items() if value is not None}
    if expected and given.get("_target_") == SPECTROGRAMS != expected["_target_"]:
        given = {name: value for name, value in given.items() if name in LIMITS}
    told = {name: value for name, value in given.items() if value is not None or name not in STATED}
    of_its_own = "_target_" in told and told["_target_"] != expected.get("_target_")
    return told if of_its_own else {**expected, **told}


def differences(name: Modality, node: Node, expected: Node) -> list[str]:
    """A warning for each option that gives weights something else than they were trained with."""
    if node.get("_target_") != expected.get("_target_"):
        return []
    return [
        f"warning: data.processors.{name}.{option}={node[option]} is not what the weights of encoders.{name} were "
        f"trained with, {value}; null follows the encoder"
        for option, value in expected.items()
        if value is not None and not _equal(node[option], value)
    ]


def _equal(given: Any, expected: Any) -> bool:
    if isinstance(given, list) and isinstance(expected, list) and len(given) == len(expected):
        return all(abs(a - b) < ROUNDING for a, b in zip(given, expected, strict=True))
    return bool(given == expected)
