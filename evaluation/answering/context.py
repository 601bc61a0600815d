"""What the question of a sample is, and the context that it is about.

The question is how the last user turn asks: by its typed text. Without any, it asks by its last sentence or its last
clip of sound, where the user gives something else with it. Pictures, readings and the like ask nothing. The context is
all other media that the user gives, whatever their modality, but for the questions of earlier turns. So a clip is the
question in "(image)(clip)" and the context in "(clip) what is heard?", and a medium that stands alone is context.

Where this guess is wrong, the sample says it: `metadata.asked_in` names the modality that the last turn asks in, or
"none". A clip alone is a question where `metadata.question` gives its words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from data.batching.absence import Place, user_segments
from data.types import AUDIO, SENTENCE, TEXT, AlignedSample, BadSampleError, Media, Modality, Sample, Segment, Text

ASKED_IN = "asked_in"
NO_QUESTION = "none"
# The words of a question that is not typed.
QUESTION = "question"
# The modalities that are words: text, and a whole text as a medium.
WORDS = (TEXT, SENTENCE)
# The modalities that a question is asked in: where a turn has several, it is the first of them.
ASKING = (*WORDS, AUDIO)


@dataclass(frozen=True)
class Roles:
    """The places of the question and of the context; earlier questions and all other turns are neither."""

    question: frozenset[Place]
    context: frozenset[Place]


def roles(sample: Sample) -> Roles:
    """Question and context of a sample.

    Raises:
        BadSampleError: `metadata.asked_in` names a modality that the last user turn does not have.
    """
    given = user_segments(sample)
    turns: dict[int, dict[Place, Segment]] = {
        number: {} for number, message in enumerate(sample.messages) if message.role == "user"
    }
    for place, item in given.items():
        turns[place[0]][place] = item
    asked = sample.metadata.get(ASKED_IN)
    last = list(turns.values())[-1] if turns else {}
    if asked not in (None, NO_QUESTION, *(item.modality for item in last.values())):
        there = ", ".join(dict.fromkeys(item.modality for item in last.values())) or "nothing"
        raise BadSampleError(
            f"{sample.name}: metadata.{ASKED_IN}: {asked!r} must be {NO_QUESTION} or in the last user turn ({there})"
        )
    questions = [_question(number, turn, given, sample.metadata) for number, turn in turns.items()]
    earlier = frozenset().union(*questions)
    context = {place for place, item in given.items() if item.modality != TEXT and place not in earlier}
    return Roles(questions[-1] if questions else frozenset(), frozenset(context))


def _question(
    number: int, turn: Mapping[Place, Segment], given: Mapping[Place, Segment], metadata: Mapping[str, str]
) -> frozenset[Place]:
    """The places of the question of one turn."""
    said, there = metadata.get(ASKED_IN), {item.modality for item in turn.values()}
    if said == NO_QUESTION:
        return frozenset()
    modality = said if said in there else next((name for name in ASKING if name in there), None)
    places = [place for place, item in turn.items() if item.modality == modality]
    if modality == TEXT:
        return frozenset(places)
    alone = sum(place[0] <= number for place in given) == 1
    if not places or (alone and said is None and QUESTION not in metadata):
        return frozenset()
    return frozenset(places[-1:])


def modalities(sample: Sample, places: frozenset[Place]) -> frozenset[Modality]:
    """The modalities of the segments at some places."""
    return frozenset(sample.messages[number].content[place].modality for number, place in places)


def question_words(sample: Sample) -> str:
    """The words of the question as given: `metadata.question`, or as typed; "" where they are not known."""
    if QUESTION in sample.metadata:
        return sample.metadata[QUESTION]
    return " ".join(words for item in question_of(sample) if (words := words_in(item)) is not None)


def question_of(sample: Sample) -> list[Segment]:
    """The segments of the question, in reading order. Raises as `roles` does."""
    return [sample.messages[number].content[place] for number, place in sorted(roles(sample).question)]


def context_of(sample: Sample | AlignedSample) -> list[Segment]:
    """What a sample is about, in reading order: of an aligned one all that is not words. Raises as `roles` does."""
    if isinstance(sample, AlignedSample):
        return [item for item in sample.segments if item.modality not in WORDS]
    return [sample.messages[number].content[place] for number, place in sorted(roles(sample).context)]


def words_in(item: Segment) -> str | None:
    """The words of a text or a sentence; None of any other medium, and of a file, which is not read here."""
    if isinstance(item, Text):
        return item.text
    source = item.source if isinstance(item, Media) and item.modality in WORDS else None
    return source.decode(errors="replace") if isinstance(source, bytes) else None
