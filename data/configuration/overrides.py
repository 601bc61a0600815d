"""Overrides of Hydra's command line: how values are written in them, and what is composed of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Quote, QuotedString
from omegaconf import DictConfig

# The options for files of one's own; their values are taken literally on a command line.
MANIFESTS = ("data.train", "data.validation_file", "data.evaluation")
# What OmegaConf would take for a reference to another option, with the backslashes before it.
REFERENCE = re.compile(r"(\\*)\$\{")


def quoted(value: str) -> str:
    """A value of an override that is read as exactly this string, whatever it holds."""
    literal = REFERENCE.sub(lambda found: found[1] * 2 + r"\${", value)
    return QuotedString(literal, Quote.single).with_quotes()


@contextmanager
def composing() -> Iterator[None]:
    """In the block Hydra composes from `conf/`; the state of a command that is running is left alone."""
    running = GlobalHydra.instance().hydra
    GlobalHydra.instance().hydra = None
    try:
        with initialize_config_module("conf", version_base="1.3"):
            yield
    finally:
        GlobalHydra.instance().hydra = running


def composed(name: str, overrides: Sequence[str] = ()) -> DictConfig:
    """The configuration `name` with its interpolations unresolved; that of a command which is running is left alone.

    Raises what Hydra and OmegaConf raise for what they cannot compose.
    """
    with composing():
        return compose(name, list(overrides))
