"""What may be odd about a manifest, by kind and in the order that a report tells it in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

# Kind -> what its findings are, in the order of the report; a leak is worse than a twin, which is worse than a length.
KINDS = {
    "leaked_row": "rows that an earlier file has too",
    "leaked_medium": "rows with a medium that an earlier file has too",
    "near_leak": "rows with a medium or text that is nearly that of an earlier file",
    "bad_row": "rows that cannot be read",
    "missing_file": "media whose file is missing",
    "unreadable_file": "media that cannot be read",
    "repeated_row": "rows that hold the same as an earlier row",
    "other_answer": "rows that ask the same of the same as an earlier row, and answer otherwise",
    "repeated_id": "rows with the id of an earlier row",
    "same_medium": "files that hold the same as an earlier file",
    "near_picture": "pictures that look like an earlier one",
    "near_sound": "sounds that are the recording of an earlier one",
    "same_text": "texts that are the same as an earlier one, but for case and punctuation",
    "near_text": "texts that are nearly those of an earlier row",
    "no_answer": "conversations that end without an answer",
    "empty_answer": "answers without a word",
    "answer_in_question": "answers of three letters or more that stand in their question",
    "frequent_answer": "files in which one answer is most of them",
    "guessable": "files whose answers follow from the question alone",
    "blank_picture": "pictures of one colour",
    "small_picture": "pictures with a side of less than 16 pixels",
    "large_picture": "pictures of more than 25 million pixels",
    "narrow_picture": "pictures more than five times as long as wide",
    "silent_sound": "sounds that are silent",
    "clipped_sound": "sounds that are cut off at the limit of their format",
    "short_sound": "sounds shorter than 0.1 s",
    "long_sound": "sounds longer than 30 s, which the configured processors refuse",
    "mixed_rates": "files whose sounds have several rates",
    "unread_key": "keys beside the fields of a row, which nothing reads",
    "misspelt_metadata": "fields of metadata that look like one the code reads",
}
EXAMPLES = 10


@dataclass(frozen=True)
class Finding:
    """One odd thing and its place; line 0 is the whole file."""

    kind: str
    split: str
    line: int = 0
    id: str = ""
    field: str = ""
    detail: str = ""

    @property
    def place(self) -> str:
        """ "train:12 messages[0].content[1]"."""
        where = f"{self.split}:{self.line}" if self.line else self.split
        return f"{where} {self.field}".rstrip()


def summarise(findings: Iterable[Finding]) -> dict[str, dict[str, Any]]:
    """Kind -> what it is, how many there are in all and in each file, and the first of them."""
    by_kind: dict[str, list[Finding]] = {kind: [] for kind in KINDS}
    for finding in findings:
        by_kind[finding.kind].append(finding)
    return {
        kind: {
            "what": KINDS[kind],
            "count": len(found),
            "by_file": dict(Counter(finding.split for finding in found)),
            "first": [{key: item for key, item in asdict(one).items() if item} for one in found[:EXAMPLES]],
        }
        for kind, found in by_kind.items()
        if found
    }
