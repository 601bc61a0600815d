"""The groups of options that a command's page of help lists: those that its configuration uses."""

from __future__ import annotations

from typing import Any

import yaml
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig, OmegaConf

from scripts.choices import NONE

GLOBAL, OVERRIDE, SELF = "_global_", "override ", "_self_"


def offer_used_groups() -> None:
    """Makes `${used_groups:}` in a template of help the groups and choices of the command's configuration."""
    OmegaConf.register_new_resolver("used_groups", used_groups, replace=True)


def used_groups(*, _root_: DictConfig) -> str:
    """The part of the page that lists the groups with their choices; empty if there is none.

    A group is used if the configuration chooses from it, if it lies in a used one, or if a choice of a used one brings
    it along. A choice that sets options of the whole configuration, as an experiment does, counts where they exist.
    """
    found = _walk(_root_)
    lines = [f"{group}: {', '.join(sorted(choices))}" for group, choices in sorted(found.items()) if choices]
    several = "; several trackers with tracker=[trackio,wandb]" if "tracker" in found else ""
    heading = f"Groups and their choices (choose with group=choice{several}):"
    return "\n".join([heading, "", *lines, "", ""]) if lines else ""


def _walk(root: DictConfig) -> dict[str, list[str]]:
    hydra = HydraConfig.get()
    folders = ConfigSearchPathImpl()
    for source in hydra.runtime.config_sources:  # those of hydra.searchpath too
        folders.append(source.provider, f"{source.schema}://{source.path}")
    files = ConfigRepository(folders)
    left = [name.partition("@")[0] for name in hydra.runtime.choices] + _of_root(files, str(hydra.job.config_name))
    found: dict[str, list[str]] = {}
    while left:
        group = left.pop()
        if group in found or group.split("/")[0] == "hydra":
            continue
        found[group] = []
        left += [f"{group}/{name}" for name in files.get_group_options(group, ObjectType.GROUP)]
        for choice in files.get_group_options(group, ObjectType.CONFIG):
            if choice == NONE:  # which every group has, once somebody has chosen it
                continue
            file = _file(files, f"{group}/{choice}")
            if file is None or _fits(file, root):
                found[group].append(choice)
                left += _brought(file)
    return found


def _file(files: ConfigRepository, name: str) -> ConfigResult | None:
    """A file of a group; None for one that is broken, which is the user's to find."""
    for source in files.get_sources():
        if source.is_config(name):
            try:
                return source.load_config(name)
            except (yaml.YAMLError, OSError):
                return None
    return None


def _fits(file: ConfigResult, root: DictConfig) -> bool:
    if file.header.get("package") != GLOBAL or not isinstance(file.config, DictConfig):
        return True
    return set(file.config) - {"defaults"} <= set(root)  # a missing value is not `in` a DictConfig


def _of_root(files: ConfigRepository, name: str) -> list[str]:
    """The groups that a root names, also those of several choices, and those of the root that it extends."""
    file, groups = _file(files, name), list[str]()
    for entry in _defaults(file):
        if isinstance(entry, DictConfig):
            groups += [_group(key) for key in entry]
        elif "/" not in str(entry) and str(entry) != SELF:
            groups += _of_root(files, str(entry))
    return groups


def _brought(file: ConfigResult | None) -> list[str]:
    """The groups that the defaults of a choice name from the root."""
    keys = [
        str(key).removeprefix(OVERRIDE) for entry in _defaults(file) if isinstance(entry, DictConfig) for key in entry
    ]
    return [_group(key) for key in keys if key.startswith("/")]


def _defaults(file: ConfigResult | None) -> Any:
    return (file.config.get("defaults") if file is not None and isinstance(file.config, DictConfig) else None) or ()


def _group(key: Any) -> str:
    return str(key).removeprefix(OVERRIDE).removeprefix("/").partition("@")[0]
