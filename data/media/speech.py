"""Synthetic speech: banks of spoken sentences by several families of synthesisers; each clip is rendered once.

A family is a way of making speech (formants, recordings, a network); a voice belongs to one. No voice of the training
asks in an evaluation, and no near copy of one does. A whole family may be kept out of the training. espeak-ng and Flite
render a clip the same bit for bit each time; Piper does not, which the cache makes up for.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict

import numpy as np
import torch

from data.device import cores
from data.media.audio import one_thread
from data.media.resampling import resample
from data.progress import tell, with_progress
from data.randomness import generator
from data.storage.array_store import StoredClip
from data.storage.cache import cache_folder
from data.storage.growing_store import GrowingStore
from data.synthesisers.base import ClipSpec, Synthesiser
from data.synthesisers.espeak import EspeakVoices
from data.synthesisers.flite import FliteVoices
from data.synthesisers.piper import PiperVoices
from data.types import NotInstalledError

SAMPLE_RATE = 16_000
FAMILIES: dict[str, Synthesiser] = {engine.family: engine for engine in (EspeakVoices(), FliteVoices(), PiperVoices())}
ESPEAK = EspeakVoices.family
# Clips that may be rendered before the one that is written next.
AHEAD = 16


class ClipStore(GrowingStore):
    """The clips of a bank in the cache, int16 at 16 kHz."""

    def __init__(self, specs: Sequence[ClipSpec], split: str, family: str) -> None:
        self.specs, self.family = specs, family
        plain = [asdict(spec) for spec in specs]
        fingerprint = hashlib.sha256(json.dumps([SAMPLE_RATE, FAMILIES[family].edition, plain]).encode()).hexdigest()[
            :12
        ]
        folder = cache_folder() / "speech" / f"{family}-{split}-{fingerprint}"
        super().__init__(folder, len(specs), np.int16, {"sample_rate": SAMPLE_RATE})

    def make(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        """Renders on all cores: engines are libraries that run while Python does other things."""
        wanted = iter(with_progress([self.specs[index] for index in indices], f"speech by {self.family}, once"))
        yield render(next(wanted))  # loads the engine
        with one_thread(), ThreadPoolExecutor(cores(), initializer=torch.set_num_threads, initargs=(1,)) as pool:
            running: deque[Future[np.ndarray]] = deque()
            try:
                for spec in wanted:
                    running.append(pool.submit(render, spec))
                    if len(running) > AHEAD:
                        yield running.popleft().result()
                while running:
                    yield running.popleft().result()
            finally:
                pool.shutdown(cancel_futures=True)


class SpeechBank:
    """Clips of one family in one split, by sentence."""

    def __init__(self, store: ClipStore) -> None:
        self.store, self.specs = store, store.specs
        self._by_text: dict[str, list[int]] = {}
        for index, spec in enumerate(self.specs):
            self._by_text.setdefault(spec.text, []).append(index)

    def draw(self, text: str, rng: np.random.Generator) -> tuple[StoredClip, ClipSpec]:
        """One of the clips of `text`, drawn with `rng`. Raises `KeyError` for a sentence that is not in the bank."""
        clips = self._by_text[text]
        index = clips[int(rng.integers(len(clips)))]
        return StoredClip(self.store, index), self.specs[index]


class MixedBank:
    """Several families: each draw takes one of them by its share, and then one of its clips."""

    def __init__(self, banks: Mapping[str, SpeechBank], shares: Mapping[str, float]) -> None:
        self.families = list(banks)
        self.stores = [bank.store for bank in banks.values()]
        self._banks = list(banks.values())
        self._bounds = np.cumsum([shares[family] for family in banks]) / sum(shares[family] for family in banks)

    def draw(self, text: str, rng: np.random.Generator) -> tuple[StoredClip, ClipSpec]:
        """As `SpeechBank.draw`."""
        place = int(np.searchsorted(self._bounds, rng.random(), side="right"))
        return self._banks[min(place, len(self._banks) - 1)].draw(text, rng)


def mixed_bank(sentences: Iterable[str], split: str, clips_per_voice: int, shares: Mapping[str, float]) -> MixedBank:
    """A bank of every family in `shares`, which says how often each speaks.

    Families that are not installed are left out, which the console is told; the first one may not be missing.

    Raises:
        ValueError: an unknown family, a share of 0 or less, or a family without voices in this split.
        NotInstalledError: the first family is not installed.
    """
    if not shares or any(share <= 0 for share in shares.values()):
        raise ValueError(f"families={dict(shares)} must name at least one family, each with a share above 0")
    for family in shares:
        check_family(family, split)
    sentences, banks = sorted(set(sentences)), {}
    for place, family in enumerate(shares):
        try:
            banks[family] = speech_bank(sentences, split, clips_per_voice, family)
        except NotInstalledError as error:
            if place == 0:
                raise
            tell(f"no speech by {family}, so that fewer families are heard: {error}")
    return MixedBank(banks, shares)


def check_family(family: str, split: str) -> None:
    """Raises `ValueError` for a family that does not exist, or has no voices in a split."""
    if family not in FAMILIES:
        raise ValueError(f"family={family!r} must be one of {', '.join(FAMILIES)}")
    # espeak has voices for every split, and cannot list them where it is not installed.
    if family != ESPEAK and not FAMILIES[family].voices(split):
        raise ValueError(f"family={family!r} has no voices for split={split!r}")


def speech_bank(sentences: Iterable[str], split: str, clips_per_voice: int, family: str = ESPEAK) -> SpeechBank:
    """Every sentence by every voice of a family in `split`, `clips_per_voice` times its `takes`, settings drawn anew.

    Nothing is rendered yet (see `data.batching.rendering`). Raises `NotInstalledError` when the family is not there.
    """
    if clips_per_voice < 1:
        raise ValueError(f"clips_per_voice={clips_per_voice} must be 1 or more")
    check_family(family, split)
    engine = FAMILIES[family]
    engine.check_installed()
    rng = generator(0, "speech bank", family, split)
    specs = list(_every(engine, sorted(set(sentences)), split, clips_per_voice * engine.takes, rng))
    return SpeechBank(ClipStore(specs, split, family))


def sparse_bank(sentences: Iterable[str], split: str, clips_per_sentence: int) -> SpeechBank:
    """As `speech_bank`, where every sentence has only so many clips, each in a drawn voice of espeak's in the split.

    For more sentences than all voices could say. All of them are rendered, with a progress bar.
    """
    if clips_per_sentence < 1:
        raise ValueError(f"clips_per_sentence={clips_per_sentence} must be 1 or more")
    engine = FAMILIES[ESPEAK]
    names = engine.voices(split)
    rng = generator(0, "sparse speech bank", split)
    drawn = [
        (text, names[rng.integers(len(names))]) for text in sorted(set(sentences)) for _ in range(clips_per_sentence)
    ]
    # By voice, since the engine takes time to change it.
    specs = [engine.draw(text, voice, rng) for text, voice in sorted(drawn, key=lambda item: item[1])]
    store = ClipStore(specs, split, ESPEAK)
    store.ensure(range(len(store)))
    return SpeechBank(store)


def _every(
    engine: Synthesiser, sentences: Sequence[str], split: str, clips: int, rng: np.random.Generator
) -> Iterator[ClipSpec]:
    for voice in engine.voices(split):
        for text in sentences:
            for _ in range(clips):
                yield engine.draw(text, voice, rng)


def render(spec: ClipSpec) -> np.ndarray:
    """The clip, int16 at 16 kHz."""
    samples, rate = FAMILIES[spec.family].say(spec)
    return (resample(torch.from_numpy(samples), rate, SAMPLE_RATE) * 32768).round().clamp(-32768, 32767).short().numpy()
