import os
import signal
import subprocess
import sys

import pytest
import torch

from data.batching.loader import BatchStream, loader
from data.batching.mixture import Mixture
from data.types import AUDIO, IMAGE, BadSampleError
from tests.data.memory import AlignedSource, MemorySource, interleaver

TENSORS = ("token_ids", "modality_ids", "document_ids", "places", "positions", "labels", "label_groups")


def stream(samples_per_batch=6, seed=0, bad=(), source=None, **options):
    sources = {"one": (source or MemorySource(20, bad), 2.0), "two": (MemorySource(9, name="elsewhere"), 1.0)}
    return BatchStream(Mixture(sources, seed), interleaver(), samples_per_batch, **options)


def assert_equal(batch, other):
    assert all(torch.equal(getattr(batch, name), getattr(other, name)) for name in TENSORS)
    assert batch.sample_ids == other.sample_ids
    assert batch.group_names == other.group_names
    assert batch.skipped == other.skipped
    assert batch.media.keys() == other.media.keys()
    for modality, media in batch.media.items():
        for name in ("values", "shapes", "documents"):
            assert torch.equal(getattr(media, name), getattr(other.media[modality], name))


def documents(batch):
    """What each document holds, wherever it was packed."""
    found = []
    for number, sample_id in enumerate(batch.sample_ids):
        mine = batch.document_ids == number
        media = [
            (modality, values[tuple(map(slice, shape))].tolist())
            for modality, items in batch.media.items()
            for values, shape, owner in zip(items.values, items.shapes, items.documents, strict=True)
            if owner == number
        ]
        groups = [batch.group_names[group] for group in batch.label_groups[mine] if group >= 0]
        found.append((sample_id, batch.token_ids[mine].tolist(), batch.labels[mine].tolist(), groups, media))
    return sorted(found)


@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_a_resumed_loader_gives_bit_equal_batches(num_workers):
    unbroken = [stream()[index] for index in range(7)]
    for batch, expected in zip(loader(stream(), 3, 7, num_workers), unbroken[3:], strict=True):
        assert_equal(batch, expected)


def test_modality_dropout_is_a_function_of_the_position():
    """The same samples lose the same on any number of processes and workers, and the others stay as they were."""
    dropout = {"modality_dropout": {AUDIO: 0.4, IMAGE: 0.2}}
    whole = [stream(**dropout)[index] for index in range(8)]
    for batch, expected in zip(loader(stream(**dropout), 0, 8, num_workers=2), whole, strict=True):
        assert_equal(batch, expected)
    for index, batch in enumerate(whole):
        shares = [stream(rank=rank, world_size=2, **dropout)[index] for rank in range(2)]
        assert sorted([*documents(shares[0]), *documents(shares[1])]) == documents(batch)
    absent = [int((batch.modality_ids < 0).sum()) for batch in whole]
    assert 0 < sum(absent) < 8 * 6
    plain = [stream()[index] for index in range(8)]
    assert not any((batch.modality_ids < 0).any() for batch in plain)
    assert [sorted(batch.sample_ids) for batch in plain] == [sorted(batch.sample_ids) for batch in whole]
    with pytest.raises(ValueError, match=r"modality_dropout\.smell"):
        stream(modality_dropout={"smell": 0.1})


def test_batches_differ_from_one_another_and_between_seeds():
    batches = [stream()[index].token_ids.tolist() for index in range(4)]
    batches += [stream(seed=1)[index].token_ids.tolist() for index in range(4)]
    assert len({str(batch) for batch in batches}) == 8


@pytest.mark.parametrize(("samples_per_batch", "world_size"), [(6, 2), (7, 3)])
def test_the_parts_of_all_ranks_together_are_the_whole(samples_per_batch, world_size):
    for index in range(3):
        parts = [stream(samples_per_batch, rank=rank, world_size=world_size)[index] for rank in range(world_size)]
        together = [item for part in parts for item in documents(part)]
        assert sorted(together) == documents(stream(samples_per_batch)[index])


def test_a_batch_holds_what_its_documents_say():
    batch = stream(samples_per_batch=12)[0]
    assert len(batch.sample_ids) == 12
    assert set(batch.group_names) == {"one/text", "one/audio", "two/text", "two/audio"}
    assert 0.5 < batch.packing_efficiency <= 1
    assert len(batch.media[IMAGE]) == 12
    for modality, number in ((IMAGE, 2), (AUDIO, 1)):
        placeholders = (batch.modality_ids == number).sum()
        shapes = batch.media[modality].shapes
        expected = shapes[:, 1] * shapes[:, 2] // 4 if modality == IMAGE else shapes[:, 0] // 2
        assert placeholders == expected.sum()


def test_pad_to_fixes_the_width():
    widths = {stream(pad_to=64)[index].token_ids.shape[1] for index in range(5)}
    assert widths == {64}
    with pytest.raises(ValueError, match="pad_to=63 must be at least max_tokens=64"):
        stream(pad_to=63)


