"""Shared by all tests."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import torch
    from playwright.sync_api import Browser

# A shell starts background jobs with Ctrl-C ignored, and programs that tests start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default="cpu", help="where tests that take `device` compute: cpu, cuda, auto")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`-m on_device` chooses the tests that take the device."""
    for item in items:
        given = getattr(getattr(item, "callspec", None), "params", {})
        if "device" in getattr(item, "fixturenames", ()) and "device" not in given:
            item.add_marker(pytest.mark.on_device)


@pytest.fixture
def device(request: pytest.FixtureRequest) -> Iterator[torch.device]:
    """Where to compute; a GPU's short form of float32 (TF32) is off, as it is for matrix products anyway."""
    import torch  # tests that need none of it start without

    from data.device import choose_device

    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield choose_device(request.config.getoption("--device"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium; where there is none the test is skipped, and fails in continuous integration."""
    from tests.chromium import launched

    with launched() as found:
        yield found
