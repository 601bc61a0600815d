"""A local dashboard without an account: trackio keeps the runs in SQLite next to the run folders."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from training.trackers.base import Array, Cell
from training.trackers.html_table import html_table
from training.trackers.media import histogram_counts, pcm, pixels, scalar

STORE = ".trackio"
PROJECT = "interfuse"
# What the page shows first: groups in the order of their first pattern, plots in the order of the patterns. A pattern
# without "/" is that of the names without one. Groups that are not named follow by name.
PLOT_ORDER = (
    "overview/train_*", "overview/*", "val/accuracy", "val/loss", "val/*", "train/loss", "train/learning_rate",
    "train/*", "grad_norm/total", "grad_norm/*", "time/*", "memory/*", "data/*", "seconds", "tokens", "summary/*",
    "attention/*",
)  # fmt: skip


class TrackioTracker:
    """Logs to `RUNS/.trackio`, where RUNS is the folder that holds the experiments' folders.

    All runs share one project, so that any of them can be compared; a run's group is its experiment. A
    table becomes a page of its own under Media, because trackio's tables cannot play a clip.
    """

    def __init__(self, run_folder: Path, project: str = PROJECT) -> None:
        self.run_folder = Path(run_folder).absolute()
        self.project = project
        self._run: Any = None
        self._step = 0

    def start(self, run_name: str, config: Mapping[str, Any], resume_step: int | None = None) -> None:
        """Begin a run, or continue the run of that name without what it logged after `resume_step`."""
        trackio = import_trackio(self.run_folder.parent.parent)
        name = run_name.replace("/", "-")  # the name becomes a folder of media
        if resume_step is not None:
            self._step = resume_step
            _forget_after(self.project, name, resume_step)
        with _silent_and_offline():
            self._run = trackio.init(
                project=self.project,
                name=name,
                group=self.run_folder.parent.name,
                config={key: value for key, value in config.items() if not key.startswith("_")},
                resume="never" if resume_step is None else "allow",
                embed=False,
            )

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Scalars of one step; it drops tensors with only a warning, so these are Python numbers."""
        self._step = step
        named = {name: scalar(value) for name, value in metrics.items()}
        self._run.log(named | overview(named), step=step)

    def image(self, step: int, name: str, image: Array, caption: str = "") -> None:
        """One picture; a list of them would be dropped."""
        import trackio

        self._run.log({name: trackio.Image(pixels(image), caption=caption)}, step=step)

    def audio(self, step: int, name: str, samples: Array, rate: int, caption: str = "") -> None:
        """One clip, as 16-bit samples: floats would be normalised to their peak."""
        import trackio

        self._run.log({name: trackio.Audio(pcm(samples), caption=caption, sample_rate=rate)}, step=step)

    def table(self, step: int, name: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
        """A page with pictures and players."""
        import trackio

        page = html_table(f"{name}, step {step}", columns, rows)
        self._run.log({name: trackio.Html(page)}, step=step)

    def histogram(self, step: int, name: str, values: Array) -> None:
        """Counts and edges."""
        import trackio

        self._run.log({name: trackio.Histogram(np_histogram=histogram_counts(values))}, step=step)

    def alert(self, title: str, text: str, level: str = "warn") -> None:
        """Shown at the step that was logged last."""
        import trackio

        with contextlib.redirect_stdout(io.StringIO()):
            self._run.alert(title, text, level=trackio.AlertLevel(level), step=self._step)

    def summary(self, values: Mapping[str, Any]) -> None:
        """`summary/NAME` at the last step: trackio knows no summary, and keeps numbers only."""
        numbers = {name: value for name, value in values.items() if not isinstance(value, str)}
        self.log(self._step, {f"summary/{name}": value for name, value in numbers.items()})

    def finish(self) -> None:
        """Flush the queue; bounded, since everything is local."""
        import trackio

        with contextlib.redirect_stdout(io.StringIO()):
            trackio.finish()


def overview(metrics: Mapping[str, float]) -> dict[str, float]:
    """What the page begins with, in a group of its own: the loss of the training, and the means of the validation."""
    shown = [name for name in metrics if name == "train/loss" or (name.startswith("val/") and name.count("/") == 1)]
    return {f"overview/{name.replace('/', '_')}": metrics[name] for name in shown if not name.endswith("/skipped")}


def import_trackio(runs_folder: Path) -> Any:
    """The library, told where to keep its files: it reads TRACKIO_DIR once, on import.

    The variable is taken away again, so that programs which this one starts choose for themselves.
    """
    chosen = os.environ.get("TRACKIO_DIR")
    os.environ["TRACKIO_DIR"] = chosen or str(Path(runs_folder).absolute() / STORE)
    try:
        import trackio
    finally:
        if chosen is None:
            del os.environ["TRACKIO_DIR"]
    return trackio


@contextlib.contextmanager
def _silent_and_offline() -> Iterator[None]:
    """`init` prints advice for its own command, and asks the hub for a user name when a token lies around."""
    from huggingface_hub import constants

    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _forget_after(project: str, name: str, step: int) -> None:
    """Delete what a killed run logged after its checkpoint; trackio itself can only delete whole runs."""
    from trackio.sqlite_storage import SQLiteStorage
    from trackio.utils import project_media_dir

    path = SQLiteStorage.get_project_db_path(project)
    record = SQLiteStorage.get_latest_run_record_by_name(project, name) if path.exists() else None
    if record is None:
        return
    with contextlib.closing(sqlite3.connect(path, timeout=30)) as connection, connection:
        for table in ("metrics", "alerts"):
            connection.execute(f"DELETE FROM {table} WHERE run_id = ? AND step > ?", (record["id"], step))
    for folder in (project_media_dir(project) / name).glob("*"):
        if folder.name.isdecimal() and int(folder.name) > step:
            shutil.rmtree(folder, ignore_errors=True)
