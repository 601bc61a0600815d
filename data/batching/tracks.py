"""Media that run at the same time as one segment: their tokens alternate in runs, by the time that they stand for.

Shape legend: T places in an item.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from torch import Tensor

from data.types import Layout, Modality


@dataclass(frozen=True)
class Track:
    """One medium of a segment, such as a frame or the sound of a film.

    values: what its encoder reads. layout: of its tokens. start: when it begins, in seconds. step: how many seconds a
    step of the first axis of its values lasts. Tokens without a time, as those of a picture, all stand at its start.
    """

    modality: Modality
    values: Tensor
    layout: Layout
    start: float = 0.0
    step: float = 1.0

    def __post_init__(self) -> None:
        if not self.step > 0:
            raise ValueError(f"step={self.step} must be above 0 seconds")

    @property
    def seconds(self) -> Tensor:
        """When each token lies in the segment, float64 [T]."""
        return self.start + self.step * self.layout.times.nan_to_num(0.0)


@dataclass(frozen=True)
class Run:
    """So many tokens of a track (its place in the segment) after one another."""

    track: int
    count: int


def alternate(tracks: Sequence[Track]) -> list[Run]:
    """The runs of a segment: all tokens by time, of equal times those of the earlier track first.

    Tokens of a track keep their order. Raises `ValueError` for two tracks of one modality that alternate: features of a
    modality are put in their places item by item.
    """
    tokens = [(second, number) for number, track in enumerate(tracks) for second in track.seconds.tolist()]
    runs = [Run(number, len(list(run))) for number, run in groupby(number for _, number in sorted(tokens))]
    for modality in {track.modality for track in tracks}:
        mine = [run.track for run in runs if tracks[run.track].modality == modality]
        if len(list(groupby(mine))) > len(set(mine)):
            raise ValueError(f"tracks of one modality must follow one another: those of {modality} alternate")
    return runs
