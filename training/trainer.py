"""The training loop.

batches -> objective -> gradient of the window -> judged, clipped -> update -> log, validate, save
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from data.types import BadInputError, InterleavedBatch
from fusion.checkpoint import read_weights, resolve, step_folders
from training.balance.base import Balance
from training.distributed import Processes, blocks, full_state_dict, replicate, shard, start
from training.monitoring.progress import Progress
from training.monitoring.reporting import Reporter
from training.objectives.base import Objective
from training.optimizers.groups import Optimizers
from training.options import TrainerOptions
from training.runs import checkpoint
from training.runs.interruption import StopSignals, TrainingInterrupted
from training.runs.random_state import seed_step
from training.steps import gradients
from training.steps.accumulation import accumulate
from training.steps.anomaly import AnomalyError, AnomalyGuard
from training.steps.ema import Ema
from training.steps.recompute import recompute
from training.steps.window import Counters
from training.trackers.base import Tracker
from training.validation import Evaluate, Validation


@dataclass(frozen=True)
class TrainResult:
    """How a training ended: counts since its very beginning, the last validation, the newest checkpoint."""

    step: int
    seconds: float
    tokens: int
    skipped_samples: int
    metrics: dict[str, float]
    checkpoint: Path


class Trainer:
    """Trains `model` in place, and goes on from `resume` (a run or one of its steps) as if nothing had happened.

    objective: prepared. optimizer: called with the model. schedule: (step, max_steps) -> factor of the learning rates.
    load: (start, stop) -> the micro-batches of these numbers, of this process; a number always means the same batch.
    evaluate: see `Validation`. config, tokenizer_path: kept in every checkpoint. seed: of what a process draws itself,
    such as dropout, in each update anew. data: what the sources held, for checkpoints. notes: what a person should know
    when the training goes on. remedy: what may help if steps wait for data (see `training.monitoring.slow_data`).
    balance: what is done about modalities that learn at different speeds. After a resume `step` > 0: start the tracker
    with it.
    """

    def __init__(
        self,
        *,
        model: nn.Module,
        objective: Objective,
        optimizer: Callable[[nn.Module], Optimizers],
        schedule: Callable[[int, int], float],
        load: Callable[[int, int], Iterable[InterleavedBatch]],
        options: TrainerOptions,
        run_folder: Path,
        config: Mapping[str, Any],
        tokenizer_path: Path | None = None,
        tracker: Tracker | None = None,
        evaluate: Evaluate | None = None,
        processes: Processes | None = None,
        resume: Path | None = None,
        seed: int = 0,
        data: Mapping[str, Any] | None = None,
        notes: Sequence[str] = (),
        remedy: str = "",
        balance: Balance | None = None,
    ) -> None:
        if options.max_steps is None:
            raise ValueError(
                "options.max_steps=None: a trainer needs the number of updates, see training.preparation.length"
            )
        self.max_steps = options.max_steps
        schedule(0, self.max_steps)  # complains now about wrong arguments
        self.options, self.config, self.tokenizer_path, self.seed = options, config, tokenizer_path, seed
        self.schedule, self.load = schedule, load
        self.processes = processes or start(options.device)
        self.report = Reporter(tracker, self.processes, f"{run_folder.parent.name}/{run_folder.name}", remedy)
        self.checkpoints = run_folder / "checkpoints"
        self.model = model.to(self.processes.device).train()
        self.validation = Validation(self.model, evaluate, options, self.processes)
        if options.recompute == "blocks":
            recompute(blocks(self.model), options.compile)
        elif options.compile:
            for block in blocks(self.model):
                block.compile(dynamic=True)
        shard(self.model, self.processes)
        self.balance = balance or Balance()
        self.balance.prepare(self.model, self.processes, seed)
        self.objective = objective.to(self.processes.device)
        replicate(self.objective, self.processes)
        self.parts = gradients.parts(self.model)
        if own := [parameter for parameter in self.objective.parameters() if parameter.requires_grad]:
            self.parts["objective"] = own
        self.optimizer = optimizer(self.model)
        self.optimizer.add(self.objective, "objective")
        self.ema = Ema(self.model, options.ema_decay) if options.ema_decay is not None else None
        self.guard = AnomalyGuard(options.spike_factor)
        self.counters, self.norms = Counters(), dict.fromkeys((*self.parts, "total"), 0.0)
        self.seconds_before, self.started = 0.0, time.monotonic()
        self.saved: Path | None = None
        self.data, self.notes = data, list(notes)
        if resume is not None:
            self._restore(resolve(resume))

    @property
    def step(self) -> int:
        """Updates so far."""
        return self.counters.step

    @property
    def seconds(self) -> float:
        """Time spent training, before interruptions too."""
        return self.seconds_before + time.monotonic() - self.started

    def fit(self) -> TrainResult:
        """Trains to `max_steps`, `max_seconds` or the end of its patience, then validates and saves.

        Raises `AnomalyError` or another `BadInputError` (full disk, unusable sample), and `TrainingInterrupted` after a
        signal, when a checkpoint has been written.
        """
        self.started = time.monotonic()
        options = self.options
        seconds_left = None if options.max_seconds is None else options.max_seconds - self.seconds_before
        progress = Progress(self.step, self.max_steps, seconds_left, visible=self.processes.is_main)
        with StopSignals() as signals, progress as self.report.progress:
            for note in self.notes:
                self.report.alert("resume", note, "warn")
            for batches, data_seconds in self._windows():
                self._train_step(batches, data_seconds)
                progress.reach(self.step)
                if self.step % options.log_every == 0:
                    self._log()
                if _due(self.step, options.evaluate_every) and self._validate():
                    self._save()
                if _due(self.step, options.checkpoint_every):
                    self._save()
                if self._stops(signals):
                    break
            saved = self._finish()
        done = self.counters
        metrics = self.validation.metrics
        return TrainResult(done.step, self.seconds, done.tokens, done.skipped_samples, metrics, saved)

    def _windows(self) -> Iterator[tuple[list[InterleavedBatch], float]]:
        """The micro-batches of each remaining update, and how long they were waited for."""
        size, first = self.options.accumulation_steps, self.counters.next_batch
        last = self.step if self.validation.out_of_patience else self.max_steps
        batches = iter(self.load(first, first + size * (last - self.step)))
        while True:
            begun = time.monotonic()
            seed_step(self.seed, self.step, self.processes.rank)
            window = list(itertools.islice(batches, size))
            if not window:
                return
            yield window, time.monotonic() - begun

    def _train_step(self, batches: list[InterleavedBatch], data_seconds: float) -> None:
        begun = time.monotonic()
        self.report.memory.start()
        extra = self.balance.extra(self.step)
        totals = accumulate(self.model, self.objective, batches, self.processes, self.options.precision, extra)
        totals.statistics.update(self.balance.modulate(self.step))
        self.norms = gradients.norms(self.parts, self.processes)
        judged = totals.count > 0
        reason = self.guard.judge(totals.mean, self.norms["total"]) if judged else self.guard.pass_over()
        self.optimizer.set_lr_factor(self.schedule(self.step, self.max_steps))
        if reason is None:
            for module in (self.model, self.objective):
                gradients.clip(module, self.norms["total"], self.options.clip_norm)
            with self.balance.updating():
                self.optimizer.step()
            if self.ema is not None:
                self.ema.update()
        self.report.memory.stop()
        self.optimizer.zero_grad()
        self.counters.step += 1
        self.counters.next_batch += len(batches)
        self.counters.tokens += totals.tokens
        self.counters.skipped_samples += totals.num_skipped
        for sample in totals.skipped:
            self.report.say_once(f"skipped: {sample}")
        seconds = time.monotonic() - begun + data_seconds
        self.report.window.add(totals, seconds, data_seconds, accepted=reason is None)
        if reason is not None:
            self._refuse(reason, is_anomaly=judged)

    def _refuse(self, reason: str, is_anomaly: bool) -> None:
        """An update was not made: goes on or stops, as configured; too many in a row always stop."""
        self.counters.skipped_updates += 1
        in_a_row = self.guard.consecutive
        too_many = in_a_row >= self.options.max_consecutive_skips
        stops = too_many or (is_anomaly and self.options.on_anomaly == "stop")
        text = f"step {self.step}: {reason}; the update was not made"
        self.report.alert("training stopped" if stops else "update skipped", text, "error" if stops else "warn")
        if stops:
            why = f"{in_a_row} times in a row" if too_many else "trainer.on_anomaly=skip would go on"
            last = f"the last checkpoint is {self.saved}" if self.saved else "there is no checkpoint yet"
            raise AnomalyError(f"{text} ({why}); {last}")

    def _log(self) -> None:
        self.report.log(self.counters, self.seconds, self.optimizer.learning_rate, self.norms)

    def _validate(self) -> bool:
        """Evaluates and logs; whether this is the best step so far."""
        weights = self._averaged_weights()
        if weights is None and self.validation.needs_copy:
            weights = full_state_dict(self.model)
        metrics = self.validation(self.step, weights)
        if metrics:
            self.report.track(self.counters, self.seconds, metrics)
            self.report.say("  ".join([f"step {self.step}", *(f"{k} {v:.4g}" for k, v in metrics.items())]))
        is_best = self.processes.is_main and self.validation.is_best(self.step, self.checkpoints)
        return self.processes.gather(is_best)[0]

    def _stops(self, signals: StopSignals) -> bool:
        """Whether patience or, in any process, the time is over; after a signal, saves and raises."""
        if self.validation.out_of_patience:
            self.report.alert("early stopping", f"step {self.step}: {self.validation.why_stopped}", "info")
            return True
        late = self.options.max_seconds is not None and self.seconds >= self.options.max_seconds
        late_count, signal_count = self.processes.sum([float(late), float(signals.received is not None)])
        if signal_count:
            self._save()
            message = f"stopped at step {self.step}; go on with: resume={self.checkpoints.parent}"
            self.report.say(message)
            raise TrainingInterrupted(max(self.processes.gather(signals.received or 0)), message)
        return late_count > 0

    def _finish(self) -> Path:
        """The last line of the log, the last validation and the last checkpoint, unless they exist."""
        if self.report.window.steps:
            self._log()
        if self.validation.step != self.step:
            self._validate()
        return self._save()

    def _save(self) -> Path:
        """Writes this step's checkpoint, unless it exists, and deletes what is no longer kept."""
        if self.saved is not None and self.saved.name == f"step_{self.step}":
            return self.saved
        contents = checkpoint.CheckpointContents(
            step=self.step,
            weights=full_state_dict(self.model),
            averaged_weights=self._averaged_weights(),
            training=self._state(),
            config=self.config,
            tokenizer_path=self.tokenizer_path,
            score=self.validation.score(self.step),
            data=self.data,
            objective=full_state_dict(self.objective),
        )
        if self.processes.is_main:
            checkpoint.save(self.checkpoints, contents)
            checkpoint.prune(self.checkpoints, self.options.keep_checkpoints)
        self.processes.barrier()
        self.saved = self.checkpoints / f"step_{self.step}"
        return self.saved

    def _averaged_weights(self) -> dict[str, Tensor] | None:
        return None if self.ema is None else full_state_dict(self.model) | self.ema.full_averages()

    def _state(self) -> dict[str, Any]:
        """Everything but the weights that the rest of the training depends on."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "ema_updates": self.ema.updates if self.ema else 0,
            "balance": self.balance.state_dict(),
            "guard": self.guard.state_dict(),
            "validation": self.validation.state_dict(),
            "window": self.report.state_dict(),
            "counters": vars(self.counters).copy(),
            "norms": self.norms,
            "seconds": self.seconds,
            "world_size": self.processes.world_size,
        }

    def _compare_processes(self, before: int | None) -> None:
        """Notes a number of processes other than that of the checkpoint; None: an old one, which does not say."""
        now = self.processes.world_size
        if before is not None and before != now:
            self.notes.append(
                f"resumed by {now} process{'es' if now > 1 else ''}, saved by {before}: the samples stay the same, "
                "but sums are rounded otherwise, and so is drawn what each process draws itself (dropout)"
            )

    def _restore(self, step_folder: Path) -> None:
        """Continues from a checkpoint. Refuses one if this run already has a newer one."""
        newest = max([step_folder, *step_folders(self.checkpoints)], key=lambda folder: int(folder.name[5:]))
        if newest.name != step_folder.name:
            raise BadInputError(f"{newest} is newer than {step_folder.name}: go on from it, or move it away first")
        state = checkpoint.load_training(step_folder)
        checkpoint.load_weights(self.model, step_folder)
        checkpoint.load_objective(self.objective, step_folder)
        self.optimizer.load_state_dict(state["optimizer"])
        if self.ema is not None:
            self.ema.load(read_weights(step_folder, averaged=True), state["ema_updates"])
        self.balance.load_state_dict(state.get("balance", {}))  # an older checkpoint has none
        self.guard.load_state_dict(state["guard"])
        self.validation.load_state_dict(state["validation"])
        self.report.load_state_dict(state["window"])
        self.counters, self.norms = Counters(**state["counters"]), state["norms"]
        self.seconds_before, self.saved = state["seconds"], step_folder
        self._compare_processes(state.get("world_size"))


def _due(step: int, every: int | None) -> bool:
    return every is not None and step % every == 0
