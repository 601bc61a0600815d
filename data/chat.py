"""What the rest asks of a tokenizer: text to ids and back, and how the turns of a conversation are written.

`data.tokenizer.Tokenizer` is this project's own. That of a pretrained model, with the template of its chats, is another
class with the same methods; then nothing else needs to know how that model marks a turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from data.types import ROLES


class ChatTokenizer(Protocol):
    """Texts, and the marks around them.

        tools(..) opening("user") words closing("user") opening("assistant") words call(..) closing("assistant") ..

    Of an assistant's turn, its words and calls are supervised, and of its closing what goes up to `end_id`.
    """

    @property
    def vocab_size(self) -> int:
        """Number of ids."""
        ...

    @property
    def fingerprint(self) -> str:
        """Equal if and only if texts are encoded alike."""
        ...

    @property
    def media_id(self) -> int:
        """The placeholder where a medium's features go; no text holds it."""
        ...

    @property
    def end_id(self) -> int:
        """What ends an answer."""
        ...

    @property
    def call_id(self) -> int:
        """What begins a call in an answer; no text holds it."""
        ...

    def encode(self, text: str) -> list[int]:
        """The ids of `text`, marks in it taken as plain characters.

        Raises `BadSampleError` for what cannot be written.
        """
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`."""
        ...

    def token(self, token_id: int) -> str:
        """One token for a human's eye."""
        ...

    def opening(self, role: str) -> list[int]:
        """What stands before a turn; at least one id."""
        ...

    def closing(self, role: str) -> list[int]:
        """What stands after a turn; an assistant's holds `end_id`."""
        ...

    def tools(self, text: str) -> list[int]:
        """The tools that may be called, as JSON, before the first turn."""
        ...

    def call(self, text: str) -> list[int]:
        """One call, as JSON; begins with `call_id`, and `decode` gives the JSON of what follows it."""
        ...

    def forbidden_in_answers(self, tools: bool = False) -> tuple[int, ...]:
        """The ids that an answer must not hold: marks other than `end_id` and, with `tools`, those of a call."""
        ...

    def save(self, path: str | Path) -> None:
        """Write one file, whole or not at all."""
        ...


def speakers(tokenizer: ChatTokenizer, token_ids: Sequence[int]) -> list[str | None]:
    """Who has the turn that each token of a document is in; None for the marks around turns, and outside of them."""
    marks = [(tokenizer.opening(role), role) for role in ROLES]
    ends = [(tokenizer.closing(role), None) for role in ROLES if tokenizer.closing(role)]
    found: list[str | None] = []
    speaker: str | None = None
    while len(found) < len(token_ids):
        here = len(found)
        for mark, after in [*marks, *ends]:
            if list(token_ids[here : here + len(mark)]) == mark:
                speaker = after
                found += [None] * len(mark)
                break
        else:
            found.append(speaker)
    return found
