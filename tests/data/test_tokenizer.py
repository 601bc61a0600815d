import os
import pickle
import random
import subprocess
import sys

import pytest

from data.tokenizer import MIN_VOCAB_SIZE, PAD, SPECIAL_TOKENS, USER, Tokenizer
from data.types import BadInputError

TEXTS = [f"what {color} shape is a {shape}?" for color in ("red", "green") for shape in ("circle", "triangle")] * 20


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(TEXTS, 320)


@pytest.mark.parametrize(
    "text",
    ["", " ", "what red shape?", "naïve 猫 🐈 \x00\n\t", "<|user|> <|end|>", "a" * 1000, "".join(map(chr, range(300)))],
)
def test_every_text_survives_the_round_trip(tokenizer, text):
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert all(len(SPECIAL_TOKENS) <= token < tokenizer.vocab_size for token in ids)


def test_training_learns_merges(tokenizer):
    assert MIN_VOCAB_SIZE < tokenizer.vocab_size <= 320
    assert len(tokenizer.encode("what red shape is a triangle?")) < 12
    assert Tokenizer.train((), MIN_VOCAB_SIZE).vocab_size == MIN_VOCAB_SIZE


def test_special_tokens_are_the_first_ids():
    tokenizer = Tokenizer.train(TEXTS, 300)
    assert [tokenizer.id(token) for token in SPECIAL_TOKENS] == list(range(9))
    assert tokenizer.id(PAD) == 0
    with pytest.raises(ValueError, match=r"special_token='<\|nobody\|>' must be one of"):
        tokenizer.id("<|nobody|>")


def test_text_cannot_forge_a_special_token_even_if_it_was_trained_on():
    tokenizer = Tokenizer.train(SPECIAL_TOKENS * 500, 400)
    for special in SPECIAL_TOKENS:
        for text in (special, f"x{special}", f" {special} {special}"):
            assert not set(tokenizer.encode(text)) & set(range(len(SPECIAL_TOKENS)))
            assert tokenizer.decode(tokenizer.encode(text)) == text


def test_special_tokens_stay_visible_in_decoded_text(tokenizer):
    ids = [tokenizer.id(USER), *tokenizer.encode(" hi"), tokenizer.id("<|end|>")]
    assert tokenizer.decode(ids) == "<|user|> hi<|end|>"
    assert [tokenizer.token(token) for token in (ids[0], ids[-1])] == ["<|user|>", "<|end|>"]


def test_training_is_deterministic_in_order_and_process(tokenizer):
    shuffled = random.Random(0).sample(TEXTS, len(TEXTS))
    assert Tokenizer.train(shuffled, 320).fingerprint == tokenizer.fingerprint
    code = "from tests.data.test_tokenizer import *; print(Tokenizer.train(TEXTS, 320).fingerprint)"
    environment = {**os.environ, "PYTHONHASHSEED": "7", "TOKENIZERS_PARALLELISM": "true"}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert found.stdout.strip() == tokenizer.fingerprint


def test_saved_and_pickled_tokenizers_are_the_same(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "tokenizer.json")
    assert [path.name for path in tmp_path.iterdir()] == ["tokenizer.json"]
    for copy in (Tokenizer.load(tmp_path / "tokenizer.json"), pickle.loads(pickle.dumps(tokenizer))):
        assert copy.fingerprint == tokenizer.fingerprint
        text = "a <|user|> in red"
        assert copy.encode(text) == tokenizer.encode(text)
        assert copy.decode(copy.encode(text)) == text


def test_fingerprint_tells_tokenizers_apart(tokenizer):
    assert len(tokenizer.fingerprint) == 64
    assert Tokenizer.train(TEXTS, 270).fingerprint != tokenizer.fingerprint


@pytest.mark.parametrize("content", [None, "", "{}", '{"version": "1.0", "model"', "\udcff"])
def test_a_file_that_is_not_a_tokenizer_is_one_clear_line(tmp_path, content):
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(BadInputError, match=r"tokenizer\.json: ") as caught:
        Tokenizer.load(path)
    assert "\n" not in str(caught.value)


def test_another_tokenizer_is_refused(tokenizer, tmp_path):
    path = tmp_path / "tokenizer.json"
    tokenizer.save(path)
    path.write_text(path.read_text().replace("<|pad|>", "<pad>"))
    with pytest.raises(BadInputError, match="must begin with the special tokens"):
        Tokenizer.load(path)


def test_answers_may_hold_text_their_end_and_only_with_tools_a_call(tokenizer):
    every = range(tokenizer.vocab_size)
    special = {"<|pad|>", "<|media|>", "<|system|>", "<|user|>", "<|assistant|>", "<|tool|>", "<|tools|>"}
    for tools, forbidden in ((False, special | {"<|tool_call|>"}), (True, special)):
        ids = tokenizer.forbidden_in_answers(tools=tools)
        assert {tokenizer.token(token) for token in every if token in ids} == forbidden


def test_bad_arguments_are_named(tokenizer):
    with pytest.raises(ValueError, match="vocab_size=264 must be at least 265"):
        Tokenizer.train(TEXTS, 264)
    with pytest.raises(BadInputError, match="cannot be written as UTF-8"):
        tokenizer.encode("broken \ud800 text")


def test_text_that_cannot_be_written_is_left_out_of_the_training():
    assert Tokenizer.train([*TEXTS, "half \ud800"], 300).fingerprint == Tokenizer.train(TEXTS, 300).fingerprint
