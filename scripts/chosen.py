"""The choices of the configuration that a command line made."""

from __future__ import annotations

from hydra.core.hydra_config import HydraConfig


def choice(group: str) -> str:
    """What was chosen of a group, for messages: "evaluation=easy_vqa"."""
    if not HydraConfig.initialized():  # a script that was called as a function
        return f"the chosen {group}"
    return f"{group}={HydraConfig.get().runtime.choices.get(group)}"
