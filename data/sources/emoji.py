"""Emoji as aligned samples: a picture, its label with tags, and its label spoken by synthetic voices.

Split by concept: all skin tones and genders of an emoji are in one split, which a hash of its code decides, so that it
stays there in other versions of the packages. Spoken labels have voices of their own split (see
`data/media/speech.py`). Where several styles of drawing are given, the last is never trained on: split "style" is the
concepts of the training in that style.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from data.media.speech import sparse_bank
from data.randomness import generator
from data.sources.emoji_set import EmojiSet, Entry, emoji_set
from data.storage.array_store import StoredClip
from data.types import AUDIO, IMAGE, SENTENCE, TEXT, AlignedSample, BadInputError, Media, Segment, Text

PACKAGES = ("emoji-datasource-google@16.0.0", "emojibase-data@17.0.0")
SPLITS = ("train", "validation", "test", "style")
WORDS = (TEXT, SENTENCE)
TEST_SHARE, VALIDATION_SHARE = 0.15, 0.10


def split_of(concept: str) -> str:
    """Where a concept belongs: about 15 % to the test, 10 % to the validation."""
    draw = int(hashlib.sha256(concept.encode()).hexdigest()[:8], 16) / 2**32
    if draw < TEST_SHARE:
        return "test"
    return "validation" if draw < TEST_SHARE + VALIDATION_SHARE else "train"


class Emoji:
    """One aligned sample for each emoji of a split: picture, words, and the spoken label.

    The training draws a skin tone, a style, tags and a clip anew for every sample; otherwise they are fixed: the plain
    picture in the first style, the first tags, one clip.
    packages: see `data.sources.emoji_set.emoji_set`; None takes `PACKAGES`. spoken: with the spoken label, which needs
    espeak-ng. clips_per_label: of the training. max_tags: in a text. repeats: times that a training emoji occurs in an
    epoch, for an export. max_samples: only so many, drawn with a fixed seed. words: label and tags as `text`, which the
    fusion model reads itself (None is the same), or as the medium `sentence`, for a pretrained encoder of text.
    draws_per_emoji: how many looks (skin tone, style and tags) a training emoji has, so that their features can be
    cached. The first look is fixed as elsewhere. None draws without end.
    """

    def __init__(
        self,
        split: str,
        packages: Sequence[str] | None = None,
        spoken: bool = True,
        clips_per_label: int = 4,
        max_tags: int = 5,
        repeats: int = 1,
        max_samples: int | None = None,
        words: str | None = TEXT,
        draws_per_emoji: int | None = None,
    ) -> None:
        if split not in SPLITS:
            raise ValueError(f"split={split!r} must be one of {', '.join(SPLITS)}")
        words = TEXT if words is None else words
        if words not in WORDS:
            raise ValueError(f"words={words!r} must be one of {', '.join(WORDS)}")
        for name, value, least in (("clips_per_label", clips_per_label, 1), ("max_tags", max_tags, 0)):
            if value < least:
                raise ValueError(f"{name}={value} must be {least} or more")
        if draws_per_emoji is not None and draws_per_emoji < 1:
            raise ValueError(f"draws_per_emoji={draws_per_emoji} must be 1 or more, or None to draw anew every time")
        if repeats < 1 or (max_samples is not None and max_samples < 1):
            raise ValueError(f"repeats={repeats} and max_samples={max_samples} must be 1 or more")
        self.split, self.max_tags, self.words, self.draws_per_emoji = split, max_tags, words, draws_per_emoji
        self._set = _emoji_set(tuple(packages or PACKAGES))
        self._styles = _styles(self._set, split)
        concepts = "train" if split == "style" else split
        found = [item for item in self._set.emoji if split_of(item.concept) == concepts and self._drawn(item)]
        if max_samples is not None and max_samples < len(found):
            chosen = generator(0, "emoji subset").permutation(len(found))[:max_samples]
            found = [found[place] for place in sorted(chosen.tolist())]
        self._emoji, self._repeats = found, repeats if split == "train" else 1
        # Now, not in a worker: it takes a while, and what is missing should be told before the training starts.
        labels = {item.label for item in found}
        voices, clips = ("train", clips_per_label) if split == "train" else ("test" if split == "style" else split, 1)
        self._bank = sparse_bank(labels, voices, clips) if spoken and labels else None
        self.modalities = {IMAGE, *([SENTENCE] if words == SENTENCE else []), *([AUDIO] if self._bank else [])}

    def __len__(self) -> int:
        return len(self._emoji) * self._repeats

    def sample(self, index: int, rng: np.random.Generator) -> AlignedSample:
        """Emoji `index`; in the training `rng` draws how it looks and sounds, elsewhere nothing is random."""
        repeat, place = divmod(index, len(self._emoji))
        item = self._emoji[place]
        looks, voices = (rng if self.split == "train" else generator(0, "emoji", self.split, index)).spawn(2)
        look = self._look(place, looks)
        pictures, tags = look.spawn(2) if look else (None, None)
        style, picture = self._picture(item, pictures)
        words = self._words(item, tags)
        segments: list[Segment] = [Media(IMAGE, StoredClip(self._set.store, picture))]
        segments.append(Text(words) if self.words == TEXT else Media(SENTENCE, words.encode()))
        metadata = {"label": item.label, "concept": item.concept, "group": item.group, "subgroup": item.subgroup}
        metadata["style"] = style
        if self._bank is not None:
            clip, spec = self._bank.draw(item.label, voices)
            segments.append(Media(AUDIO, clip))
            metadata["voice"] = spec.voice
        origin = f"emoji/{self.split} {item.hexcode}"
        name = f"{item.hexcode}-{repeat}" if self._repeats > 1 else item.hexcode
        return AlignedSample(name, tuple(segments), source="emoji", origin=origin, metadata=metadata)

    def texts(self) -> Iterable[str]:
        """Labels with all of their tags."""
        for item in self._emoji:
            yield _text(item.label, item.tags)

    def _drawn(self, item: Entry) -> list[str]:
        """The styles of this split that an emoji is drawn in."""
        return [style for style in self._styles if style in item.pictures]

    def _look(self, place: int, rng: np.random.Generator) -> np.random.Generator | None:
        """Draws what varies of an emoji; None for the fixed look."""
        if self.split != "train":
            return None
        if self.draws_per_emoji is None:
            return rng
        number = int(rng.integers(self.draws_per_emoji))
        return generator(0, "emoji look", place, number) if number else None

    def _picture(self, item: Entry, look: np.random.Generator | None) -> tuple[str, int]:
        styles = self._drawn(item)
        if look is None:
            return styles[0], item.pictures[styles[0]][0]
        style = styles[look.integers(len(styles))]
        return style, item.pictures[style][look.integers(len(item.pictures[style]))]

    def _words(self, item: Entry, look: np.random.Generator | None) -> str:
        if look is None:
            return _text(item.label, item.tags[: self.max_tags])
        count = int(look.integers(min(self.max_tags, len(item.tags)) + 1))
        return _text(item.label, [item.tags[place] for place in look.permutation(len(item.tags))[:count]])


def emoji_splits(
    packages: Sequence[str] | None = None,
    repeats: int = 4,
    spoken: bool = True,
    clips_per_label: int = 4,
    max_tags: int = 5,
    words: str = "text",
) -> dict[str, Emoji]:
    """All splits by name, to be exported; `style` only if there are several styles. Options are those of `Emoji`."""
    names = [name for name in SPLITS if name != "style" or len(_emoji_set(tuple(packages or PACKAGES)).styles) > 1]
    options: dict[str, Any] = {
        "spoken": spoken,
        "clips_per_label": clips_per_label,
        "max_tags": max_tags,
        "words": words,
    }
    return {name: Emoji(name, packages, repeats=repeats, **options) for name in names}


@lru_cache(maxsize=2)
def _emoji_set(packages: tuple[str, ...]) -> EmojiSet:
    return emoji_set(packages)


def _styles(found: EmojiSet, split: str) -> tuple[str, ...]:
    """The styles that a split may show."""
    if split == "style":
        if len(found.styles) < 2:
            raise BadInputError(
                f"split=style needs pictures in two styles or more, found {', '.join(found.styles)}; "
                "add for instance emoji-datasource-twitter to packages"
            )
        return found.styles[-1:]
    return found.styles[:-1] or found.styles


def _text(label: str, tags: Iterable[str]) -> str:
    listed = ", ".join(tags)
    return f"{label}: {listed}" if listed else label
