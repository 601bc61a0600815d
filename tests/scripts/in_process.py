"""A command as a shell runs it, in this process, any number of times."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig


def run_command(main: Callable[[], None], arguments: Sequence[str]) -> int:
    """The exit code of a script's `main`, given what is typed after the script's name; the caller captures the output.

    What a command leaves in a process is put back: Hydra, the environment, the working folder, the path, `sys.argv`.
    """
    argv, path, folder, environment = list(sys.argv), list(sys.path), Path.cwd(), dict(os.environ)
    sys.argv[:] = [f"{main.__module__.rpartition('.')[2]}.py", *arguments]
    try:
        main()
    except SystemExit as ended:
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
            return 1
        return ended.code or 0
    finally:
        GlobalHydra.instance().clear()
        HydraConfig.instance().cfg = None
        sys.argv[:], sys.path[:] = argv, path
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
    return 0
