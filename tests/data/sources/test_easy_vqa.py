"""The splits share no image and no voice; conversations hold an image's own questions and right answers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import easy_vqa
import numpy as np
import pytest
import torch

from data.media.image import read_image
from data.media.speech import ClipStore
from data.sources import easy_vqa as source
from data.sources.easy_vqa import COLOURS, SHAPES, EasyVqa, EasyVqaQuestions, Question, description, read_questions
from data.storage.array_store import StoredClip
from data.synthesisers import espeak
from data.synthesisers.base import SPLITS
from data.types import Media, Message, Sample, Text

OFFICIAL = Path(easy_vqa.__file__).parent / "data"


@pytest.fixture(scope="module", autouse=True)
def few_voices(tmp_path_factory: pytest.TempPathFactory) -> object:
    """Two voices in each split, and a cache of one's own."""
    all_variants = espeak.variants
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INTERFUSE_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(espeak, "variants", lambda split: all_variants(split)[:2])
        yield


def official(split: str) -> list[tuple[str, str, int]]:
    return [tuple(row) for row in json.loads((OFFICIAL / split / "questions.json").read_text())]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def text_of(message: Message) -> str:
    segment = message.content[-1]
    assert isinstance(segment, Text)
    return segment.text


def turns(sample: Sample) -> list[tuple[Message, Message]]:
    assert [message.role for message in sample.messages] == ["user", "assistant"] * (len(sample.messages) // 2)
    return list(zip(sample.messages[::2], sample.messages[1::2], strict=True))


def test_splits_are_the_official_ones_with_a_tenth_of_the_training_images_held_out() -> None:
    images = {split: {question.image for question in read_questions(split)} for split in SPLITS}
    assert len(images["train"]) == 3600
    assert len(images["validation"]) == 400
    assert not images["train"] & images["validation"]
    assert images["train"] | images["validation"] == {image for _, _, image in official("train")}
    together = Counter((q.text, q.answer, q.image) for split in ("train", "validation") for q in read_questions(split))
    assert together == Counter(official("train"))
    assert [(q.text, q.answer, q.image) for q in read_questions("test")] == official("test")


def test_training_never_opens_the_test_split(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    read_text = Path.read_text

    def noting(path: Path, *arguments: Any, **options: Any) -> str:
        read.append(str(path))
        return read_text(path, *arguments, **options)

    monkeypatch.setattr(Path, "read_text", noting)
    read_questions.cache_clear()
    source._sentences.cache_clear()
    training = EasyVqa(spoken=0.5)
    training.sample(0, rng())
    list(training.texts())
    EasyVqaQuestions("validation", "spoken", max_samples=3).sample(0)
    assert any("train/questions.json" in path for path in read)
    assert not any(str(OFFICIAL / "test") in path for path in read)
    with pytest.raises(ValueError, match="split='test' must not be trained on"):
        EasyVqa("test")


def test_a_conversation_is_an_image_and_its_own_questions_with_their_answers() -> None:
    training = EasyVqa(turns=4, spoken=0.0)
    assert len(training) == 3600
    own: dict[int, dict[str, str]] = {}
    for question in read_questions("train"):
        own.setdefault(question.image, {})[question.text] = question.answer
    for index in range(0, 3600, 300):
        sample = training.sample(index, rng(index))
        image = int(sample.id)
        first = sample.messages[0].content[0]
        assert isinstance(first, Media)
        assert torch.equal(read_image(first), read_image(Media("image", OFFICIAL / f"train/images/{image}.png")))
        asked = [(text_of(question), text_of(answer)) for question, answer in turns(sample)]
        assert len(asked) == len(set(asked)) == min(4, len(own[image]))
        assert all(own[image][question] == answer for question, answer in asked)
        media = [segment for message in sample.messages for segment in message.content if isinstance(segment, Media)]
        assert len(media) == 1
        assert sample.source == "easy_vqa"
        assert str(image) in sample.name


def test_the_generator_decides_and_the_index_names_the_image() -> None:
    training = EasyVqa(spoken=0.0)
    first = [text_of(message) for message in training.sample(5, rng(1)).messages]
    assert [text_of(message) for message in training.sample(5, rng(1)).messages] == first
    others = {tuple(text_of(message) for message in training.sample(5, rng(seed)).messages) for seed in range(20)}
    assert len(others) > 10
    assert {training.sample(5, rng(seed)).id for seed in range(5)} == {training.sample(5, rng()).id}


def test_spoken_turns_have_their_share_and_are_followed_by_transcripts() -> None:
    training = EasyVqa(spoken=0.7, transcribe=0.5, turns=6)
    own: dict[tuple[int, str], str] = {(q.image, q.text): q.answer for q in read_questions("train")}
    counts: Counter[str] = Counter()
    for index in range(300):
        sample = training.sample(index, rng(index))
        conversation = turns(sample)
        for place, (question, answer) in enumerate(conversation):
            asked = question.content[-1]
            if isinstance(asked, Text):
                counts["transcript" if asked.text == source.TRANSCRIBE else "typed"] += 1
                continue
            assert asked.modality == "audio"
            assert isinstance(asked.source, StoredClip)
            assert isinstance(asked.source.store, ClipStore)
            said = asked.source.store.specs[asked.source.index].text
            assert own[int(sample.id), said] == text_of(answer)
            counts["spoken"] += 1
            following = conversation[place + 1] if place + 1 < len(conversation) else None
            if following and isinstance(following[0].content[-1], Text) and text_of(following[0]) == source.TRANSCRIBE:
                assert text_of(following[1]) == said
    assert counts["spoken"] / (counts["spoken"] + counts["typed"]) == pytest.approx(0.7, abs=0.04)
    assert counts["transcript"] / counts["spoken"] == pytest.approx(0.5, abs=0.05)


def test_descriptions_agree_with_the_pixels() -> None:
    colours = {
        "black": (0, 0, 0),
        "blue": (0, 0, 255),
        "brown": (165, 42, 42),
        "gray": (128, 128, 128),
        "green": (0, 255, 0),
        "red": (255, 0, 0),
        "teal": (0, 128, 128),
        "yellow": (255, 255, 0),
    }
    training = EasyVqa(spoken=0.0, describe=1.0)
    described = 0
    for index in range(200):
        sample = training.sample(index, rng(index))
        request, answer = turns(sample)[-1]
        if text_of(request) != source.DESCRIBE:
            continue
        described += 1
        colour, shape = text_of(answer).split()
        assert shape in SHAPES
        first = sample.messages[0].content[0]
        assert isinstance(first, Media)
        pixels = Counter(map(tuple, read_image(first).flatten(1).T.tolist()))
        assert max(colours, key=lambda name: pixels[colours[name]]) == colour
        assert pixels[colours[colour]] > 8  # the smallest shapes
    assert described > 160


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ([("what is the blue shape?", "circle")], "blue circle"),
        ([("what color is the triangle?", "red")], "red triangle"),
        ([("is there a circle?", "yes"), ("what color is the shape?", "teal")], "teal circle"),
        ([("is there not a circle?", "no"), ("is no teal shape present?", "no")], "teal circle"),
        ([("is there not a circle?", "yes"), ("is there a red shape?", "no")], None),
        ([("what color is the shape?", "teal")], None),
        ([], None),
    ],
)
def test_descriptions_say_only_what_is_told(facts: list[tuple[str, str]], expected: str | None) -> None:
    assert description([Question(text, answer, 0) for text, answer in facts]) == expected


