"""Shared by all tests."""

import signal
from collections.abc import Iterator

import pytest
import torch

from data.device import CPU, choose_device

# A shell starts background jobs with Ctrl-C ignored, and programs that tests start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default=CPU, help="where tests that take `device` compute: cpu, cuda, auto")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`-m on_device` chooses the tests that take the device."""
    for item in items:
        if "device" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.on_device)


@pytest.fixture
def device(request: pytest.FixtureRequest) -> Iterator[torch.device]:
    """Where to compute; a GPU's short form of float32 (TF32) is off, as it is for matrix products anyway."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield choose_device(request.config.getoption("--device"))
