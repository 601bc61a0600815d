"""Questions about a handwritten and a spoken digit: what is trained on, and what is asked.

A sample is: user [picture, sound, text], assistant [answer]. Text comes last, since it decides what to look for: in a
causal stack only what comes later sees both the media and the question, and the answer follows it. The media come
first in the same order everywhere, so that no method is told more by the order than another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from data.media.speech import ESPEAK
from data.randomness import generator
from data.sources.interactions.digits import pictures
from data.sources.interactions.information import table
from data.sources.interactions.kinds import KINDS, Case, check_kind, dealt, texts
from data.sources.interactions.spoken import rendered, voices
from data.types import AUDIO, IMAGE, Absent, Media, Message, Modality, Sample, Segment, Text

SOURCE = "interactions"
# Samples of an epoch; every case of every kind is in it as often as its share says, exactly.
EPOCH = 1800
# Of every digit and voice.
CLIPS_PER_VOICE = 4


class _Exhibits:
    """Pictures and voices of one split: makes the sample of a case."""

    def __init__(
        self, split: str, clips_per_voice: int, families: Mapping[str, float], recordings: str | Path | None
    ) -> None:
        self.split = split
        self.pictures = pictures(split)
        self.voices = voices(split, clips_per_voice, families, recordings)

    def sample(self, name: str, kind: str, case: Case, rng: np.random.Generator) -> Sample:
        """The case with a picture and a clip that `rng` draws."""
        looks, sounds = rng.spawn(2)
        metadata = {"kind": kind, "question": case.text, **_stated(kind, case)}
        shown: list[Segment] = []
        if case.picture is None:
            shown.append(Absent(IMAGE))
        else:
            found = self.pictures[case.picture]
            picture = found[int(looks.integers(len(found)))]
            shown.append(picture.media)
            metadata |= {"image": str(picture.number), "picture": str(case.picture), "writer": str(picture.writer)}
        if case.sound is None:
            shown.append(Absent(AUDIO))
        else:
            clip, told = self.voices.draw(case.sound, sounds)
            shown.append(clip)
            metadata |= {"sound": str(case.sound), **told}
        messages = (Message("user", (*shown, Text(case.text))), Message("assistant", (Text(case.answer),)))
        origin = f"{SOURCE}/{self.split} {kind} {name}"
        return Sample(name, messages, source=f"{SOURCE}/{kind}", origin=origin, metadata=metadata)


def _stated(kind: str, case: Case) -> dict[str, str]:
    """Which modalities say the same, or what each says where they contradict each other.

    `evaluation.agreement` reads it.
    """
    if kind == "redundant":
        return {"carrier": f"{IMAGE}+{AUDIO}"}
    if kind == "conflict":
        return {f"says_{IMAGE}": str(case.picture), f"says_{AUDIO}": str(case.sound)}
    return {}


class Interactions:
    """Training samples of one kind. An epoch has every case as often as its share says; who wrote it and who says it
    are drawn anew each time.

    kind: see `data.sources.interactions.kinds.cases`. clips_per_voice, families: see `data.media.speech.mixed_bank`.
    recordings: a manifest of real recordings in place of synthetic voices (see `data.sources.interactions.spoken`).
    """

    modalities: frozenset[Modality] = frozenset({IMAGE, AUDIO})

    def __init__(
        self,
        kind: str,
        split: str = "train",
        clips_per_voice: int = CLIPS_PER_VOICE,
        families: Mapping[str, float] | None = None,
        recordings: str | Path | None = None,
    ) -> None:
        check_kind(kind)
        if split == "test":
            raise ValueError("split='test' must not be trained on; choose train or validation")
        self.kind, self.split = kind, split
        self._cases = dealt(kind, EPOCH)
        self._exhibits = _Exhibits(split, clips_per_voice, families or {ESPEAK: 1.0}, recordings)
        self.stores = self._exhibits.voices.stores

    def __len__(self) -> int:
        return EPOCH

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """Case `index`; `rng` draws the picture and the clip."""
        return self._exhibits.sample(str(index), self.kind, self._cases[index], rng)

    def texts(self) -> Iterable[str]:
        """Questions and answers of every kind, so that a mixture without one has the same tokenizer."""
        return texts(KINDS)


class InteractionQuestions:
    """`max_samples` fixed questions of one kind, for evaluation; every answer is as frequent as every other.

    kind: None asks of all in equal shares, rounded up. family: of the synthesisers that speak. recordings: see
    `Interactions`.
    """

    modalities: frozenset[Modality] = frozenset({IMAGE, AUDIO})

    def __init__(
        self,
        kind: str | None,
        split: str,
        max_samples: int = 360,
        family: str = ESPEAK,
        recordings: str | Path | None = None,
    ) -> None:
        if max_samples < 1:
            raise ValueError(f"max_samples={max_samples} must be 1 or more")
        if kind is not None:
            check_kind(kind)
        self.split, self._kinds = split, list(KINDS) if kind is None else [kind]
        exhibits = _Exhibits(split, CLIPS_PER_VOICE, {family: 1.0}, recordings)
        per_kind = -(-max_samples // len(self._kinds))
        self._samples = [sample for name in self._kinds for sample in _asked(name, exhibits, per_kind)]
        if split != "train":  # the training makes its own, and counting its answers needs none
            segments = [item for sample in self._samples for item in sample.messages[0].content]
            rendered([item for item in segments if isinstance(item, Media)])

    def __len__(self) -> int:
        return len(self._samples)

    def sample(self, index: int, rng: np.random.Generator | None = None) -> Sample:
        """Question `index`, the same on every call."""
        return self._samples[index]

    def texts(self) -> Iterable[str]:
        """Questions and answers."""
        return texts(self._kinds)


def _asked(kind: str, exhibits: _Exhibits, count: int) -> list[Sample]:
    """`count` questions of a kind in a fixed order, each with a picture and a clip of its own draw."""
    split = exhibits.split
    found = dealt(kind, count, generator(0, "interactions cases", kind, split))
    order = generator(0, "interactions order", kind, split).permutation(count)
    draws = (generator(0, "interactions question", kind, split, number) for number in range(count))
    return [
        exhibits.sample(f"{kind}-{number}", kind, found[place], rng)
        for number, (place, rng) in enumerate(zip(order, draws, strict=True))
    ]


class InteractionKinds(dict[str, InteractionQuestions]):
    """Questions of every kind in one split, by kind, to be exported. Options are those of `InteractionQuestions`."""

    def __init__(
        self, split: str = "validation", max_samples: int = 36, family: str = ESPEAK, recordings: str | None = None
    ) -> None:
        super().__init__({kind: InteractionQuestions(kind, split, max_samples, family, recordings) for kind in KINDS})

    def facts(self) -> list[str]:
        """A table of what each modality tells of the answer (see `data.sources.interactions.information`)."""
        return table(self)