def test_skipped_samples_are_counted_and_named():
    healthy, skipping = stream(), stream(bad=range(5), on_bad_sample="skip")
    reasons = []
    for index in range(6):
        batch, expected = skipping[index], healthy[index]
        assert len(batch.sample_ids) + len(batch.skipped) == len(expected.sample_ids)
        reasons += batch.skipped
    located = [healthy.mixture.locate(position) for position in range(36)]
    bad = [index for name, index in located if name == "one" and index < 5]
    what = "messages[0].content[1]: b'missing.wav': no such file"
    assert reasons == [f"memory.jsonl:{index + 1} (id {index}): {what}" for index in bad]
    assert len(reasons) > 3


def test_a_batch_of_which_everything_is_skipped_is_one_row_of_padding():
    source = MemorySource(20, bad=range(20))
    everything = BatchStream(Mixture({"one": (source, 1.0)}, 0), interleaver(), 4, on_bad_sample="skip")
    batch = everything[0]
    assert len(batch.skipped) == 4
    assert batch.num_supervised == 0
    assert batch.token_ids.shape == (1, 8)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_bad_sample_is_one_clean_line_also_from_a_worker(num_workers):
    batches = iter(loader(stream(bad=range(20)), 0, 4, num_workers))
    with pytest.raises(BadSampleError, match=r"^memory\.jsonl:\d+ \(id \d+\): messages\[0\]") as caught:
        next(batches)
    assert "\n" not in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_aligned_samples_are_refused_with_a_reason():
    with pytest.raises(BadSampleError, match=r"^pairs\.jsonl:1 \(id \d+\): is an aligned sample"):
        stream(source=AlignedSource(5))[0]


def test_workers_run_on_one_thread_and_the_global_generator_stays_as_it_was():
    class Threads(BatchStream):
        def __getitem__(self, index):
            return torch.get_num_threads()

    state = torch.get_rng_state()
    base = stream()
    counting = Threads(base.mixture, base.interleaver, 6)
    assert list(loader(counting, 0, 2, num_workers=2)) == [1, 1]
    list(loader(base, 0, 2))
    assert torch.equal(torch.get_rng_state(), state)


ENDLESS = """
from tests.data.batching.test_loader import loader, stream
batches = iter(loader(stream(), 0, 10**9, num_workers=2))
next(batches)
try:
    print("ready", flush=True)
    while True:
        next(batches)
except KeyboardInterrupt:
    print("stopped", flush=True)
"""

# A trainer that finishes its step, and saves, before it leaves.
PATIENT = """
import signal
from tests.data.batching.test_loader import loader, stream
stop = []
batches = iter(loader(stream(), 0, 10**9, num_workers=2))
next(batches)
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda *_: stop.append(True))
print("ready", flush=True)
while not stop:
    next(batches)
for _ in range(50):
    next(batches)
print("stopped", flush=True)
"""

# Its workers have only begun to start when it is killed.
HASTY = """
import time
import data.batching.loader as module
from tests.data.batching.test_loader import loader, stream
start = module._start_worker
def late(number):
    time.sleep(1)
    start(number)
module._start_worker = late
batches = iter(loader(stream(), 0, 10**9, num_workers=2))
print("ready", flush=True)
next(batches)
"""


@pytest.mark.parametrize(
    ("program", "number"), [(ENDLESS, signal.SIGINT), (PATIENT, signal.SIGINT), (PATIENT, signal.SIGTERM)]
)
def test_stopping_is_left_to_the_main_process(program, number):
    process = started(program)
    os.killpg(process.pid, number)
    assert ended(process) == ("stopped\n", "", 0)
    assert alone(process)


def test_workers_end_when_the_main_process_is_told_to():
    process = started(PATIENT)
    process.send_signal(signal.SIGTERM)
    assert ended(process) == ("stopped\n", "", 0)
    assert alone(process)


@pytest.mark.parametrize("program", [PATIENT, HASTY])
def test_workers_end_when_the_main_process_is_killed(program):
    process = started(program)
    process.kill()
    assert ended(process)[2] == -signal.SIGKILL


def started(program):
    """A process in a group of its own, with two workers at work."""
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def ended(process):
    """What it printed, and its exit code; its output ends when its last worker has ended."""
    try:
        out, errors = process.communicate(timeout=120)
    finally:
        process.kill()
    return out, errors, process.returncode


def alone(process):
    """Whether nothing is left of its group."""
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 2, "world_size": 2}, r"rank=2 must be in \[0, world_size=2\)"),
        ({"samples_per_batch": 1, "world_size": 2}, "samples_per_batch=1 must be at least the number of processes, 2"),
        ({"on_bad_sample": "ignore"}, "on_bad_sample='ignore' must be one of error, skip"),
    ],
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        stream(**options)


def test_a_range_that_runs_backwards_is_refused():
    with pytest.raises(ValueError, match=r"start=3 must be in \[0, stop=2\]"):
        loader(stream(), 3, 2)
    with pytest.raises(ValueError, match="num_workers=-1 must be at least 0"):
        loader(stream(), 0, 2, num_workers=-1)
