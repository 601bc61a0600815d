"""Choices of groups that read like values: `tracker=null` is none of them, and `fusion=7` a name that is not there.

And lists of choices: Hydra lays several over one another, which is nonsense for parts that each name a class.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path

from hydra.core.config_store import ConfigStore

from scripts.arguments import ArgumentError

NONE = "null"
# What Hydra reads as null, a number, true or false, where only a name can be a choice.
VALUE = re.compile(r"null|true|false|[+-]?[\d.][\d._]*(e[+-]?\d+)?|[+-]?inf|nan", re.IGNORECASE)

# A list of two choices or more.
SEVERAL = re.compile(r"\[(\s*[\w/-]+\s*(,\s*[\w/-]+\s*)+)\]")
# What a file of a group begins with, after comments, if all of it describes one part.
ONE_PART = re.compile(r"(\s*(#(?! *@package).*)?\n)*_target_:")


def refuse_merged(arguments: Sequence[str], folder: Path) -> None:
    """Raises `ArgumentError` for several choices of a group, if one would take the place of the others in silence.

    `folder` holds the groups. Choices that lie side by side, such as trackers, may be several.
    """
    for argument in arguments:
        name, _, value = argument.partition("=")
        group, several = name.lstrip("+"), SEVERAL.fullmatch(value)
        files = [folder / group / f"{choice.strip()}.yaml" for choice in several[1].split(",")] if several else []
        if sum(file.is_file() and bool(ONE_PART.match(file.read_text(encoding="utf-8"))) for file in files) > 1:
            hint = "; a list over layers is a value: fusion.mixer='[{_target_: ..}, ..]'" if group == "mixer" else ""
            raise ArgumentError(f"{argument}: must be one choice, for the last would replace the others{hint}")


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
