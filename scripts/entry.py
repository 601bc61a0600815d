"""The one way in for all scripts: a Hydra command. Its bad input ends in one clear line."""

from __future__ import annotations

import argparse
import functools
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, NoReturn, TypeVar

REPOSITORY = Path(__file__).resolve().parents[1]


def own_packages_first() -> None:
    """Lets nothing on the path hide a package of this project, here and in every process that is started from here.

    A folder of the user's own on PYTHONPATH may hold a `data`, a `conf` or an `encoders.py`. And `python
    scripts/certify.py` puts scripts/ first on the path, where certify.py would hide the package certify.
    """
    ours = (REPOSITORY, REPOSITORY / "scripts")
    sys.path[:] = [str(REPOSITORY), *(folder for folder in sys.path if Path(folder).resolve() not in ours)]
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    others = [folder for folder in given if folder and Path(folder).resolve() != REPOSITORY]
    os.environ["PYTHONPATH"] = os.pathsep.join([str(REPOSITORY), *others])


own_packages_first()

import hydra  # noqa: E402
from hydra.core.hydra_config import HydraConfig  # noqa: E402
from hydra.main import get_args_parser  # noqa: E402
from omegaconf import DictConfig, open_dict  # noqa: E402

from data.configuration.overrides import composing  # noqa: E402
from scripts.arguments import ArgumentError, Literals, hydra_arguments  # noqa: E402
from scripts.choices import named_choices, refuse_merged  # noqa: E402
from scripts.error_lines import CONF, composition_line, groups, run_line, unexpected_line  # noqa: E402
from scripts.help_page import offer_used_groups  # noqa: E402

Result = TypeVar("Result")
UNEXPECTED, BAD_INPUT, INTERRUPTED = 1, 2, 130
# Hydra's own switch: tracebacks instead of its many lines.
FULL_ERROR = "HYDRA_FULL_ERROR"
SWEEP = "hydra.mode=MULTIRUN"


def entry_point(
    config_name: str,
    texts: Sequence[str] = (),
    paths: Sequence[str] = (),
    lists: Sequence[str] = (),
    media: bool = False,
) -> Callable[[Callable[[DictConfig], Result]], Command[Result]]:
    """Turn `main(config)` into a command configured by `conf/CONFIG_NAME.yaml` and `sys.argv`.

    The values of the options `texts`, `paths`, `lists` and `media` are taken literally (see `Literals`), unless the
    command sweeps over values. Heavy imports belong inside `main`, so that `--help` answers at once.
    """
    return functools.partial(Command, config_name=config_name, literals=Literals(texts, paths, lists, media))


def plain_command(main: Callable[[], None]) -> Callable[[], None]:
    """Turn `main()` into a command with arguments of its own. It ends as the others do where something is wrong."""

    @functools.wraps(main)
    def command() -> None:
        try:
            main()
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            sys.exit(INTERRUPTED)
        except Exception as error:
            if os.environ.get(FULL_ERROR) == "1":
                raise
            # Another program says so what it cannot use.
            said = " ".join(str(error).split()) if isinstance(error, ValueError) else None
            _exit(error, run_line(error) or said)

    return command


