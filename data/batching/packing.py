"""Documents of different lengths into rows of one length, with little room left over."""

from __future__ import annotations

from collections.abc import Sequence

from data.batching.document import Document


def pack(documents: Sequence[Document], row_length: int) -> list[list[Document]]:
    """Rows of documents, each row at most `row_length` tokens, by first-fit decreasing.

    Longest first, each goes into the first row with room for it: at most 11/9 of the optimal number of rows
    (and one). The order of equally long documents is kept, so that the result depends on nothing else.

    Raises `ValueError` if a document is longer than a row; documents are never cut.
    """
    rows: list[list[Document]] = []
    room: list[int] = []
    for document in sorted(documents, key=len, reverse=True):
        length = len(document)
        if length > row_length:
            raise ValueError(f"row_length={row_length} must hold document {document.sample_id} of {length} tokens")
        place = next((index for index, left in enumerate(room) if length <= left), None)
        if place is None:
            place = len(rows)
            rows.append([])
            room.append(row_length)
        rows[place].append(document)
        room[place] -= length
    return rows
