"""Runs of which something is missing, cut or changed, given to every script that reads them."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tests.bad_input.case import Case
from tests.bad_input.configurations import drawn
from tests.bad_input.small import good_data

STEP = Path("checkpoints") / "step_1"
FILES = ("manifest.json", "config.yaml", "tokenizer.json", "model.safetensors", "training.pt")
OF_RUN = ("config.yaml", "metrics.jsonl", "summary.json", "report.json", "environment.json", "answers.jsonl")
CONTENTS = (b"", b"{", b"[]", b"null", b"7", b"\xff\xfe\x00\x01", b"{}", b"a: [1", b"x" * 3000, b'{"files": {}}')
COMMANDS: dict[str, Callable[[], list[str]]] = {
    "generate": lambda: ["checkpoint=run", "text=what"],
    "explain": lambda: ["checkpoint=run", "image=good/1.png", "text=what"],
    "evaluate": lambda: ["checkpoint=run", "output=again", "data.evaluation=good/manifest.jsonl"],
    "train": lambda: ["resume=run", "trainer.max_steps=2"],
    "compare": lambda: ["runs=[run,other]"],
}
# Values of a checkpoint's own configuration, which anybody may have written.
OPTIONS: tuple[tuple[str, Any], ...] = (
    *(("d_model", value) for value in (-1, 0, 17, "abc", None, 2**40)),
    *(("encoders", value) for value in (None, 7, {}, {"text": None}, {"image": {"_target_": "os.system"}})),
    *(("fusion", value) for value in (None, [], {"_target_": "fusion.early.Nothing"}, {"_target_": 7})),
    *(("data", value) for value in (None, 7, {}, {"processors": 3}, {"max_tokens": "many"})),
    *(("evaluation", value) for value in (7, {"tasks": 7}, {"_target_": "builtins.eval"}, {"tasks": {"a": {}}})),
    *(("trainer", value) for value in (None, {}, {"max_steps": "x"})),
)


def checkpoints(rng: np.random.Generator, number: int, run: Callable[[], Path]) -> Iterator[Case]:
    """Spoils a copy of a run that `run` trains when it is first asked for."""
    for place in range(number):
        script = drawn(rng, tuple(COMMANDS))
        kind = place % 4
        if kind == 0:
            name, spoil = whole_file(rng)
        elif kind == 1:
            name, spoil = file_of_run(rng)
        elif kind == 2:
            name, spoil = own_configuration(rng)
        else:
            name, spoil = forged(rng)
        yield Case(f"{script} {name}", script, lambda folder, script=script: COMMANDS[script](), _copied(run, spoil))


def _copied(run: Callable[[], Path], spoil: Callable[[Path], None]) -> Callable[[Path], None]:
    def prepare(folder: Path) -> None:
        good_data(folder)
        for name in ("run", "other"):
            shutil.copytree(run(), folder / name)
        spoil(folder / "run")

    return prepare


def whole_file(rng: np.random.Generator) -> tuple[str, Callable[[Path], None]]:
    """A file of the checkpoint is missing, cut, a folder, or has another byte."""
    name, how = drawn(rng, FILES), drawn(rng, ("missing", "cut", "changed", "a folder", "a link to nothing"))
    return f"{how}: {name}", lambda run: damage(run / STEP / name, how)


def file_of_run(rng: np.random.Generator) -> tuple[str, Callable[[Path], None]]:
    """A file beside the checkpoints is missing, or holds something else."""
    name, content = drawn(rng, OF_RUN), drawn(rng, (None, *CONTENTS))

    def spoil(run: Path) -> None:
        if content is None:
            (run / name).unlink(missing_ok=True)
        else:
            (run / name).write_bytes(content)

    return f"{name} holds {content!r:.30}", spoil


def forged(rng: np.random.Generator) -> tuple[str, Callable[[Path], None]]:
    """A file of the checkpoint holds something else, and the manifest its hash."""
    name, content = drawn(rng, FILES[1:]), drawn(rng, CONTENTS)
    return f"forged {name} {content!r:.30}", lambda run: rewrite(run, name, content)


def own_configuration(rng: np.random.Generator) -> tuple[str, Callable[[Path], None]]:
    """The stored configuration says something else, and the manifest its hash."""
    key, value = drawn(rng, OPTIONS)

    def spoil(run: Path) -> None:
        from omegaconf import OmegaConf

        config = OmegaConf.load(run / STEP / "config.yaml")
        config[key] = value
        text = OmegaConf.to_yaml(config).encode()
        rewrite(run, "config.yaml", text)
        (run / "config.yaml").write_bytes(text)

    return f"{key}={value!r:.40} in its configuration", spoil


def rewrite(run: Path, name: str, content: bytes) -> None:
    """Another content of a file with the hash that belongs to it."""
    (run / STEP / name).write_bytes(content)
    manifest = json.loads((run / STEP / "manifest.json").read_text(encoding="utf-8"))
    manifest["files"][name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (run / STEP / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


def damage(path: Path, how: str) -> None:
    """Spoils one file."""
    content = path.read_bytes()
    path.unlink()
    if how == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif how == "changed":
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif how == "a folder":
        path.mkdir()
    elif how == "a link to nothing":
        path.symlink_to(path.with_name("nowhere"))
