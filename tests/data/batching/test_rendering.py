"""A training renders the clips that it reads, and no others; what it reads is what a complete bank would give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data.batching import rendering
from data.batching.mixture import Mixture
from data.batching.rendering import render_ahead
from data.media import speech
from data.sources.easy_vqa import EasyVqa, EasyVqaQuestions
from data.sources.messages import named_segments
from data.storage.array_store import StoredClip
from data.types import Media, Sample
from tests.data.media.test_speech import FAMILY_SHARES, few_voices  # noqa: F401

pytest.importorskip("espeakng_loader")
POSITIONS = 12


@pytest.fixture
def rendered(few_voices: Path, monkeypatch: pytest.MonkeyPatch) -> list[speech.ClipSpec]:  # noqa: F811
    """The clips that have been rendered, in no order."""
    said: list[speech.ClipSpec] = []
    true = speech.render

    def render(spec: speech.ClipSpec) -> np.ndarray:
        said.append(spec)
        return true(spec)

    monkeypatch.setattr(speech, "render", render)
    return said


def clips(sample: Sample) -> list[StoredClip]:
    segments = [segment for _, segment in named_segments(sample)]
    return [s.source for s in segments if isinstance(s, Media) and isinstance(s.source, StoredClip)]


def mixture() -> Mixture:
    return Mixture({"easy_vqa": (EasyVqa(turns=3, spoken=0.6, families=FAMILY_SHARES), 1.0)}, seed=4)


def test_a_training_renders_what_it_reads(rendered: list[speech.ClipSpec]) -> None:
    stream = mixture()
    assert rendered == []
    render_ahead(stream, POSITIONS)
    ahead = list(rendered)
    read = {clip for position in range(POSITIONS) for clip in map(repr, clips(stream.at(position)[1]))}
    assert len(ahead) == len(read) > POSITIONS
    for position in range(POSITIONS):
        for clip in clips(stream.at(position)[1]):
            assert len(clip.read()) > 1000
    render_ahead(mixture(), POSITIONS)
    assert rendered == ahead


def test_a_longer_training_renders_the_rest_and_keeps_what_is_there(rendered: list[speech.ClipSpec]) -> None:
    render_ahead(mixture(), POSITIONS)
    first = [clip.read() for clip in clips(mixture().at(0)[1])]
    render_ahead(mixture(), 2 * POSITIONS)
    assert len(rendered) == len({repr(spec) for spec in rendered})
    assert all(np.array_equal(old, clip.read()) for old, clip in zip(first, clips(mixture().at(0)[1]), strict=True))


def test_a_training_that_reads_nearly_all_looks_no_further(
    rendered: list[speech.ClipSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendering, "NEARLY_ALL", 0.01)
    stream = mixture()
    render_ahead(stream, 10**9)
    assert all(store.is_complete for store in stream.sources["easy_vqa"].stores)  # type: ignore[attr-defined]


def test_an_evaluation_renders_what_it_asks(rendered: list[speech.ClipSpec]) -> None:
    typed = EasyVqaQuestions("test", "typed", max_samples=5)
    assert rendered == []
    spoken = EasyVqaQuestions("test", "spoken", max_samples=5)
    assert len(rendered) == len({repr(clip) for index in range(5) for clip in clips(spoken.sample(index))}) <= 5
    assert not any(clips(typed.sample(index)) for index in range(5))
    everything = len(rendered)
    clips(spoken.sample(0))[0].read()
    assert len(rendered) == everything
