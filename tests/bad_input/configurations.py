"""Options of every script with values, names and choices that nobody should have given."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, ListConfig, OmegaConf

from tests.bad_input.case import Case
from tests.bad_input.small import good_data, training

VALUES = (
    *("-1", "0", "1.5", "1e1", "abc", "null", "nan", "inf", "-inf", "1e400", "99999999999999999999", "true", "''"),
    *("[]", "[1,2]", "{}", "{a: 1}", "10s", "yes", "0x10", "1_000", "???", "../up", "'a b'", "'$x$'", "ключ", "🙂"),
    *("'${nowhere}'", "'\\ud800'", "x" * 300, "'[red]x[/red]'", "/dev/null", "."),
)
GROUPS = ("fusion", "mixer", "optimizer", "schedule", "projector", "objective", "evaluation", "data", "trainer")
CHOICES = ("null", "nothing", "7", "[]", "[early]", "''", "../early", "early.yaml", "{}")
OTHERS = {
    "evaluate": ("checkpoint=nowhere",),
    "generate": ("checkpoint=nowhere", "text=what"),
    "explain": ("checkpoint=nowhere", "text=what"),
    "compare": ("runs=nowhere",),
    "prepare_data": ("output=exported", "max_samples=1"),
}


def configurations(rng: np.random.Generator, number: int) -> Iterator[Case]:
    """Of five, three spoil a value of train.py, one a name or a choice, and one another script."""
    for place in range(number):
        kind = place % 5
        if kind < 3:
            yield wrong_value(rng)
        elif kind == 3:
            yield wrong_name(rng) if rng.random() < 0.5 else wrong_choice(rng)
        else:
            yield wrong_elsewhere(rng)


def wrong_value(rng: np.random.Generator) -> Case:
    """One option of train.py has another value; that of the evaluation where there is one."""
    name, value = drawn(rng, leaves("train")), drawn(rng, VALUES)
    option = f"{name}={value}"
    asks = ("data.evaluation=good/manifest.jsonl",) if name.startswith("evaluation") else ()
    return Case(
        f"train {option[:80]}",
        "train",
        lambda folder: training("good/manifest.jsonl", *asks, option),
        good_data,
        # The option, or what it belongs to; or who does not read the data any more.
        names=(name, name.rpartition(".")[2], name.rpartition(".")[0] or name, "is not read by", "d_model"),
    )


def wrong_name(rng: np.random.Generator) -> Case:
    """One letter of an option's name is another one, or an option is given that is not there."""
    name = drawn(rng, leaves("train"))
    place = int(rng.integers(len(name)))
    letter = drawn(rng, "abcxyz_.é")
    wrong = name[:place] + letter + name[place + 1 :]
    mark = drawn(rng, ("", "", "+", "~", "++"))
    return Case(
        f"train {mark}{wrong}=1",
        "train",
        lambda folder: training("good/manifest.jsonl", f"{mark}{wrong}=1"),
        good_data,
    )


def wrong_choice(rng: np.random.Generator) -> Case:
    """A group has a choice that does not exist."""
    group, choice = drawn(rng, GROUPS), drawn(rng, CHOICES)
    return Case(
        f"train {group}={choice}",
        "train",
        lambda folder: training("good/manifest.jsonl", f"{group}={choice}"),
        good_data,
        names=(group,),
    )


def wrong_elsewhere(rng: np.random.Generator) -> Case:
    """An option of another script has another value."""
    script = drawn(rng, tuple(OTHERS))
    option = f"{drawn(rng, leaves(script))}={drawn(rng, VALUES)}"
    given = {item.partition("=")[0]: item for item in (*OTHERS[script], option)}
    return Case(f"{script} {option[:80]}", script, lambda folder: list(given.values()))


@cache
def leaves(script: str) -> tuple[str, ...]:
    """Dotted names of the values of a script's configuration, those of data of one's own where it trains."""
    GlobalHydra.instance().clear()
    with initialize_config_module("conf", version_base="1.3"):
        overrides = ["data=manifest"] if script in ("train", "certify") else []
        config = compose(script, overrides)
    return tuple(sorted(_leaves(config)))


def _leaves(node: Any, prefix: str = "") -> Iterator[str]:
    for key in node:
        name = f"{prefix}{key}"
        plain = OmegaConf.is_missing(node, key) or OmegaConf.is_interpolation(node, key)
        child = None if plain else node[key]
        if isinstance(child, DictConfig) and child:
            yield from _leaves(child, f"{name}.")
        elif not isinstance(child, ListConfig) and not str(key).startswith("_"):
            yield name


def drawn(rng: np.random.Generator, among: Any) -> Any:
    """One of several."""
    return among[int(rng.integers(len(among)))]
