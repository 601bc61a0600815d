"""The modality audit: what a model scores when a modality is taken away or belongs to another sample.

A model that answers questions about images must fall to the blind baselines when the image is removed or
exchanged; one that does not has learned the questions. What the question is, and what it is about, follows from each
sample (see `evaluation.answering.context`). Conditions are pure functions on samples, and change only what the user
says and shows: system messages, earlier answers and the expected answer stay.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from data.batching.absence import Place, user_modalities, user_segments, without_places
from data.types import TEXT, Media, Message, Sample
from evaluation.answering.context import question_words, roles
from evaluation.answering.identity import media_key
from evaluation.answering.reply import reply
from evaluation.metrics.scores import normalise


@dataclass(frozen=True)
class Prior:
    """What can be answered blindly, learned from training answers.

    majority: the most frequent training answer.
    by_question: the most frequent training answer of every question text.
    """

    majority: str
    by_question: dict[str, str]

    @staticmethod
    def fit(samples: Iterable[Sample]) -> Prior | None:
        """Counts training answers; of two equally frequent ones the first counts. None if there are no samples."""
        answers: Counter[str] = Counter()
        by_question: dict[str, Counter[str]] = {}
        for sample in samples:
            answer = expected_answer(sample)
            answers[answer] += 1
            by_question.setdefault(question_text(sample), Counter())[answer] += 1
        if not answers:
            return None
        return Prior(most_common(answers), {text: most_common(found) for text, found in by_question.items()})

    def answer(self, sample: Sample) -> str:
        """The most frequent training answer to this question text, else the majority answer."""
        return self.by_question.get(question_text(sample), self.majority)


def most_common(counts: Counter[str]) -> str:
    """The most frequent key."""
    return counts.most_common(1)[0][0]


def expected_answer(sample: Sample) -> str:
    """The last message, words and tool calls, which is what a model must generate (see `evaluation.answering.reply`).

    Raises:
        ValueError: the last message is not an assistant's.
    """
    last = sample.messages[-1]
    if last.role != "assistant":
        raise ValueError(f"{sample.name}: the last message is by {last.role!r}; it must be the assistant's answer")
    return reply(last)


def question_text(sample: Sample) -> str:
    """The words of the last question: as typed, or `metadata["question"]` where they are spoken."""
    return normalise(question_words(sample))


def question_only(sample: Sample) -> Sample:
    """Without the context: what the question alone gives away."""
    return without_places(sample, roles(sample).context)


def image_only(sample: Sample) -> Sample:
    """The whole context, without the question; the name is that of its most frequent kind, an image."""
    return without_places(sample, roles(sample).question)


def media_of(sample: Sample, modality: str) -> tuple[Media, ...]:
    """The user's media of one modality, in reading order."""
    segments = (item for message in sample.messages if message.role == "user" for item in message.content)
    return tuple(item for item in segments if isinstance(item, Media) and item.modality == modality)


def shuffled(samples: Sequence[Sample], modality: str, rng: np.random.Generator) -> list[Sample]:
    """Every sample with the media of another one, and never with media equal to its own.

    All samples must show the same number of media of this modality. The exchange is a permutation, so every
    medium is shown as often as before. Samples with equal media are put side by side, the groups in random
    order, and all move on by the size of the largest group: no sample stays within its own group. (Two
    different clips of the same words count as different media.)

    Raises:
        ValueError: samples show unequal numbers of media, or more than half of them the same media.
    """
    media = [media_of(sample, modality) for sample in samples]
    if len({len(items) for items in media}) > 1:
        raise ValueError(f"samples show unequal numbers of {modality} items; they cannot be exchanged")
    donors = derangement([tuple(media_key(item) for item in items) for items in media], rng)
    return [with_media(sample, modality, media[donor]) for sample, donor in zip(samples, donors, strict=True)]