def test_no_description_contradicts_another_question() -> None:
    by_image: dict[int, list[Question]] = {}
    for question in read_questions("train"):
        by_image.setdefault(question.image, []).append(question)
    told = {image: said for image, questions in by_image.items() if (said := description(questions))}
    assert len(told) > 0.85 * len(by_image)
    for image, words in told.items():
        colour, shape = words.split()
        for question in by_image[image]:
            if question.answer_type == "colour":
                assert question.answer == colour
            if question.answer_type == "shape":
                assert question.answer == shape


def test_questions_are_all_of_the_split_in_order() -> None:
    questions = EasyVqaQuestions("test", "typed")
    assert len(questions) == 9673
    for index in (0, 5000, 9672):
        text, answer, image = official("test")[index]
        sample = questions.sample(index)
        (asked, expected) = sample.messages
        assert [type(segment) for segment in asked.content] == [Media, Text]
        assert (text_of(asked), text_of(expected), sample.metadata["image"]) == (text, answer, str(image))
        first = asked.content[0]
        assert isinstance(first, Media)
        assert torch.equal(read_image(first), read_image(Media("image", OFFICIAL / f"test/images/{image}.png")))


@pytest.mark.parametrize(
    ("text", "answer", "answer_type", "template"),
    [
        ("what is the blue shape?", "circle", "shape", "what is the <colour> shape?"),
        ("what color is the triangle?", "red", "colour", "what color is the <shape>?"),
        ("is there not a red shape in the image?", "no", "yes_no", "is there not a <colour> shape in the image?"),
    ],
)
def test_types_and_templates(text: str, answer: str, answer_type: str, template: str) -> None:
    question = Question(text, answer, 0)
    assert (question.answer_type, question.template) == (answer_type, template)


