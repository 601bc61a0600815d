"""Where what is fetched, rendered or computed once is kept."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """`$INTERFUSE_CACHE`, else `interfuse` in the user's cache folder."""
    if named := os.environ.get("INTERFUSE_CACHE"):
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "interfuse"
