"""A byte-level BPE with special tokens that no text can forge."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

# The threads of `tokenizers` do not survive the fork of a loader's worker, and it warns about that in each one.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from data.storage.atomic_write import write_text
from data.types import BadInputError, BadSampleError

PAD, MEDIA, END = "<|pad|>", "<|media|>", "<|end|>"
SYSTEM, USER, ASSISTANT, TOOL = "<|system|>", "<|user|>", "<|assistant|>", "<|tool|>"
TOOLS, TOOL_CALL = "<|tools|>", "<|tool_call|>"
# Their places are their ids, in every vocabulary.
SPECIAL_TOKENS = (PAD, MEDIA, SYSTEM, USER, ASSISTANT, TOOL, END, TOOLS, TOOL_CALL)
NUM_BYTES = 256
MIN_VOCAB_SIZE = len(SPECIAL_TOKENS) + NUM_BYTES


class Tokenizer:
    """Text to ids and back, without loss: every byte has a token, so there is no unknown token.

    Differs from the usual byte-level BPE in that special tokens within a text are never parsed: `encode("<|end|>")`
    gives the characters, and only `id("<|end|>")` gives the token. A user therefore cannot forge a turn.
    """

    def __init__(self, backend: tokenizers.Tokenizer) -> None:
        found = tuple(backend.id_to_token(index) for index in range(len(SPECIAL_TOKENS)))
        if found != SPECIAL_TOKENS:
            raise ValueError(f"backend begins with {found}, must begin with the special tokens {SPECIAL_TOKENS}")
        backend.encode_special_tokens = True
        self._backend = backend

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int) -> Tokenizer:
        """A tokenizer of at most `vocab_size` tokens; fewer, if `texts` hold no more pairs to merge.

        The same texts give the same tokenizer, whatever their order or the number of cores.
        """
        if vocab_size < MIN_VOCAB_SIZE:
            raise ValueError(
                f"vocab_size={vocab_size} must be at least {MIN_VOCAB_SIZE}: "
                f"{NUM_BYTES} bytes and {len(SPECIAL_TOKENS)} special tokens"
            )
        backend = tokenizers.Tokenizer(models.BPE())
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=list(SPECIAL_TOKENS),
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        # Text that cannot be written is in no sample that can be read.
        backend.train_from_iterator((text for text in texts if _is_writable(text)), trainer)
        return cls(backend)

    def encode(self, text: str) -> list[int]:
        """The ids of `text`, special tokens in it taken as plain characters."""
        try:
            return self._backend.encode(text, add_special_tokens=False).ids
        except (TypeError, UnicodeError) as error:
            raise BadSampleError(f"text {text[:40]!a} cannot be written as UTF-8") from error

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`; special tokens stay visible, an incomplete character becomes U+FFFD."""
        return self._backend.decode(list(ids), skip_special_tokens=False)

    def token(self, token_id: int) -> str:
        """One token for a human's eye: a special token by its name, any other as quoted text.

        A part of a character is shown as the letters that byte-level BPE writes for its bytes.
        """
        if token_id < len(SPECIAL_TOKENS):
            return SPECIAL_TOKENS[token_id]
        text = self.decode([token_id])
        return f"bytes {self._backend.id_to_token(token_id)}" if "\ufffd" in text else repr(text)

    def id(self, special_token: str) -> int:
        """The id of a special token."""
        if special_token not in SPECIAL_TOKENS:
            raise ValueError(f"special_token={special_token!r} must be one of {', '.join(SPECIAL_TOKENS)}")
        return SPECIAL_TOKENS.index(special_token)

    @property
    def media_id(self) -> int:
        """The placeholder where a medium's features go."""
        return self.id(MEDIA)

    @property
    def end_id(self) -> int:
        """What ends an answer."""
        return self.id(END)

    @property
    def call_id(self) -> int:
        """What begins a call in an answer."""
        return self.id(TOOL_CALL)

    def opening(self, role: str) -> list[int]:
        """The token that stands before a turn."""
        return [self.id(f"<|{role}|>")]

    def closing(self, role: str) -> list[int]:
        """The end of an assistant's turn; any other ends where the next begins."""
        return [self.end_id] if role == "assistant" else []

    def tools(self, text: str) -> list[int]:
        """The tools that may be called, as JSON."""
        return [self.id(TOOLS), *self.encode(text)]

    def call(self, text: str) -> list[int]:
        """One call, as JSON."""
        return [self.call_id, *self.encode(text)]

    def forbidden_in_answers(self, tools: bool = False) -> tuple[int, ...]:
        """The ids of special tokens that an answer must not hold: all but its end and, with `tools`, a call."""
        allowed = (END, TOOL_CALL) if tools else (END,)
        return tuple(self.id(token) for token in SPECIAL_TOKENS if token not in allowed)

    @property
    def vocab_size(self) -> int:
        """Number of tokens, special ones included."""
        return self._backend.get_vocab_size()

    @property
    def fingerprint(self) -> str:
        """SHA-256 of vocabulary and merges: equal if and only if texts are encoded alike."""
        model = json.loads(self._backend.to_str())["model"]
        content = json.dumps([model["vocab"], model["merges"]], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()

    def save(self, path: str | Path) -> None:
        """Write one JSON file, whole or not at all."""
        write_text(Path(path), self._backend.to_str(pretty=True))

    @classmethod
    def load(cls, path: str | Path) -> Tokenizer:
        """What `save` wrote; raises `BadInputError` if the file is missing, damaged or another tokenizer's."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeError) as error:
            raise BadInputError(f"{path}: cannot be read as a tokenizer: {error}") from error
        try:
            return cls(tokenizers.Tokenizer.from_str(text))
        except Exception as error:  # the library raises bare `Exception` for damaged JSON
            raise BadInputError(f"{path}: is not a tokenizer of this project: {error}") from error

    def __reduce__(self) -> tuple[object, tuple[str]]:
        # The library's own pickle forgets `encode_special_tokens`.
        return _from_json, (self._backend.to_str(),)


def _is_writable(text: str) -> bool:
    """Whether it has bytes: not with half a surrogate pair."""
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False


def _from_json(text: str) -> Tokenizer:
    return Tokenizer(tokenizers.Tokenizer.from_str(text))
