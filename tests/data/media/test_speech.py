"""Banks hold what they should by every family, are kept, and mix families by their shares."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from data.media import speech
from data.media.speech import FAMILIES, mixed_bank, render, speech_bank
from data.sources.easy_vqa import EasyVqa
from data.sources.fingerprint import fingerprint
from data.synthesisers.base import SPLITS, ClipSpec, Synthesiser
from data.synthesisers.espeak import ACCENTS, variants
from data.types import NotInstalledError

pytest.importorskip("espeakng_loader")

FAMILY_SHARES = {"espeak": 0.7, "humming": 0.3}
SENTENCES = ("is there a circle?", "what color is the shape?")


class Humming(Synthesiser):
    """A family of one voice a split, which hums at a height of its own."""

    family = "humming"
    takes = 3
    missing = False

    def check_installed(self) -> None:
        if self.missing:
            raise NotInstalledError("pip install humming")

    def voices(self, split: str) -> list[str]:
        return [] if split == "test" else [f"{split} hum"]

    def draw(self, text: str, voice: str, rng: np.random.Generator) -> ClipSpec:
        return ClipSpec(text, self.family, voice, {"height": round(rng.uniform(100, 400), 2)})

    def say(self, spec: ClipSpec) -> tuple[np.ndarray, int]:
        return np.sin(np.arange(4000) * spec.settings["height"] / 8000 * 6.28).astype(np.float32), 8000


@pytest.fixture
def few_voices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two voices in each split of espeak, a family that hums, and a cache of one's own."""
    monkeypatch.setenv("INTERFUSE_CACHE", str(tmp_path))
    monkeypatch.setattr(type(FAMILIES["espeak"]), "voices", lambda self, split: variants(split)[:2])
    monkeypatch.setitem(speech.FAMILIES, "humming", Humming())
    return tmp_path


def test_a_bank_holds_every_sentence_by_every_voice(few_voices: Path) -> None:
    bank = speech_bank([*SENTENCES, SENTENCES[0]], "train", clips_per_voice=2)
    said = Counter((clip.text, clip.voice.partition("+")[2]) for clip in bank.specs)
    assert said == {(text, variant): 2 for text in SENTENCES for variant in variants("train")[:2]}
    assert len(bank.store) == len(bank.specs) == 8
    assert bank.store.metadata["sample_rate"] == 16_000
    for index, clip in enumerate(bank.specs):
        assert clip.voice.partition("+")[0] in ACCENTS
        # The engine's noise differs between calls, the length hardly.
        assert abs(len(bank.store[index]) - len(render(clip))) < 800


def test_drawing_finds_the_sentence_repeats_and_varies(few_voices: Path) -> None:
    bank = speech_bank(SENTENCES, "test", clips_per_voice=2)
    for text in SENTENCES:
        drawn = [bank.draw(text, np.random.default_rng(seed)) for seed in range(20)]
        assert all(clip_spec.text == text and bank.specs[clip.index] == clip_spec for clip, clip_spec in drawn)
        assert len({clip.index for clip, _ in drawn}) == 4
        assert bank.draw(text, np.random.default_rng(3))[0].index == drawn[3][0].index
    with pytest.raises(KeyError):
        bank.draw("never said", np.random.default_rng(0))


