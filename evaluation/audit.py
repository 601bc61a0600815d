"""The modality audit: what a model scores when a modality is taken away or belongs to another sample.

A model that answers questions about images must fall to the blind baselines when the image is removed or
exchanged; one that does not has learned the questions. Conditions are pure functions on samples, and change
only what the user says and shows: system messages, earlier answers and the expected answer stay.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from data.absence import user_modalities, without
from data.types import IMAGE, TEXT, VIDEO, Media, Message, Sample, Text
from evaluation.identity import media_key
from evaluation.metrics import normalise

# What a question is about; everything else that a user says (text, sound) is the question.
CONTEXT = (IMAGE, VIDEO)


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
    """The text of the last message, which is what a model must generate.

    Raises:
        ValueError: the last message is not an assistant's.
    """
    last = sample.messages[-1]
    if last.role != "assistant":
        raise ValueError(f"{sample.name}: the last message is by {last.role!r}; it must be the assistant's answer")
    return "".join(segment.text for segment in last.content if isinstance(segment, Text))


def question_text(sample: Sample) -> str:
    """The words of the last question: as typed, or `metadata["question"]` where they are spoken."""
    if "question" in sample.metadata:
        return normalise(sample.metadata["question"])
    questions = [message for message in sample.messages if message.role == "user"]
    texts = [item.text for item in questions[-1].content if isinstance(item, Text)] if questions else []
    return normalise(" ".join(texts))


def question_only(sample: Sample) -> Sample:
    """Without images and video: what the question alone gives away."""
    return without(sample, CONTEXT)


def image_only(sample: Sample) -> Sample:
    """Images and video alone, without the question."""
    return without(sample, [modality for modality in user_modalities(sample) if modality not in CONTEXT])


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
    """A random permutation [N] under which no place receives a key equal to its own (see `shuffled`).

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


def conditions(samples: Sequence[Sample], rng: np.random.Generator) -> tuple[dict[str, list[Sample]], dict[str, str]]:
    """All conditions that these samples allow, and why others do not apply.

    Returns name -> changed samples in the same order, and name -> reason. `question_only` and `image_only`
    need samples that hold both; `<modality>_removed` stands for every modality, text too, whose absence is neither of
    these, and needs samples that hold it beside another; `<modality>_shuffled` needs the same number of such media in
    every sample.
    """
    found = [set(user_modalities(sample)) for sample in samples]
    result: dict[str, list[Sample]] = {}
    omitted: dict[str, str] = {}
    if all(modalities & set(CONTEXT) and modalities - set(CONTEXT) for modalities in found):
        result["question_only"] = [question_only(sample) for sample in samples]
        result["image_only"] = [image_only(sample) for sample in samples]
    else:
        omitted["question_only"] = omitted["image_only"] = "not every sample holds an image and a question"
    everything = set().union(*found)
    halves = [everything & set(CONTEXT), everything - set(CONTEXT)] if result else []
    for modality in sorted(everything):
        if {modality} in halves:
            continue  # question_only or image_only already is its absence
        if all(modality in there and len(there) > 1 for there in found):
            result[f"{modality}_removed"] = [without(sample, [modality]) for sample in samples]
        else:
            omitted[f"{modality}_removed"] = f"not every sample holds {modality} and something else"
    for modality in sorted(everything - {TEXT}):
        try:
            result[f"{modality}_shuffled"] = shuffled(samples, modality, rng)
        except ValueError as reason:
            omitted[f"{modality}_shuffled"] = str(reason)
    return result, omitted