class Command(Generic[Result]):
    """`main(config)` for a shell, which calls it, and for Python, by `run`; `__wrapped__` is the plain function."""

    __wrapped__: Callable[[DictConfig], Result]

    def __init__(self, main: Callable[[DictConfig], Result], config_name: str, literals: Literals) -> None:
        self.config_name, self.literals = config_name, literals
        functools.update_wrapper(self, main)

    def __call__(self) -> None:
        """Runs by `sys.argv`.

        Bad input prints `error: ...` and exits with 2, Ctrl-C exits with 130, and any other exception is a bug: it
        prints `error: unexpected ...` and exits with 1. With HYDRA_FULL_ERROR=1 every exception keeps its traceback.
        """
        typed, full_error = list(sys.argv), os.environ.get(FULL_ERROR) == "1"

        @functools.wraps(self.__wrapped__)
        def job(config: DictConfig) -> None:
            from scripts.checked import checked

            sys.argv[:] = typed  # what a run notes down of its command
            if full_error:
                self.__wrapped__(checked(config, self.config_name))
                return
            os.environ.pop(FULL_ERROR, None)  # programs that main starts report errors in one line
            try:
                self.__wrapped__(checked(config, self.config_name))
            except Exception as error:
                _exit(error, run_line(error))

        offer_used_groups()
        # The version of Hydra's behaviour that the configuration was written for.
        configured = hydra.main(config_path="pkg://conf", config_name=self.config_name, version_base="1.3")(job)
        try:
            sys.argv[1:] = self._typed()
            os.environ[FULL_ERROR] = "1"  # or Hydra prints its own many lines
            configured()
        except KeyboardInterrupt:
            if full_error:
                raise
            print("interrupted", file=sys.stderr)
            sys.exit(INTERRUPTED)
        except Exception as error:
            if full_error:
                raise
            _exit(error, run_line(error) or composition_line(error, self.config_name, sys.argv[1:]))
        finally:
            sys.argv[:] = typed
            HydraConfig.instance().cfg = None
            if not full_error:
                os.environ.pop(FULL_ERROR, None)

    def run(self, options: Sequence[str] = ()) -> Result:
        """What `main` returns for these options, as they are typed in a shell; nothing exits.

        Hydra's state and `sys.argv` are those of before at the end, so that it can be called any number of times, in
        a notebook too.

        Raises:
            BadInputError: what makes the command exit with 2, in the same line.
        """
        from data.types import BadInputError
        from scripts.checked import checked

        typed, running, arguments = list(sys.argv), HydraConfig.instance().cfg, list(options)
        sys.argv[:] = [f"{self.config_name}.py", *arguments]  # what a run notes down of its command
        try:
            arguments = self._read(arguments, self.literals)
            with composing():
                config = hydra.compose(self.config_name, arguments, return_hydra_config=True)
            HydraConfig.instance().set_config(config)
            with open_dict(config):
                del config["hydra"]
            return self.__wrapped__(checked(config, self.config_name))
        except Exception as error:
            line = str(error) if isinstance(error, ArgumentError) else run_line(error)
            line = line or composition_line(error, self.config_name, arguments)
            if line is None or os.environ.get(FULL_ERROR) == "1":
                raise
            # The line is what a person needs, without the many of Hydra before it.
            raise (error if isinstance(error, BadInputError) else BadInputError(line)) from None
        finally:
            sys.argv[:] = typed
            HydraConfig.instance().cfg = running

    def _typed(self) -> list[str]:
        """`sys.argv` as Hydra reads it: options first, for its parser takes none after a flag that follows another."""
        typed, literals = sys.argv[1:], self.literals
        parser = get_args_parser()
        parser.exit_on_error = False  # or it prints its usage
        try:
            flags, rest = parser.parse_known_args()
        except argparse.ArgumentError as error:
            _refuse(f"{error}; see --help")
        unknown = [argument for argument in rest if argument.startswith("-")]
        if unknown:
            _refuse(f"{unknown[0]}: no such flag; options are given as name=value, see --help")
        options = [*flags.overrides, *rest]
        if flags.multirun or SWEEP in typed:
            literals = Literals()  # a sweep takes a comma for the next value
        typed = [item for item in typed if item in options] + [item for item in typed if item not in options]
        try:
            return self._read(typed, literals)
        except ArgumentError as error:
            _refuse(str(error))

    def _read(self, typed: Sequence[str], literals: Literals) -> list[str]:
        """Options as Hydra reads them. Raises `ArgumentError` for one that cannot be used."""
        refuse_merged(typed, CONF)
        return named_choices(hydra_arguments(typed, literals, CONF / f"{self.config_name}.yaml"), groups())


def _exit(error: Exception, line: str | None) -> NoReturn:
    if line is None:
        _refuse(unexpected_line(error), UNEXPECTED)
    _refuse(line, getattr(error, "exit_code", BAD_INPUT))


def _refuse(line: str, code: int = BAD_INPUT) -> NoReturn:
    printable = line.encode("utf-8", "backslashreplace").decode()
    print(f"error: {printable}", file=sys.stderr)
    sys.exit(code)
