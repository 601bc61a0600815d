"""Modality dropout: how often, what goes, and that a batch stays a pure function of its number."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

import conf
from data.absence import ModalityDropout, user_modalities, withheld, without
from data.types import Absent, AlignedSample, Media, Message, Sample, Text

MODALITIES = ("text", "audio", "image")
DATA = sorted(Path(str(conf.__file__)).parent.glob("data/*.yaml"))


def conversation() -> Sample:
    image, clip = Media("image", Path("a.png")), Media("audio", Path("q.wav"))
    return Sample(
        "1",
        (
            Message("system", (Media("image", Path("logo.png")),)),
            Message("user", (image, clip, Text("and?"))),
            Message("assistant", (Text("red"),)),
            Message("user", (clip,)),
            Message("assistant", (Text("yes"),)),
        ),
    )


def test_a_modality_goes_whole_and_only_from_the_user() -> None:
    sample = conversation()
    changed = without(sample, ["audio"])
    assert changed.messages[1].content == (sample.messages[1].content[0], Absent("audio"), Text("and?"))
    assert changed.messages[3].content == (Absent("audio"),)
    assert without(sample, ["image"]).messages[0] == sample.messages[0]
    assert without(sample, ["text"]).messages[1].content == sample.messages[1].content[:2]
    assert without(sample, ["text"]).messages[2] == sample.messages[2]
    assert user_modalities(changed) == ["image", "text"]


def test_every_modality_goes_as_often_as_configured() -> None:
    dropout, rng = ModalityDropout({"image": 0.3, "audio": 0.1}, MODALITIES), np.random.default_rng(0)
    left = [user_modalities(dropout(conversation(), rng)) for _ in range(4000)]
    shares = {name: np.mean([name not in there for there in left]) for name in MODALITIES}
    # Four standard errors: 4 * sqrt(0.3 * 0.7 / 4000) = 0.029.
    assert shares == pytest.approx({"image": 0.3, "audio": 0.1, "text": 0.0}, abs=0.029)
    both = np.mean(["image" not in there and "audio" not in there for there in left])
    assert both == pytest.approx(0.03, abs=0.011), "independent of one another"


def test_something_is_always_left() -> None:
    dropout, rng = ModalityDropout({"image": 0.9, "audio": 0.9, "text": 0.9}, MODALITIES), np.random.default_rng(0)
    assert all(user_modalities(dropout(conversation(), rng)) for _ in range(200))


def test_a_share_of_1_always_goes_even_where_nothing_is_left() -> None:
    rng = np.random.default_rng(0)
    picture = Sample("2", (Message("user", (Media("image", Path("a.png")),)), Message("assistant", (Text("red"),))))
    for probabilities in ({"image": 1.0}, {"image": 1, "audio": 0.9, "text": 0.9}):
        dropout = ModalityDropout(probabilities, MODALITIES)
        for _ in range(100):
            assert "image" not in user_modalities(dropout(conversation(), rng))
            assert user_modalities(dropout(conversation(), rng)), "what goes by chance is spared where all would go"
            assert dropout(picture, rng).messages[0].content == (Absent("image"),)
    before = rng.bit_generator.state
    ModalityDropout({"image": 1.0}, MODALITIES)(conversation(), rng)
    assert rng.bit_generator.state == before, "a certainty draws nothing"
    aligned = AlignedSample("3", (Media("image", Path("a.png")), Text("a"), Media("audio", Path("a.wav"))))
    assert ModalityDropout({"image": 1.0}, MODALITIES)(aligned, rng) == replace(aligned, segments=aligned.segments[1:])
    assert withheld({"image": 1.0, "audio": 0.5}) == {"image"}


def test_the_same_generator_drops_the_same() -> None:
    dropout = ModalityDropout({"image": 0.5, "audio": 0.5}, MODALITIES)
    once, again, other = (
        [dropout(conversation(), rng) for _ in range(20)] for rng in map(np.random.default_rng, (0, 0, 1))
    )
    assert once == again
    assert once != other


def test_switched_off_it_draws_nothing() -> None:
    rng, untouched = np.random.default_rng(0), np.random.default_rng(0)
    sample = conversation()
    for probabilities in ({}, {"image": 0.0}):
        assert ModalityDropout(probabilities, MODALITIES)(sample, rng) is sample
    aligned = AlignedSample("2", (Text("a"),))
    assert ModalityDropout({"image": 0.9}, MODALITIES)(aligned, rng) is aligned
    assert rng.random() == untouched.random()


@pytest.mark.parametrize("data", [path.stem for path in DATA if "modality_dropout" in OmegaConf.load(path)])
def test_it_is_given_like_any_other_option(data: str) -> None:
    with initialize_config_module("conf", version_base="1.3"):
        config = compose("train", overrides=[f"data={data}", "data.modality_dropout={image: 0.1, audio: 0.2}"])
    assert config.data.modality_dropout == {"image": 0.1, "audio": 0.2}


@pytest.mark.parametrize(
    ("probabilities", "message"),
    [
        ({"smell": 0.1}, r"modality_dropout\.smell: .* it has text, audio, image"),
        ({"image": 1.5}, r"image=1\.5 must be in \[0, 1\]"),
    ],
)
def test_wrong_probabilities_are_named(probabilities: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModalityDropout(probabilities, MODALITIES)


def test_text_is_never_absent_as_a_medium() -> None:
    with pytest.raises(ValueError, match="modality='text'"):
        Absent("text")
