"""Modality dropout: how often, what goes, and that a batch stays a pure function of its number."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

import conf
from data.batching.absence import ModalityDropout, user_modalities, withheld, without
from data.randomness import Draws
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
    dropout = ModalityDropout({"image": 0.3, "audio": 0.1}, MODALITIES)
    left = [user_modalities(dropout(conversation(), Draws(0, position))) for position in range(4000)]
    shares = {name: np.mean([name not in there for there in left]) for name in MODALITIES}
    # Four standard errors: 4 * sqrt(0.3 * 0.7 / 4000) = 0.029.
    assert shares == pytest.approx({"image": 0.3, "audio": 0.1, "text": 0.0}, abs=0.029)
    both = np.mean(["image" not in there and "audio" not in there for there in left])
    assert both == pytest.approx(0.03, abs=0.011), "independent of one another"


def test_something_is_always_left() -> None:
    dropout = ModalityDropout({"image": 0.9, "audio": 0.9, "text": 0.9}, MODALITIES)
    assert all(user_modalities(dropout(conversation(), Draws(0, position))) for position in range(200))


def test_a_share_of_1_always_goes_even_where_nothing_is_left() -> None:
    picture = Sample("2", (Message("user", (Media("image", Path("a.png")),)), Message("assistant", (Text("red"),))))
    for probabilities in ({"image": 1.0}, {"image": 1, "audio": 0.9, "text": 0.9}):
        dropout = ModalityDropout(probabilities, MODALITIES)
        for draws in (Draws(0, position) for position in range(100)):
            assert "image" not in user_modalities(dropout(conversation(), draws))
            assert user_modalities(dropout(conversation(), draws)), "what goes by chance is spared where all would go"
            assert dropout(picture, draws).messages[0].content == (Absent("image"),)
    aligned = AlignedSample("3", (Media("image", Path("a.png")), Text("a"), Media("audio", Path("a.wav"))))
    without_image = replace(aligned, segments=aligned.segments[1:])
    assert ModalityDropout({"image": 1.0}, MODALITIES)(aligned, Draws(0, 0)) == without_image
    assert withheld({"image": 1.0, "audio": 0.5}) == {"image"}


def dropped(probabilities: dict[str, float], seed: int = 0) -> list[list[str]]:
    dropout = ModalityDropout(probabilities, MODALITIES)
    return [user_modalities(dropout(conversation(), Draws(seed, position))) for position in range(40)]


def test_the_same_position_drops_the_same() -> None:
    both = {"image": 0.5, "audio": 0.5}
    assert dropped(both) == dropped(both) != dropped(both, seed=1)


def test_another_modality_changes_nothing_about_one() -> None:
    """Neither its probability nor whether it has one."""
    alone = ["image" in there for there in dropped({"image": 0.5})]
    for other in (1e-9, 0.5):
        assert ["image" in there for there in dropped({"audio": other, "image": 0.5})] == alone


def test_switched_off_it_changes_nothing() -> None:
    sample = conversation()
    for probabilities in ({}, {"image": 0.0}):
        assert ModalityDropout(probabilities, MODALITIES)(sample, Draws(0, 0)) is sample
    aligned = AlignedSample("2", (Text("a"),))
    assert ModalityDropout({"image": 0.9}, MODALITIES)(aligned, Draws(0, 0)) is aligned


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
