"""The choices of the configuration: what a command line chose, and another one composed beside it."""

from __future__ import annotations

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig


def choice(group: str) -> str:
    """What was chosen of a group, for messages: "evaluation=easy_vqa"."""
    if not HydraConfig.initialized():  # a script that was called as a function
        return f"the chosen {group}"
    return f"{group}={HydraConfig.get().runtime.choices.get(group)}"


def composed(name: str) -> DictConfig:
    """Choice `name` of the group `evaluation` as it would stand in a configuration, interpolations unresolved."""
    outer = GlobalHydra.instance().hydra  # that of the script which is running
    GlobalHydra.instance().hydra = None
    try:
        with initialize_config_module("conf", version_base="1.3"):
            return compose(f"evaluation/{name}").evaluation
    finally:
        GlobalHydra.instance().hydra = outer
