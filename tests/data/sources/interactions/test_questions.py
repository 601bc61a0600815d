"""Samples hold the digits and the answer of their case, by writers and voices of their split alone."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from data.media.speech import ClipStore
from data.sources.interactions.digits import pictures
from data.sources.interactions.information import measured
from data.sources.interactions.kinds import KINDS, Case, cases
from data.sources.interactions.questions import InteractionKinds, InteractionQuestions, Interactions
from data.sources.interactions.spoken import WORDS
from data.storage.array_store import StoredClip
from data.synthesisers import espeak
from data.types import AUDIO, IMAGE, TEXT, Absent, Media, NotInstalledError, Sample, Segment, Text


@pytest.fixture(scope="module", autouse=True)
def few_voices(tmp_path_factory: pytest.TempPathFactory) -> object:
    """Two voices in each split, and a cache of one's own."""
    try:
        espeak.EspeakVoices().check_installed()
    except NotInstalledError as error:
        pytest.skip(str(error))
    all_variants = espeak.variants
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INTERFUSE_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(espeak, "variants", lambda split: all_variants(split)[:2])
        yield


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def seen(item: Segment, split: str) -> int | None:
    """The digit of a picture, found by its pixels among those of the split."""
    if isinstance(item, Absent):
        return None
    found = [digit for digit, all_of_it in pictures(split).items() for p in all_of_it if p.media is item]
    assert len(found) == 1
    return found[0]


def heard(item: Segment) -> int | None:
    """The digit of a clip, by what was asked of the synthesiser."""
    if isinstance(item, Absent):
        return None
    assert isinstance(item, Media)
    assert isinstance(item.source, StoredClip)
    assert isinstance(item.source.store, ClipStore)
    return WORDS.index(item.source.store.specs[item.source.index].text)


def case_of(sample: Sample, split: str) -> tuple[int | None, int | None, str, str]:
    (picture, sound, text), (answer,) = (message.content for message in sample.messages)
    assert (picture.modality, sound.modality, text.modality) == (IMAGE, AUDIO, TEXT)
    assert isinstance(text, Text)
    assert isinstance(answer, Text)
    return seen(picture, split), heard(sound), text.text, answer.text


def looks(sample: Sample) -> tuple[str, ...]:
    """Which picture, which clip and which question and answer."""
    picture, clip = sample.messages[0].content[:2]
    assert isinstance(picture, Media)
    assert isinstance(clip, Media)
    return sample.metadata["image"], repr(clip.source), *(str(m.content[-1]) for m in sample.messages)


@pytest.mark.parametrize("kind", KINDS)
def test_an_epoch_is_the_distribution_of_its_kind(kind: str) -> None:
    source = Interactions(kind)
    drawn = Counter(case_of(source.sample(index, rng(index)), "train") for index in range(len(source)))
    expected = {(c.picture, c.sound, c.text, c.answer): c.share * len(source) for c in cases(kind)}
    assert drawn == expected


def test_the_information_in_samples_is_that_of_the_kind() -> None:
    source = Interactions("conflict")
    found = [case_of(source.sample(index, rng(index)), "train") for index in range(len(source))]
    empirical = measured(Case(*case, share=1) for case in found)  # type: ignore[arg-type]
    assert vars(empirical) == pytest.approx(vars(measured(cases("conflict"))))


@pytest.mark.parametrize("split", ["validation", "test"])
@pytest.mark.parametrize("kind", KINDS)
def test_questions_are_cases_of_their_kind_with_balanced_answers(kind: str, split: str) -> None:
    source = InteractionQuestions(kind, split, max_samples=60)
    known = {(c.picture, c.sound, c.text, c.answer) for c in cases(kind)}
    found = [case_of(source.sample(index), split) for index in range(len(source))]
    assert len(found) == 60
    assert set(found) <= known
    assert len(set(Counter(answer for *_, answer in found).values())) == 1


def test_questions_are_the_same_every_time_and_differ_from_one_another() -> None:
    first, again = (InteractionQuestions("sum", "test", max_samples=40) for _ in range(2))
    for index in range(40):
        assert looks(first.sample(index, rng(index))) == looks(again.sample(index, rng(99)))
    assert len({looks(first.sample(index)) for index in range(40)}) > 35
    # Not sorted by answer, or a batch would hold one answer alone.
    assert [s.messages[1] for s in map(first.sample, range(40))] != sorted(
        (s.messages[1] for s in map(first.sample, range(40))), key=str
    )


def test_the_generator_of_the_stream_draws_picture_and_voice_and_no_digit() -> None:
    source = Interactions("sum")
    drawn = [source.sample(7, rng(seed)) for seed in range(30)]
    assert len({looks(sample) for sample in drawn}) > 25
    assert len({case_of(sample, "train") for sample in drawn}) == 1
    assert looks(source.sample(7, rng(3))) == looks(source.sample(7, rng(3)))


def test_no_voice_and_no_writer_is_in_two_splits() -> None:
    sources = {
        "train": Interactions("redundant"),
        "validation": InteractionQuestions("redundant", "validation"),
        "test": InteractionQuestions("redundant", "test"),
    }
    for field in ("writer", "voice"):
        found = {
            split: {s.sample(i, rng(i)).metadata[field].split("+")[-1] for i in range(len(s))}  # type: ignore[attr-defined]
            for split, s in sources.items()
        }
        assert not found["train"] & (found["validation"] | found["test"])
        assert not found["validation"] & found["test"]
        assert all(len(names) >= 2 for names in found.values())


def test_metadata_say_what_is_seen_and_heard() -> None:
    source = InteractionQuestions(None, "validation", max_samples=80)
    assert len(source) == 80
    assert Counter(source.sample(i).metadata["kind"] for i in range(80)) == dict.fromkeys(KINDS, 10)
    for index in range(80):
        sample = source.sample(index)
        picture, sound, text, _ = case_of(sample, "validation")
        told = sample.metadata
        assert (told.get("picture"), told.get("sound")) == tuple(
            None if digit is None else str(digit) for digit in (picture, sound)
        )
        assert told["question"] == text
        assert sample.source == f"interactions/{told['kind']}"


def test_exports_hold_every_kind_and_begin_with_what_it_tells() -> None:
    exported = InteractionKinds(max_samples=2)
    assert list(exported) == list(KINDS)
    assert any(line.startswith("sum ") for line in exported.facts())


def test_bad_options_are_refused() -> None:
    with pytest.raises(ValueError, match="kind='product' must be one of redundant, picture"):
        Interactions("product")
    with pytest.raises(ValueError, match="must not be trained on"):
        Interactions("sum", split="test")
    with pytest.raises(ValueError, match="max_samples=0 must be 1 or more"):
        InteractionQuestions("sum", "test", max_samples=0)
    with pytest.raises(ValueError, match="split='dev' must be one of"):
        InteractionQuestions("sum", "dev")
