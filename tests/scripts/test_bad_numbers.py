"""Every number of a configuration, replaced by bad ones: it is used, or refused in one line that names it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf, open_dict

from data.build import build_processors
from data.instantiate import instantiate, resolved
from data.types import BadInputError
from fusion.build import build_model
from scripts.checked import checked
from training.preparation.setup import build_schedule

SMALL = ["d_model=32", "fusion.num_layers=1", "tracker=[]"]
COMBINATIONS = [
    [],
    [
        "fusion=cross_attention",
        "projector=qformer",
        "optimizer=adamw",
        "schedule=cosine",
        "shared_space=linear",
        "objective=next_token_infonce",
        "+evaluation/robustness=standard",
        "+evaluation/attribution=standard",
    ],
    ["fusion=bottleneck", "projector=perceiver_resampler", "encoders/image=transformers"],
    ["fusion=concat", "data=emoji", "evaluation=retrieval", "shared_space=ridge_residual"],
]
WRONG_TYPES = ["abc", "", True, {}, float("nan"), float("inf"), 1.5]
WRONG_SIZES = [-1, 0, 1e12, -1e12]
# Sources read data; they have tests of their own.
SOURCES = ("sources", "validation", "tasks", "prior", "ridge")
MODEL = ("d_model", "encoders", "projector", "mixer", "position", "feed_forward", "fusion", "shared_space")


class Questions:
    def __len__(self) -> int:
        return 1


def composed(overrides: Sequence[str]) -> DictConfig:
    with initialize_config_module("conf", version_base="1.3"):
        return compose("train", [*SMALL, *overrides])


def numbers(node: DictConfig, place: str = "") -> Iterator[tuple[str, Any]]:
    """Every number and list of numbers that stands in a configuration, and is not read from elsewhere in it."""
    for name in node:
        here = f"{place}.{name}" if place else str(name)
        if name in SOURCES or OmegaConf.is_missing(node, name) or OmegaConf.is_interpolation(node, name):
            continue
        if isinstance(node[name], DictConfig):
            yield from numbers(node[name], here)
        elif is_number(node[name]) or (OmegaConf.is_list(node[name]) and all(map(is_number, node[name]))):
            yield here, node[name]


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def use(config: DictConfig, place: str) -> None:
    """Makes what the option is part of, as a training does."""
    part = place.partition(".")[0]
    if part in MODEL:
        build_model(config, 300)
    elif part == "optimizer":
        instantiate(config.optimizer, "optimizer")(torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.LayerNorm(4)))
    elif part == "schedule":
        build_schedule(config.schedule, 100)
    elif place.startswith("data.processors"):
        build_processors(config.data)
    elif part == "evaluation":
        content = {name: value for name, value in resolved(config.evaluation, part).items() if name not in SOURCES}
        instantiate(content, part, tasks={"task": Questions()})
    elif part in ("trainer", "objective"):
        instantiate(config[part], part)


def outcome(config: DictConfig, place: str, value: Any) -> str | None:
    """What is wrong with how a value is taken; None: it is used, or refused in one line that names option and value."""
    config = config.copy()
    with open_dict(config):
        OmegaConf.update(config, place, value, merge=False)
    try:
        use(checked(config, "train"), place)
    except BadInputError as error:
        name = "architecture" if ".architecture." in place else place.rpartition(".")[2]
        named = name in str(error) and "\n" not in str(error)
        return None if named else f"{place}={value!r} is refused as: {error}"
    except Exception as error:
        return f"{place}={value!r} ends in {type(error).__name__}: {error}"
    return None


@pytest.mark.parametrize("overrides", COMBINATIONS, ids=lambda overrides: overrides[0] if overrides else "default")
@pytest.mark.filterwarnings("ignore")  # torch warns of empty layers, torchaudio of empty filters
def test_a_bad_number_is_used_or_refused_in_one_line(overrides: list[str]) -> None:
    base, config = dict(numbers(composed([]))), composed(overrides)
    faults = []
    for place, value in numbers(config):
        if overrides and base.get(place) == value:
            continue  # asked once
        values = [[item] * len(value) for item in WRONG_SIZES] if OmegaConf.is_list(value) else WRONG_SIZES
        faults += [outcome(config, place, item) for item in chain(values, [[None], 7])]
    assert not (found := [fault for fault in faults if fault]), "\n".join(found)


def test_a_value_of_another_type_is_converted_or_refused_in_one_line() -> None:
    config, faults = composed([]), []
    for place, _ in numbers(config):
        for value in WRONG_TYPES:
            changed = config.copy()
            with open_dict(changed):
                OmegaConf.update(changed, place, value, merge=False)
            try:
                found = OmegaConf.select(checked(changed, "train"), place)
                if not is_number(found) or found != value:
                    faults.append(f"{place}={value!r} becomes {found!r}")
            except BadInputError as error:
                if not str(error).startswith(f"{place}="):
                    faults.append(f"{place}={value!r}: {error}")
    assert not faults, "\n".join(faults)
