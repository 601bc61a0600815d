"""Emoji: what a sample holds, that splits share no concept, and what is said of packages that cannot be used."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from data.media.image import read_image
from data.sources.emoji import Emoji, emoji_splits, split_of
from data.sources.emoji_set import concept_of, emoji_set
from data.storage import npm
from data.storage.npm import tarball
from data.synthesisers import espeak
from data.types import AlignedSample, BadInputError, Media, Text
from evaluation.answering.identity import data_fingerprint
from tests.data.emoji_packages import SINGLE, fill_cache, picture_package, word_package, write_tarball


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("INTERFUSE_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def packages(tmp_path: Path) -> list[str]:
    return [str(picture_package(tmp_path / "pictures.tgz")), str(word_package(tmp_path / "words.tgz"))]


@pytest.fixture
def two_styles(tmp_path: Path, packages: list[str]) -> list[str]:
    return [*packages, str(picture_package(tmp_path / "twitter.tgz", "twitter"))]


def read(source: Emoji, seed: int = 0) -> list[AlignedSample]:
    return [source.sample(index, np.random.default_rng([seed, index])) for index in range(len(source))]


@pytest.mark.parametrize(
    ("hexcode", "concept"),
    [
        ("1F44B-1F3FB", "1F44B"),
        ("1F469-1F3FD-200D-1F680", "1F9D1-1F680"),
        ("1F468-200D-1F680", "1F9D1-1F680"),
        ("1F3C3-200D-2640-FE0F-200D-27A1-FE0F", "1F3C3"),
        ("1F46D-1F3FB", "1F46B"),
        ("2640", "2640"),
        ("27A1", "27A1"),
        ("1F1E9-1F1EA", "1F1E9-1F1EA"),
    ],
)
def test_variants_of_an_emoji_are_one_concept(hexcode: str, concept: str) -> None:
    assert concept_of(hexcode) == concept


def test_a_sample_is_picture_words_and_metadata(packages: list[str]) -> None:
    found = {
        sample.metadata["label"]: sample
        for split in ("train", "validation", "test")
        for sample in read(Emoji(split, packages, spoken=False))
    }
    assert len(found) == SINGLE + 3  # without the component, and what has no picture
    heart = found["red heart"]
    image, text = heart.segments
    assert isinstance(image, Media)
    assert isinstance(text, Text)
    assert text.text.startswith("red heart")
    assert set(text.text.removeprefix("red heart").removeprefix(": ").split(", ")) <= {"love", "heart", ""}
    pixels = read_image(image)
    assert pixels[:, 0, 0].tolist() == [255, 255, 255]  # what is transparent is paper
    assert pixels[:, 32, 32].tolist() == [6, 0, 200]
    assert heart.metadata["group"] == "smileys & emotion"
    assert heart.metadata["subgroup"] == "sub smileys & emotion"
    assert heart.metadata["concept"] == "2764"


def test_words_may_be_a_sentence_for_an_encoder_of_its_own(packages: list[str]) -> None:
    for split in ("train", "test"):
        text, sentence = (Emoji(split, packages, spoken=False, words=words) for words in ("text", "sentence"))
        assert text.modalities == {"image"}
        assert sentence.modalities == {"image", "sentence"}
        for one, other in zip(read(text), read(sentence), strict=True):
            assert isinstance(other.segments[1], Media)
            assert other.segments[1].modality == "sentence"
            assert other.segments[1].source.decode() == one.segments[1].text  # type: ignore[union-attr]
            assert read_image(other.segments[0]).equal(read_image(one.segments[0]))  # type: ignore[arg-type]
            assert (other.id, other.metadata) == (one.id, one.metadata)


def test_words_as_text_and_as_a_sentence_are_the_same_data(packages: list[str]) -> None:
    """Runs that read them differently may be compared."""
    hashes = {
        (split, words): data_fingerprint(read(Emoji(split, packages, spoken=False, words=words)))
        for split in ("validation", "test")
        for words in ("text", "sentence")
    }
    assert hashes["test", "text"] == hashes["test", "sentence"] != hashes["validation", "sentence"]


def looks(source: Emoji) -> dict[str, set[tuple[int, str]]]:
    """Every picture with its words that an emoji is met with, by its code."""
    found = defaultdict(set)
    for seed in range(30):
        for sample in read(source, seed):
            image, text = sample.segments
            found[sample.id].add((image.source.index, text.text))  # type: ignore[union-attr]
    return found


def test_a_number_of_draws_bounds_the_looks_and_has_the_fixed_one(packages: list[str]) -> None:
    once, thrice = (
        looks(Emoji("train", packages, spoken=False, draws_per_emoji=draws, max_tags=1)) for draws in (1, 3)
    )
    assert max(map(len, thrice.values())) in (2, 3)
    assert min(map(len, once.values())) == max(map(len, once.values())) == 1
    by_code = {entry.hexcode: entry for entry in emoji_set(packages).emoji}
    for code, found in once.items():
        entry = by_code[code]
        assert found == {(entry.pictures["google"][0], f"{entry.label}: {entry.tags[0]}")}
        assert found <= thrice[code]


def test_no_concept_is_in_two_splits(packages: list[str]) -> None:
    concepts = {
        split: {sample.metadata["concept"] for sample in read(Emoji(split, packages, spoken=False))}
        for split in ("train", "validation", "test")
    }
    assert min(map(len, concepts.values())) >= 2
    assert not concepts["train"] & concepts["test"]
    assert not concepts["train"] & concepts["validation"]
    assert not concepts["validation"] & concepts["test"]
    assert all(split_of(concept) == split for split, found in concepts.items() for concept in found)
    astronauts = [e for e in emoji_set(packages).emoji if "astronaut" in e.label]
    assert len({e.concept for e in astronauts}) == 1
    assert len(astronauts) == 2


def test_training_varies_what_evaluation_fixes(packages: list[str]) -> None:
    source = Emoji("train", packages, spoken=False)
    places = defaultdict(set)
    texts = defaultdict(set)
    for seed in range(12):
        for sample in read(source, seed):
            places[sample.id].add(sample.segments[0].source.index)  # type: ignore[union-attr]
            texts[sample.id].add(sample.segments[1].text)  # type: ignore[union-attr]
    assert max(map(len, texts.values())) == 5  # with no tag, one of two, or both in two orders
    by_code = {entry.hexcode: entry for entry in source._set.emoji}
    assert any(len(found) == 3 for found in places.values()) == (split_of("1F9D1-1F680") == "train")
    assert all(found <= set(by_code[code].pictures["google"]) for code, found in places.items())
    test = Emoji("test", packages, spoken=False)
    same = [[s.segments[0].source.index for s in read(test, seed)] for seed in (0, 1)]  # type: ignore[union-attr]
    assert same[0] == same[1]
    texts_of = [[s.segments[1].text for s in read(test, seed)] for seed in (0, 1)]  # type: ignore[union-attr]
    assert texts_of[0] == texts_of[1]


def test_the_last_style_is_never_trained_on(two_styles: list[str]) -> None:
    styles = {
        split: {sample.metadata["style"] for seed in range(3) for sample in read(Emoji(split, two_styles, False), seed)}
        for split in ("train", "validation", "test", "style")
    }
    assert styles == {"train": {"google"}, "validation": {"google"}, "test": {"google"}, "style": {"twitter"}}
    concepts = [{s.metadata["concept"] for s in read(Emoji(split, two_styles, False))} for split in ("train", "style")]
    assert concepts[0] == concepts[1]


def test_one_style_has_no_split_by_style(packages: list[str]) -> None:
    assert list(emoji_splits(packages, spoken=False)) == ["train", "validation", "test"]
    with pytest.raises(BadInputError, match="split=style needs pictures in two styles or more, found google"):
        Emoji("style", packages, spoken=False)


def test_repeats_lengthen_the_training_only(packages: list[str]) -> None:
    once, splits = Emoji("train", packages, spoken=False), emoji_splits(packages, repeats=3, spoken=False)
    assert len(splits["train"]) == 3 * len(once)
    assert len(splits["test"]) == len(Emoji("test", packages, spoken=False))
    ids = [sample.id for sample in read(splits["train"])]
    assert len(set(ids)) == len(ids)


def test_labels_are_spoken_by_voices_of_their_split(packages: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("espeakng_loader")
    variants = espeak.variants
    monkeypatch.setattr(espeak, "variants", lambda split: variants(split)[:2])
    monkeypatch.setattr("data.sources.emoji.PACKAGES", tuple(packages))
    for split in ("test", "validation"):
        for sample, other in zip(
            read(Emoji(split, max_samples=3)), read(Emoji(split, max_samples=3, words="sentence")), strict=True
        ):
            _, _, clip = sample.segments
            assert clip.source.index == other.segments[2].source.index  # type: ignore[union-attr]
            assert other.metadata == sample.metadata
            assert isinstance(clip, Media)
            assert sample.metadata["voice"].rpartition("+")[2] in variants(split)[:2]
            spec = clip.source.store.specs[clip.source.index]  # type: ignore[union-attr]
            assert spec.text == sample.metadata["label"]
            assert len(clip.source.read()) > 4000  # type: ignore[union-attr]


def test_packages_in_the_cache_need_no_npm(monkeypatch: pytest.MonkeyPatch) -> None:
    fill_cache()
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert len(Emoji("train", spoken=False)) > 20


@pytest.mark.parametrize(
    ("package", "message"),
    [
        ("missing.tgz", r"^missing\.tgz: file not found; packages are names"),
        ("-f", "neither the name of an npm package"),
        ("emoji at home", "neither the name of an npm package"),
        ("emojibase-data@17.0.0", "npm, which fetches it, is not installed; give the path of its tarball"),
    ],
)
def test_a_package_that_is_not_there_is_one_line(package: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(BadInputError, match=message) as raised:
        tarball(package)
    assert "\n" not in str(raised.value)


def test_a_failing_npm_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "npm"
    program.write_text("#!/bin/sh\necho 'npm error 404 no such package' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr("shutil.which", lambda _: str(program))
    with pytest.raises(BadInputError, match=r"npm cannot fetch it \(npm error 404 no such package\)"):
        tarball("no-such-emoji")
    assert not npm.cached("no-such-emoji").exists()


def test_tarballs_of_something_else_are_named(tmp_path: Path, packages: list[str]) -> None:
    other = write_tarball(tmp_path / "other.tgz", {"index.js": b"0"})
    with pytest.raises(BadInputError, match=r"other\.tgz: holds neither pictures .* nor words"):
        emoji_set([*packages, str(other)])
    (tmp_path / "torn.tgz").write_bytes(b"\x1f\x8b torn")
    with pytest.raises(BadInputError, match=r"torn\.tgz: not a tarball of npm"):
        emoji_set([str(tmp_path / "torn.tgz")])
    with pytest.raises(BadInputError, match="need one package with words"):
        emoji_set(packages[:1])
    with pytest.raises(BadInputError, match="need one package with words"):
        emoji_set(packages[1:])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "dev"}, "split='dev' must be one of train"),
        ({"split": "train", "clips_per_label": 0}, "clips_per_label=0 must be 1 or more"),
        ({"split": "train", "repeats": 0}, "repeats=0"),
        ({"split": "train", "words": "speech"}, "words='speech' must be one of text, sentence"),
        ({"split": "train", "draws_per_emoji": 0}, "draws_per_emoji=0 must be 1 or more, or None"),
    ],
)
def test_options_are_checked(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Emoji(**options)  # type: ignore[arg-type]
