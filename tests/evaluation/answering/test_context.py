"""What a question is and what it is about follows from the sample, or is said by it."""

from pathlib import Path

import pytest

from data.types import Absent, AlignedSample, BadSampleError, Media, Message, Sample, Segment, Text
from evaluation.answering.audit import image_only, question_only, question_text
from evaluation.answering.context import context_of, modalities, question_words, roles, words_in

IMAGE, CLIP, OTHER = Media("image", Path("a.png")), Media("audio", Path("a.wav")), Media("audio", Path("b.wav"))
SENTENCE, READING, WORDS = Media("sentence", b"what is it?"), Media("vibration", Path("a.txt")), Text("what is it?")
ANSWER = Message("assistant", (Text("red"),))


def user(*content: Segment) -> Message:
    return Message("user", content)


def asked(*messages: Message, **metadata: str) -> Sample:
    return Sample("1", (*messages, ANSWER), metadata=metadata)


def split(sample: Sample) -> tuple[list[Segment], list[Segment]]:
    """Question and context."""
    found = roles(sample)
    return tuple(
        [sample.messages[i].content[j] for i, j in sorted(places)] for places in (found.question, found.context)
    )


@pytest.mark.parametrize(
    ("content", "question", "context"),
    [
        ((IMAGE, WORDS), [WORDS], [IMAGE]),
        ((WORDS, IMAGE, Text("now?")), [WORDS, Text("now?")], [IMAGE]),
        ((IMAGE, CLIP), [CLIP], [IMAGE]),
        ((CLIP, IMAGE), [CLIP], [IMAGE]),
        ((CLIP, WORDS), [WORDS], [CLIP]),
        ((IMAGE, CLIP, WORDS), [WORDS], [IMAGE, CLIP]),
        ((READING, WORDS), [WORDS], [READING]),
        ((READING, CLIP), [CLIP], [READING]),
        ((READING, IMAGE), [], [READING, IMAGE]),
        ((IMAGE, SENTENCE), [SENTENCE], [IMAGE]),
        ((CLIP, SENTENCE), [SENTENCE], [CLIP]),
        ((CLIP, OTHER), [OTHER], [CLIP]),
        ((CLIP,), [], [CLIP]),
        ((IMAGE,), [], [IMAGE]),
        ((WORDS,), [WORDS], []),
        ((Absent("image"), WORDS), [WORDS], []),
    ],
)
def test_the_question_is_how_the_last_turn_asks(
    content: tuple[Segment, ...], question: list[Segment], context: list[Segment]
) -> None:
    assert split(asked(user(*content))) == (question, context)


def test_earlier_questions_are_neither() -> None:
    sample = asked(user(IMAGE, CLIP), ANSWER, user(OTHER))
    assert split(sample) == ([OTHER], [IMAGE])
    blind, mute = question_only(sample), image_only(sample)
    assert blind.messages == (user(Absent("image"), CLIP), ANSWER, user(OTHER), ANSWER)
    assert mute.messages == (user(IMAGE, CLIP), ANSWER, user(Absent("audio")), ANSWER)
    told = asked(user(CLIP), ANSWER, user(WORDS))
    assert split(told) == ([WORDS], [CLIP]), "a clip that came alone is what the talk is about"
    typed = asked(user(IMAGE, Text("shape?")), ANSWER, user(WORDS))
    assert image_only(typed).messages == (*typed.messages[:2], user(), ANSWER)


def test_a_sample_may_say_where_its_question_is() -> None:
    hint = Text("in one word")
    assert split(asked(user(IMAGE, CLIP, hint), asked_in="audio")) == ([CLIP], [IMAGE])
    assert split(asked(user(IMAGE, CLIP), asked_in="image")) == ([IMAGE], [CLIP])
    assert split(asked(user(CLIP, hint), asked_in="none")) == ([], [CLIP])
    assert split(asked(user(CLIP), question="what is it?")) == ([CLIP], []), "its words are known, so it asks"
    with pytest.raises(
        BadSampleError, match=r"\(id 1\): metadata.asked_in: 'audio' must be none or .* \(image, text\)"
    ):
        roles(asked(user(IMAGE, hint), asked_in="audio"))


def test_what_nobody_asked_has_no_question() -> None:
    assert split(asked(Message("system", (IMAGE, WORDS)))) == ([], [])
    assert modalities(asked(user(IMAGE, CLIP, WORDS)), roles(asked(user(IMAGE, CLIP, WORDS))).context) == {
        "image",
        "audio",
    }


def test_the_words_are_those_of_the_question() -> None:
    assert question_text(asked(user(CLIP, Text("What  is it?")))) == "what is it?"
    assert question_text(asked(user(IMAGE, CLIP, Text("in one word")), asked_in="audio")) == ""
    assert question_text(asked(user(IMAGE, CLIP), question="Where?")) == "where?"


def test_words_are_those_of_texts_and_sentences() -> None:
    readings = Media("vibration", b"0.1\n0.2")
    assert [words_in(item) for item in (Text("a"), Media("sentence", b"b"), Media("sentence", Path("b.txt")))] == [
        "a",
        "b",
        None,
    ]
    assert words_in(readings) is words_in(Absent("sentence")) is None
    assert context_of(AlignedSample("1", (readings, Text("a"), Media("sentence", Path("b.txt"))))) == [readings]


def test_a_question_that_an_encoder_reads_is_known_by_its_words() -> None:
    turns = (Message("user", (Media("radar", Path("a.bin")), Media("sentence", b"which way?"))),)
    assert question_words(Sample("1", turns)) == "which way?"
