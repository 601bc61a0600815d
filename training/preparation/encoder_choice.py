"""Which encoders a training has: those that were chosen, and of those that follow the data the ones that it needs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from copy import deepcopy
from typing import Any

from omegaconf import DictConfig, OmegaConf, flag_override

from data.batching.without import removed_modalities
from data.build import Sources
from data.instantiate import instantiate_source, is_given, resolved
from data.sources.base import Source
from data.types import TEXT, Modality
from fusion.build import IF_HELD


def follow_data(config: DictConfig, sources: Sources, validation: Mapping[str, Source]) -> tuple[DictConfig, str]:
    """The configuration with the encoders that the data need, and one line about it; "" where nothing was to decide.

    An encoder with `if_held: true` in its node stays where the training, the validation or the evaluation holds its
    media, or has a source that does not say what it holds. Elsewhere it is left out. One without is an explicit choice
    and stays. Of media that `data.without` removes there is no encoder, chosen or not. Processors of media that have no
    encoder go too.
    """
    config = deepcopy(config)
    nodes = {str(name): node for name, node in config.encoders.items() if name != TEXT and node is not None}
    removed = removed_modalities(config.data)
    follow = [
        name for name, node in nodes.items() if name in removed or (OmegaConf.is_dict(node) and node.get(IF_HELD))
    ]
    needed = _held([*(source for source, _ in sources.values()), *validation.values()], follow)
    if set(follow) - needed - set(removed):
        needed |= _held(_evaluated(config), follow)
    needed -= set(removed)
    with flag_override(config, ["struct", "readonly"], False):
        for name in nodes:
            if name in follow and name not in needed:
                del config.encoders[name]
            elif OmegaConf.is_dict(nodes[name]):
                config.encoders[name].pop(IF_HELD, None)
        for name in list(config.data.get("processors") or ()):
            if config.encoders.get(name) is None:
                del config.data.processors[name]
    return config, _line(nodes, follow, needed)


def _held(sources: Iterable[Any], modalities: Collection[Modality]) -> set[Modality]:
    """Those of some modalities that sources hold; all of them if one does not say what it holds."""
    found: set[Modality] = set()
    for source in sources:
        found |= set(modalities) & set(getattr(source, "modalities", modalities))
    return found


def _evaluated(config: DictConfig) -> Iterable[Any]:
    """What the evaluation after the training will ask."""
    tasks = (resolved(config.get("evaluation"), "evaluation") or {}).get("tasks") or {}
    for name, entry in tasks.items():
        source = instantiate_source(entry, f"evaluation.tasks.{name}") if is_given(entry) else None
        if source is not None:
            yield source


def _line(nodes: Mapping[Modality, Any], follow: Collection[Modality], needed: Collection[Modality]) -> str:
    if not follow:
        return ""
    taken = [f"{name} ({str(nodes[name].get('_target_')).rpartition('.')[2]})" for name in follow if name in needed]
    left = [name for name in follow if name not in needed]
    parts = [", ".join(taken) or "none", *([f"not {' nor '.join(left)}, of which no source holds any"] if left else [])]
    return f"encoders that follow from the data: {'; '.join(parts)}"
