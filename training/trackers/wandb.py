"""Weights & Biases, chosen with `tracker=[trackio,wandb]`; offline unless asked otherwise."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from data.types import BadInputError
from training.trackers.base import Array, Cell
from training.trackers.html_table import html_table
from training.trackers.media import histogram_counts, pcm, pixels, scalar

MODES = ("online", "offline", "disabled")


class WandbTracker:
    """Logs to `RUN/wandb`; `wandb sync RUN/wandb/offline-*` uploads it later, `wandb beta leet` shows it.

    The step is a metric of its own, so nothing is dropped when a resumed run goes back to its checkpoint
    (what was logged after the checkpoint stays; an uploaded point cannot be deleted). A resumed offline run is a
    second folder with the same id, which `wandb sync --append` joins.
    """

    def __init__(
        self, run_folder: Path, project: str = "interfuse", mode: str = "offline", entity: str | None = None
    ) -> None:
        if mode not in MODES:
            raise ValueError(f"mode={mode!r} of the wandb tracker must be one of {', '.join(MODES)}")
        if importlib.util.find_spec("wandb") is None:
            raise BadInputError("tracker.wandb: the package is not installed: pip install wandb -c constraints.txt")
        self.run_folder = Path(run_folder).absolute()
        self.project = project
        self.mode = mode
        self.entity = entity
        self._run: Any = None

    def start(self, run_name: str, config: Mapping[str, Any], resume_step: int | None = None) -> None:
        """Begin or continue the run that has its name as its id; raises `BadInputError` online without a key."""
        os.environ.setdefault("WANDB_SILENT", "true")  # read when the library is imported
        import wandb

        if self.mode == "online" and not wandb.login(prompt=False):
            raise BadInputError(
                "tracker.wandb.mode=online found no API key: run 'wandb login', set WANDB_API_KEY, "
                "or choose tracker.wandb.mode=offline"
            )
        name = run_name.replace("/", "-")
        self._run = wandb.init(
            project=self.project,
            entity=self.entity,
            name=name,
            id=name,
            group=self.run_folder.parent.name,
            config=dict(config),
            dir=self.run_folder,
            mode=self.mode,  # type: ignore[arg-type]
            resume="allow" if self.mode == "online" else None,
            settings=wandb.Settings(silent=True, console="off", disable_code=True, init_timeout=60),
        )
        self._run.define_metric("step", hidden=True)
        self._run.define_metric("*", step_metric="step")

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Scalars of one step."""
        self._run.log({"step": step} | {name: scalar(value) for name, value in metrics.items()})

    def image(self, step: int, name: str, image: Array, caption: str = "") -> None:
        """One picture."""
        import wandb

        self._run.log({"step": step, name: wandb.Image(pixels(image), caption=caption or None)})

    def audio(self, step: int, name: str, samples: Array, rate: int, caption: str = "") -> None:
        """One playable clip."""
        import wandb

        self._run.log({"step": step, name: wandb.Audio(pcm(samples), sample_rate=rate, caption=caption or None)})

    def table(self, step: int, name: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
        """A page with pictures and players, kept in the run's folder.

        `wandb.Table` would put them into a staging folder of the user's home, which an offline run outlives.
        """
        import wandb

        page = html_table(f"{name}, step {step}", columns, rows)
        self._run.log({"step": step, name: wandb.Html(page, inject=False)})

    def histogram(self, step: int, name: str, values: Array) -> None:
        """Counts and edges."""
        import wandb

        self._run.log({"step": step, name: wandb.Histogram(np_histogram=histogram_counts(values))})

    def alert(self, title: str, text: str, level: str = "warn") -> None:
        """An alert of the run, mailed or posted as the account says."""
        self._run.alert(title=title, text=text, level=level.upper(), wait_duration=0)

    def summary(self, values: Mapping[str, Any]) -> None:
        """The run's summary."""
        self._run.summary.update(dict(values))

    def finish(self) -> None:
        """Flush, and wait for the library's process: `finish` alone returns before the file is written."""
        import wandb

        self._run.finish()
        wandb.teardown()
