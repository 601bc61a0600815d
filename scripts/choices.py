"""Choices of groups that read like values: `tracker=null` is none of them, and `fusion=7` a name that is not there."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from hydra.core.config_store import ConfigStore

NONE = "null"
# What Hydra reads as null, a number, true or false, where only a name can be a choice.
VALUE = re.compile(r"null|true|false|[+-]?[\d.][\d._]*(e[+-]?\d+)?|[+-]?inf|nan", re.IGNORECASE)


def named_choices(arguments: Sequence[str], groups: Collection[str]) -> list[str]:
    """The same arguments, with the choice of a group in quotes if it reads like a value.

    `GROUP=null` chooses an empty configuration then: whatever the group describes is absent.
    """
    return [_named(argument, groups) for argument in arguments]


def _named(argument: str, groups: Collection[str]) -> str:
    name, equals, choice = argument.partition("=")
    if not equals or name.lstrip("+").partition("@")[0] not in groups or not VALUE.fullmatch(choice):
        return argument
    if choice.lower() == NONE:
        for group in groups:  # all of them, for one group may follow the choice of another
            ConfigStore.instance().store(name=NONE, group=group, node={}, package="_global_")
    return f"{name}='{choice.lower() if choice.lower() == NONE else choice}'"
