"""Make the leaderboard's page from its files, and add a file of rows."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # before a `scripts` that lies on PYTHONPATH

from scripts.entry import entry_point

if TYPE_CHECKING:
    from omegaconf import DictConfig

TEXTS = ("name", "data_set", "method", "reference", "made_by", "commit", "command", "machine", "date", "note")


@entry_point("leaderboard", texts=TEXTS, paths=("files", "page"), lists=("add",))
def main(config: DictConfig) -> None:
    """Writes the new file, if there is something to add, and then the page."""
    from omegaconf import OmegaConf

    from bakeoff.leaderboard.add import Given, name_of, rows_of
    from bakeoff.leaderboard.page import write_page
    from bakeoff.leaderboard.rows import SUFFIX, read_files, write_file

    options: Any = OmegaConf.to_container(config, resolve=True)
    folder, page = Path(options["files"]), Path(options["page"])
    if (add := options["add"]) is not None:
        budget = {name: value for name, value in options["budget"].items() if value is not None}
        given = Given(budget=budget, **{name: options[name] for name in TEXTS if name != "name"})
        paths = [add] if isinstance(add, str) else list(add)
        rows = rows_of(paths, given)
        new = folder / f"{options['name'] or name_of(paths, rows)}{SUFFIX}"
        write_file(rows, new)
        print(f"rows: {new}")
    write_page(read_files(folder), page, folder)
    print(f"leaderboard: {page}")


if __name__ == "__main__":
    main()