def test_a_bank_is_rendered_once_for_what_it_holds(few_voices: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = speech_bank(SENTENCES, "test", 1)
    first.store.ensure(range(len(first.specs)))
    assert speech_bank(SENTENCES, "validation", 1).store.folder != first.store.folder
    monkeypatch.setattr(speech, "render", lambda _: pytest.fail("rendered again"))
    again = speech_bank(reversed(SENTENCES), "test", 1)
    assert again.specs == first.specs
    for index in range(len(first.specs)):
        assert np.array_equal(again.store[index], first.store[index])


def test_the_number_of_threads_is_left_as_it_was(few_voices: Path) -> None:
    before = torch.get_num_threads()
    bank = speech_bank(SENTENCES, "test", 1)
    bank.store.ensure(range(len(bank.specs)))
    assert torch.get_num_threads() == before


def test_a_family_has_its_own_clips_takes_and_rate(few_voices: Path) -> None:
    bank = speech_bank(SENTENCES, "train", 2, "humming")
    assert [clip.voice for clip in bank.specs] == ["train hum"] * 12
    assert len({clip.settings["height"] for clip in bank.specs}) == 12
    assert all(len(bank.store[index]) == 8000 for index in range(12))  # half a second at 16 kHz


def test_families_speak_by_their_shares_and_the_draw_repeats(few_voices: Path) -> None:
    bank = mixed_bank(SENTENCES, "train", 1, {"espeak": 1.0, "humming": 3.0})
    drawn = [bank.draw(SENTENCES[0], np.random.default_rng(seed)) for seed in range(400)]
    assert 0.68 < np.mean([clip.family == "humming" for _, clip in drawn]) < 0.82
    assert {clip.text for _, clip in drawn} == {SENTENCES[0]}
    again = [bank.draw(SENTENCES[0], np.random.default_rng(seed))[1] for seed in range(20)]
    assert again == [clip for _, clip in drawn[:20]]


def test_a_missing_family_is_left_out_and_said_but_not_the_first(
    few_voices: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Humming, "missing", True)
    assert mixed_bank(SENTENCES, "train", 1, {"espeak": 1.0, "humming": 3.0}).families == ["espeak"]
    assert "no speech by humming" in capsys.readouterr().err
    with pytest.raises(NotInstalledError, match="pip install humming"):
        mixed_bank(SENTENCES, "train", 1, {"humming": 3.0, "espeak": 1.0})


def test_a_source_holds_something_else_where_a_family_is_missing(
    few_voices: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a resume on a machine without the family does not go on unnoticed."""
    complete, again = (fingerprint(EasyVqa(clips_per_voice=1, families=FAMILY_SHARES)) for _ in range(2))
    monkeypatch.setattr(Humming, "missing", True)
    assert complete == again != fingerprint(EasyVqa(clips_per_voice=1, families=FAMILY_SHARES))


@pytest.mark.parametrize(
    ("split", "shares", "message"),
    [
        ("train", {}, "must name at least one family"),
        ("train", {"espeak": 0.0}, "share above 0"),
        ("train", {"espeak": 1.0, "festival": 1.0}, "family='festival' must be one of espeak, flite, piper"),
        ("test", {"espeak": 1.0, "flite": 1.0}, "family='flite' has no voices for split='test'"),
        ("train", {"espeak": 1.0, "piper": 1.0}, "family='piper' has no voices for split='train'"),
    ],
)
def test_families_are_checked(few_voices: Path, split: str, shares: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mixed_bank(SENTENCES, split, 1, shares)


def test_no_voice_is_in_two_splits_and_one_family_is_kept_for_the_test() -> None:
    for engine in FAMILIES.values():
        names = [name for split in SPLITS for name in engine.voices(split)]
        assert len(names) == len(set(names)) > 0
    only_tested = [
        name for name, engine in FAMILIES.items() if not engine.voices("train") + engine.voices("validation")
    ]
    assert only_tested == ["piper"]


@pytest.mark.parametrize("family", ["flite", "piper"])
def test_every_voice_of_a_family_says_a_sentence_at_the_speed_it_is_asked_for(family: str) -> None:
    engine = FAMILIES[family]
    try:
        engine.check_installed()
    except NotInstalledError as error:
        pytest.skip(str(error))
    slower = {"flite": ("stretch", 0.8, 1.35), "piper": ("length_scale", 0.85, 1.3)}[family]
    name, fast, slow = slower
    for voice in [name for split in SPLITS for name in engine.voices(split)]:
        spec = engine.draw(SENTENCES[1], voice, np.random.default_rng(0))
        clips = [render(ClipSpec(spec.text, family, voice, {**spec.settings, name: value})) for value in (fast, slow)]
        assert all(clip.dtype == np.int16 and np.abs(clip).max() > 3000 for clip in clips)
        assert 1.2 * len(clips[0]) < len(clips[1]) < 5 * speech.SAMPLE_RATE
    with pytest.raises(ValueError, match="no voice 'nobody'"):
        engine.say(ClipSpec("hello", family, "nobody", {}))


def test_without_its_package_a_family_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for family, module in (("flite", "wasmtime"), ("piper", "piper")):
        monkeypatch.setitem(sys.modules, module, None)
        assert not FAMILIES[family].installed()
        with pytest.raises(NotInstalledError, match=r"pip install 'interfuse\[speech\]'"):
            FAMILIES[family].check_installed()
