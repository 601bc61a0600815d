"""Batches as a pure function of their number, and the worker processes that compute them ahead."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from data.batching.absence import ModalityDropout
from data.batching.collate import collate
from data.batching.document import Document
from data.batching.interleave import Interleaver
from data.batching.mixture import Mixture
from data.batching.one_medium import OneMedium
from data.batching.packing import pack
from data.processes import die_with_parent
from data.sources.base import ALIGNED, MESSAGES
from data.types import AlignedSample, BadInputError, BadSampleError, InterleavedBatch, Modality

ON_BAD_SAMPLE = ("error", "skip")
# What asks a training to stop; a terminal or a scheduler sends it to the main process and to every worker.
STOP_SIGNALS = frozenset({signal.SIGINT, signal.SIGTERM})


class BatchStream(Dataset[InterleavedBatch]):
    """`stream[i]`: batch number i, computed from nothing but i and the seed of the mixture.

        positions [i * S, (i + 1) * S) -> this rank's part -> mixture -> interleaver -> rows -> batch

    samples_per_batch: S, over all processes together. on_bad_sample: "error" raises `BadSampleError`; "skip" leaves
    the sample out and says why in `batch.skipped`. pad_to: a fixed row length for `torch.compile`. modality_dropout:
    modality -> share of the samples that lose it (see `data.batching.absence`). reads: the kinds of samples that the
    objective learns from, "messages", "aligned" or both; another one is a bad sample. one_medium: makes `batch.alone`.
    """

    def __init__(
        self,
        mixture: Mixture,
        interleaver: Interleaver,
        samples_per_batch: int,
        rank: int = 0,
        world_size: int = 1,
        on_bad_sample: str = "error",
        pad_to: int | None = None,
        modality_dropout: Mapping[Modality, float] | None = None,
        reads: Collection[str] = (MESSAGES,),
        one_medium: OneMedium | None = None,
    ) -> None:
        if not 0 <= rank < world_size:
            raise ValueError(f"rank={rank} must be in [0, world_size={world_size})")
        if samples_per_batch < world_size:
            raise ValueError(
                f"samples_per_batch={samples_per_batch} must be at least the number of processes, {world_size}"
            )
        if on_bad_sample not in ON_BAD_SAMPLE:
            raise ValueError(f"on_bad_sample={on_bad_sample!r} must be one of {', '.join(ON_BAD_SAMPLE)}")
        if pad_to is not None and pad_to < interleaver.max_tokens:
            raise ValueError(f"pad_to={pad_to} must be at least max_tokens={interleaver.max_tokens}")
        self.mixture = mixture
        self.interleaver = interleaver
        self.samples_per_batch = samples_per_batch
        self.rank = rank
        self.world_size = world_size
        self.on_bad_sample = on_bad_sample
        self.pad_to = pad_to
        self.modality_dropout = ModalityDropout(modality_dropout or {}, interleaver.modalities)
        self.reads = frozenset(reads)
        self.one_medium = one_medium

    def positions(self, index: int) -> range:
        """The positions of the mixture that this rank's part of batch `index` holds."""
        if index < 0:
            raise IndexError(f"index={index} must be at least 0")
        start, size = index * self.samples_per_batch, self.samples_per_batch
        return range(start + size * self.rank // self.world_size, start + size * (self.rank + 1) // self.world_size)

    def __getitem__(self, index: int) -> InterleavedBatch:
        documents: list[Document] = []
        skipped = []
        for position in self.positions(index):
            try:
                documents += self._documents(position)
            except BadSampleError as error:
                if self.on_bad_sample == "error":
                    raise
                skipped.append(str(error))
        batch = self._collated(documents, skipped)
        if self.one_medium is None:
            return batch
        return replace(batch, alone={name: self._collated(part) for name, part in self.one_medium(documents).items()})

    def _collated(self, documents: list[Document], skipped: Sequence[str] = ()) -> InterleavedBatch:
        return collate(pack(documents, self.interleaver.max_tokens), self.pad_to, skipped)

    def _documents(self, position: int) -> list[Document]:
        name, sample, draws = self.mixture.at(position)
        # Losses are told apart by the name of the mixture, where two manifests have two names.
        sample = self.modality_dropout(replace(sample, source=name), draws)
        if ALIGNED in self.reads and (isinstance(sample, AlignedSample) or MESSAGES not in self.reads):
            return self.interleaver.aligned(sample, draws, number=position)
        return [self.interleaver.document(sample, draws)]


@dataclass(frozen=True)
class _Failure:
    """An error on its way out of a worker; raised there, torch would wrap it into a page of traceback."""

    error: BadInputError


class _Reported(Dataset[InterleavedBatch | _Failure]):
    """The stream, with its expected errors returned."""

    def __init__(self, stream: BatchStream) -> None:
        self.stream = stream

    def __getitem__(self, index: int) -> InterleavedBatch | _Failure:
        try:
            return self.stream[index]
        except BadInputError as error:
            return _Failure(type(error)(str(error)))


class BatchLoader(DataLoader[Any]):
    """A `DataLoader` that raises a worker's `BadInputError` as it was, in the process that asks for the batch."""

    def __iter__(self) -> Iterator[InterleavedBatch]:  # type: ignore[override]
        with _stop_signals_held_back():
            batches = super().__iter__()
        for item in batches:
            if isinstance(item, _Failure):
                raise item.error
            yield item


def loader(stream: BatchStream, start: int, stop: int, num_workers: int = 0) -> BatchLoader:
    """Batches `start` to `stop - 1` in order, the same whatever `num_workers` is.

    Its own generator leaves torch's global one as it was, so that dropout is the same after a resume.
    """
    if not 0 <= start <= stop:
        raise ValueError(f"start={start} must be in [0, stop={stop}]")
    if num_workers < 0:
        raise ValueError(f"num_workers={num_workers} must be at least 0")
    return BatchLoader(
        _Reported(stream),
        batch_size=None,
        sampler=range(start, stop),
        num_workers=num_workers,
        worker_init_fn=_start_worker,
        generator=torch.Generator().manual_seed(0),
    )


@contextmanager
def _stop_signals_held_back() -> Iterator[None]:
    """They wait; processes that are started meanwhile never see them, not even before `_start_worker`."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker(_: int) -> None:
    """Leaves it to the main process to save, to end, and to take its workers with it."""
    main_process = multiprocessing.parent_process()
    assert main_process is not None
    assert main_process.pid is not None
    die_with_parent(signal.SIGKILL, main_process.pid)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):
        threading.Thread(target=_obey_main_process, args=(main_process.pid,), daemon=True).start()
    elif hasattr(signal, "pthread_sigmask"):  # without the sender's number a worker has to obey everybody
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    sys.excepthook = _report_unless_disconnected
    # The cores belong to the model.
    torch.set_num_threads(1)


def _obey_main_process(main_process: int) -> None:
    """Ends this worker at a SIGTERM of the main process, which ends workers so, and at nobody else's."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != main_process:
        pass
    os._exit(0)


def _report_unless_disconnected(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What a worker prints of its threads: not that a main process which was interrupted has hung up."""
    if not isinstance(error, ConnectionError | EOFError):
        sys.__excepthook__(kind, error, trace)