def test_every_answer_has_its_type_and_templates_are_few() -> None:
    everything = [question for split in SPLITS for question in read_questions(split)]
    assert Counter(q.answer_type for q in everything if q.answer not in (*SHAPES, *COLOURS)).keys() == {"yes_no"}
    assert len({question.template for question in everything}) < 25


def test_spoken_questions_say_the_question_with_a_voice_of_their_split_always_the_same() -> None:
    voices = {}
    for split in ("train", "validation", "test"):
        questions = EasyVqaQuestions(split, "spoken", max_samples=60)
        typed = EasyVqaQuestions(split, "typed", max_samples=60)
        samples = [questions.sample(index, rng(index)) for index in range(60)]
        for index, sample in enumerate(samples):
            clip = sample.messages[0].content[1]
            assert isinstance(clip, Media)
            assert isinstance(clip.source, StoredClip)
            again = questions.sample(index, rng(99)).messages[0].content[1]
            assert isinstance(again, Media)
            assert isinstance(again.source, StoredClip)
            assert again.source.index == clip.source.index
            assert isinstance(clip.source.store, ClipStore)
            clip_spec = clip.source.store.specs[clip.source.index]
            assert clip_spec.text == sample.metadata["question"] == text_of(typed.sample(index).messages[0])
            assert clip_spec.voice == sample.metadata["voice"]
        voices[split] = {sample.metadata["voice"].partition("+")[2] for sample in samples}
        assert voices[split] <= set(espeak.variants(split))
    assert not voices["train"] & voices["test"]
    assert not voices["validation"] & (voices["train"] | voices["test"])


def test_a_part_is_drawn_once_for_all_and_is_the_same_for_typed_and_spoken() -> None:
    ids = [EasyVqaQuestions("validation", kind, max_samples=50) for kind in ("typed", "typed", "spoken")]
    drawn = [[questions.sample(index).id for index in range(50)] for questions in ids]
    assert drawn[0] == drawn[1] == drawn[2]
    assert len(set(drawn[0])) == 50
    assert len(EasyVqaQuestions("validation", "typed", max_samples=10**6)) == len(read_questions("validation"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EasyVqa(turns=0), "turns=0 must be 1 or more"),
        (lambda: EasyVqa(spoken=1.5), r"spoken=1.5 must be in \[0, 1\]"),
        (lambda: EasyVqa("dev"), "split='dev' must be one of train, validation, test"),
        (lambda: EasyVqa(clips_per_voice=0), "clips_per_voice=0 must be 1 or more"),
        (lambda: EasyVqaQuestions("test", "sung"), "questions='sung' must be one of typed, spoken"),
        (lambda: EasyVqaQuestions("test", "typed", 0), "max_samples=0 must be 1 or more"),
    ],
)
def test_arguments_are_checked(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("make", "held"),
    [
        (lambda: EasyVqa(spoken=0.0), {"image"}),
        (lambda: EasyVqa(spoken=0.7), {"image", "audio"}),
        (lambda: EasyVqaQuestions("validation", "typed", max_samples=9), {"image"}),
        (lambda: EasyVqaQuestions("validation", "spoken", max_samples=9), {"image", "audio"}),
    ],
)
def test_sources_say_which_media_they_hold(make: Callable[[], EasyVqa | EasyVqaQuestions], held: set[str]) -> None:
    made = make()
    messages = [message for index in range(9) for message in made.sample(index, rng(index)).messages]
    media = {item.modality for message in messages for item in message.content if isinstance(item, Media)}
    assert made.modalities == media == held
