"""The one way in for all scripts: a Hydra command whose bad input ends in one clear line."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import hydra
from hydra.main import get_args_parser
from omegaconf import DictConfig

from scripts.choices import named_choices
from scripts.error_lines import groups

# `python scripts/certify.py` puts scripts/ first on the path, where certify.py would hide the package certify.
sys.path[:] = [folder for folder in sys.path if Path(folder).resolve() != Path(__file__).resolve().parent]

Main = Callable[[DictConfig], None]
BAD_INPUT, INTERRUPTED = 2, 130


def entry_point(config_name: str) -> Callable[[Main], Callable[[], None]]:
    """Turn `main(config)` into a command configured by `conf/CONFIG_NAME.yaml` and `sys.argv`.

    Bad input prints `error: ...` and exits with 2, Ctrl-C exits with 130, and any other exception is a bug
    that keeps its traceback. With HYDRA_FULL_ERROR=1 every exception does. Heavy imports belong inside `main`, so
    that `--help` answers at once; `main.__wrapped__` is the plain function.
    """

    def decorate(main: Main) -> Callable[[], None]:
        @functools.wraps(main)
        def job(config: DictConfig) -> None:
            os.environ.pop("HYDRA_FULL_ERROR", None)  # programs that main starts report errors in one line
            from scripts.checked import checked

            try:
                main(checked(config, config_name))
            except Exception as error:
                _exit_if_expected(error, config_name)
                raise

        # The version of Hydra's behaviour that the configuration was written for.
        configured = functools.partial(hydra.main, config_path="pkg://conf", version_base="1.3")

        @functools.wraps(main)
        def command() -> None:
            if os.environ.get("HYDRA_FULL_ERROR") == "1":
                configured(config_name=config_name)(main)()
                return
            os.environ["HYDRA_FULL_ERROR"] = "1"  # or Hydra prints its own many lines
            try:
                _refuse_unknown_flags()
                sys.argv[1:] = named_choices(sys.argv[1:], groups())
                configured(config_name=config_name)(job)()
            except KeyboardInterrupt:
                print("interrupted", file=sys.stderr)
                sys.exit(INTERRUPTED)
            except Exception as error:
                _exit_if_expected(error, config_name, composing=True)
                raise
            finally:
                os.environ.pop("HYDRA_FULL_ERROR", None)

        return command

    return decorate


def _exit_if_expected(error: Exception, config_name: str, composing: bool = False) -> None:
    from scripts.error_lines import composition_line, run_line

    line = run_line(error)
    if line is None and composing:
        line = composition_line(error, config_name, sys.argv[1:])
    if line is not None:
        _refuse(line, getattr(error, "exit_code", BAD_INPUT))


def _refuse_unknown_flags() -> None:
    _, rest = get_args_parser().parse_known_args()
    flags = [argument for argument in rest if argument.startswith("-")]
    if flags:
        _refuse(f"{flags[0]}: no such flag; options are given as name=value, see --help")


def _refuse(line: str, code: int = BAD_INPUT) -> NoReturn:
    print(f"error: {line}", file=sys.stderr)
    sys.exit(code)
