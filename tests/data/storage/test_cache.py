"""Where the cache is follows from the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.storage.cache import cache_folder


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTERFUSE_CACHE", "/a")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert cache_folder() == Path("/a")
    monkeypatch.delenv("INTERFUSE_CACHE")
    assert cache_folder() == Path("/b/interfuse")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "interfuse"
