"""Write a data source as a JSONL manifest, say what manifests hold, or write one without its duplicates."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # before a `scripts` that lies on PYTHONPATH

from scripts.entry import entry_point

if TYPE_CHECKING:
    from omegaconf import DictConfig


@entry_point("prepare_data", paths=("output",), lists=("check", "clean", "against"))
def main(config: DictConfig) -> None:
    """Exports the chosen source, or each of its splits, to `output`; or checks, or cleans, manifests."""
    from omegaconf import OmegaConf

    options: Any = OmegaConf.to_container(config, resolve=False)
    _refuse_mixtures(options)
    if options["check"] is not None:
        _check(options["check"], options["output"])
    elif options["clean"] is not None:
        _clean(options["clean"], options["output"], options["against"])
    else:
        _export(config)


def _export(config: DictConfig) -> None:
    from data.instantiate import instantiate
    from data.sources.manifest import exported
    from data.types import BadInputError

    if config.get("source") is None:
        raise BadInputError("nothing to do; give source=NAME to export, check=FILE, or clean=FILE output=NEW.jsonl")
    told = exported(instantiate(config.source, "source"), config.output, config.max_samples, config.seed)
    if not told:
        raise BadInputError("output: has no value; give output=FOLDER to export, or check=FILE, or clean=FILE")
    print("\n".join(told))


def _check(files: Any, output: Any) -> None:
    from data.inspection import check, named_manifests

    print(f"wrote {check(named_manifests(files, 'check'), None if output is None else Path(output).expanduser())[1]}")


def _clean(file: Any, output: Any, against: Any) -> None:
    from data.inspection import clean, named_manifests, one_manifest
    from data.types import BadInputError

    if output is None:
        raise BadInputError("output: has no value; give output=NEW.jsonl")
    others = {} if against is None else named_manifests(against, "against")
    for line in clean(one_manifest(file, "clean"), others, Path(str(output)).expanduser()):
        print(line)


def _refuse_mixtures(options: dict[str, Any]) -> None:
    from data.types import BadInputError

    chosen = [name for name in ("check", "clean") if options[name] is not None]
    given = [argument.lstrip("+").split("=")[0].split(".")[0] for argument in sys.argv[1:]]
    chosen += ["source"] if "source" in given else []  # which has a default, so that the configuration does not say it
    if len(chosen) > 1:
        raise BadInputError(f"{' and '.join(chosen)} are given; one command does one of them")
    if options["against"] is not None and chosen != ["clean"]:
        raise BadInputError("against: goes with clean=FILE; to compare files give check=[TRAIN.jsonl,TEST.jsonl]")
    if options["max_samples"] is not None and chosen not in ([], ["source"]):
        raise BadInputError(f"max_samples: is of an export; {chosen[0]} reads every row")


if __name__ == "__main__":
    main()
