import numpy as np
import pytest

from data.batching.document import Document
from data.batching.packing import pack


def document(length, name="d"):
    zeros = np.zeros(length, dtype=np.int64)
    return Document(zeros, zeros, zeros, zeros, (), (), name, "s")


def lengths(rows):
    return [[len(document) for document in row] for row in rows]


def test_first_fit_decreasing_by_hand():
    assert lengths(pack([document(n) for n in (3, 6, 2, 5, 4, 8)], 10)) == [[8, 2], [6, 4], [5, 3]]
    assert pack([], 10) == []


def test_every_document_is_packed_once_and_no_row_overflows():
    rng = np.random.default_rng(0)
    for _ in range(20):
        documents = [document(int(n), str(index)) for index, n in enumerate(rng.integers(1, 60, size=100))]
        rows = pack(documents, 64)
        assert sorted(item.sample_id for row in rows for item in row) == sorted(item.sample_id for item in documents)
        assert max(map(sum, lengths(rows))) <= 64
        # The bound of first-fit decreasing, against the least that any packing needs.
        assert len(rows) <= 11 / 9 * np.ceil(sum(map(len, documents)) / 64) + 6 / 9


def test_equal_lengths_keep_their_order():
    names = [item.sample_id for row in pack([document(4, str(index)) for index in range(7)], 8) for item in row]
    assert names == [str(index) for index in range(7)]


def test_a_document_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="row_length=10 must hold document long of 11 tokens"):
        pack([document(11, "long")], 10)
