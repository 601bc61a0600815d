"""What a family of synthetic voices must say and do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from data.types import NotInstalledError

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class ClipSpec:
    """What is said, and how: the family of synthesisers, its voice and its settings."""

    text: str
    family: str
    voice: str
    settings: Mapping[str, float] = field(default_factory=dict)


class Synthesiser(ABC):
    """One family of voices. Its engine is loaded when the first clip is rendered, not before.

    family: its name, which reports give. takes: clips of a sentence and voice for each clip that a bank asks for,
    so that a family of few voices can have more of each. edition: another number where the same `ClipSpec` sounds
    otherwise than it did, so that clips in a cache are rendered anew.
    """

    family: str
    takes: int = 1
    edition: int = 1

    @abstractmethod
    def check_installed(self) -> None:
        """Raises `NotInstalledError`, with the command that installs it, if the family cannot be rendered here."""

    @abstractmethod
    def voices(self, split: str) -> list[str]:
        """Its voices of a split; no voice is in two of them, and no close relative of one is. May be empty."""

    @abstractmethod
    def draw(self, text: str, voice: str, rng: np.random.Generator) -> ClipSpec:
        """How a voice says a sentence this time: accent, rate, pitch or whatever the engine lets one choose."""

    @abstractmethod
    def say(self, spec: ClipSpec) -> tuple[np.ndarray, int]:
        """Samples, float32 [S] in [-1, 1], and their rate; several threads may call it.

        Raises `BadInputError` for a voice that does not exist.
        """

    def installed(self) -> bool:
        """Whether the family can be rendered here."""
        try:
            self.check_installed()
        except NotInstalledError:
            return False
        return True


def check_split(split: str) -> None:
    """Raises `ValueError` for a split that is none."""
    if split not in SPLITS:
        raise ValueError(f"split={split!r} must be one of {', '.join(SPLITS)}")