def derangement(keys: Sequence[object], rng: np.random.Generator) -> np.ndarray:
    """A random permutation [N]: no place receives a key equal to its own (see `shuffled`).

    Raises:
        ValueError: impossible, because more than half of the keys are equal.
    """
    numbers: dict[object, int] = {}
    groups_N = np.array([numbers.setdefault(key, len(numbers)) for key in keys])
    sizes = np.bincount(groups_N)
    largest = int(sizes.max())
    if 2 * largest > len(keys):
        raise ValueError(f"{largest} of {len(keys)} media are equal; a derangement needs at most half of them equal")
    place_of_group = rng.permutation(len(sizes))
    shuffled_N = rng.permutation(len(keys))
    order_N = shuffled_N[np.argsort(place_of_group[groups_N[shuffled_N]], kind="stable")]
    donors_N = np.empty(len(keys), dtype=np.int64)
    donors_N[order_N] = np.roll(order_N, -largest)
    return donors_N


def with_media(sample: Sample, modality: str, media: Sequence[Media]) -> Sample:
    """The sample with its user's media of one modality replaced, in reading order."""
    replacements = iter(media)

    def exchanged(message: Message) -> Message:
        if message.role != "user":
            return message
        content = (
            next(replacements) if isinstance(item, Media) and item.modality == modality else item
            for item in message.content
        )
        return replace(message, content=tuple(content))

    return replace(sample, messages=tuple(exchanged(message) for message in sample.messages))


@dataclass(frozen=True)
class Condition:
    """Changed samples, and the places of the samples that they were made of, ascending: those that qualify."""

    places: list[int]
    samples: list[Sample]


def conditions(samples: Sequence[Sample], rng: np.random.Generator) -> tuple[dict[str, Condition], dict[str, str]]:
    """All conditions that any of these samples allow, each of those that do; and why others do not apply.

    `question_only` and `image_only` need samples that have a question and a context. `<modality>_removed` stands for
    every modality, text too, if its absence is neither of these two. It needs samples that hold it and another.
    `<modality>_shuffled` needs samples to exchange with (see `exchanged`).
    """
    found: dict[str, Condition] = {}
    omitted: dict[str, str] = {}
    parts = [roles(sample) for sample in samples]
    both = [place for place, part in enumerate(parts) if part.question and part.context]
    halves = {place: (parts[place].question, parts[place].context) for place in both}
    if both:
        found["question_only"] = Condition(both, [question_only(samples[place]) for place in both])
        found["image_only"] = Condition(both, [image_only(samples[place]) for place in both])
    else:
        omitted["question_only"] = omitted["image_only"] = "no sample holds a question and what it is about"
    there = [user_modalities(sample) for sample in samples]
    for modality in sorted(set().union(*there)):
        holding = [place for place, names in enumerate(there) if modality in names and len(names) > 1]
        gone = [of_modality(samples[place], modality) for place in holding]
        if not holding:
            omitted[f"{modality}_removed"] = f"no sample holds {modality} and something else"
        elif any(places not in halves.get(place, ()) for place, places in zip(holding, gone, strict=True)):
            removed = [without_places(samples[place], places) for place, places in zip(holding, gone, strict=True)]
            found[f"{modality}_removed"] = Condition(holding, removed)
    for modality in sorted(set().union(*there) - {TEXT}):
        try:
            found[f"{modality}_shuffled"] = exchanged(samples, modality, rng)
        except ValueError as reason:
            omitted[f"{modality}_shuffled"] = str(reason)
    return found, omitted


def of_modality(sample: Sample, modality: str) -> frozenset[Place]:
    """The places of what the user gives of one modality."""
    return frozenset(place for place, item in user_segments(sample).items() if item.modality == modality)


def exchanged(samples: Sequence[Sample], modality: str, rng: np.random.Generator) -> Condition:
    """Every sample that holds the modality with the media of another that holds as many, see `shuffled`.

    Samples that find none, because most of those with as many hold the same media, are left out.

    Raises:
        ValueError: none is left.
    """
    groups: dict[int, list[int]] = {}
    for place, sample in enumerate(samples):
        if count := len(media_of(sample, modality)):
            groups.setdefault(count, []).append(place)
    changed: dict[int, Sample] = {}
    reasons = []
    for _, places in sorted(groups.items()):
        try:
            changed |= zip(places, shuffled([samples[place] for place in places], modality, rng), strict=True)
        except ValueError as reason:
            reasons.append(str(reason))
    if not changed:
        raise ValueError(reasons[0])
    return Condition(sorted(changed), [changed[place] for place in sorted(changed)])
