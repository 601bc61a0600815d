"""Text of another kind: embeddings and head of their own, and a tokenizer that writes turns as ChatML does."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from data.batching.collate import collate
from data.batching.document import dump
from data.batching.interleave import Interleaver
from data.chat import speakers
from data.types import IMAGE, UNSUPERVISED, Media, Message, Sample, Text, ToolCall
from encoders.text import TextInterface, unit
from evaluation.answering.predict import answer_batch
from fusion.cost.flops import count, documents_alone, usage
from fusion.model import FusionModel
from tests.data.memory import RawProcessor
from tests.training.tiny import tiny_model
from training.objectives.next_token import NextToken

LETTERS = "abcdefghijklmnopqrstuvwxyz {}[]\":,'_\n"
START, END, PAD, CALL, CALLED = range(len(LETTERS), len(LETTERS) + 5)
ANSWERS = {0.0: "dark", 1.0: "light"}


class Letters:
    """A token a letter; `<|im_start|>role` and a new line before a turn, `<|im_end|>` and a new line after it."""

    vocab_size, fingerprint = len(LETTERS) + 5, "letters"
    media_id, end_id, call_id = PAD, END, CALL

    def encode(self, text):
        return [LETTERS.index(letter) for letter in text]

    def decode(self, ids):
        return "".join(LETTERS[token] for token in ids if token < len(LETTERS))

    def token(self, token_id):
        return (
            repr(LETTERS[token_id])
            if token_id < len(LETTERS)
            else ("START", "END", "PAD", "CALL", "/CALL")[token_id - START]
        )

    def opening(self, role):
        return [START, *self.encode(f"{role}\n")]

    def closing(self, role):
        return [END, *self.encode("\n")]

    def tools(self, text):
        return [*self.opening("system"), *self.encode(text), *self.closing("system")]

    def call(self, text):
        return [CALL, *self.encode(text), CALLED]

    def forbidden_in_answers(self, tools=False):
        return (START, PAD) if tools else (START, PAD, CALL, CALLED)

    def save(self, path):
        path.write_text(LETTERS)


class Untied(TextInterface):
    """A table wider than the model and quieter than media, and a head of its own, padded to a multiple of 64."""

    loudness, is_marked = 0.5, False

    def __init__(self, vocab_size: int, d_model: int) -> None:
        super().__init__()
        self.vocab_size, self.d_model = vocab_size, d_model
        rows = -(-vocab_size // 64) * 64
        self.table, self.down = nn.Embedding(rows, 24), nn.Linear(24, d_model)
        self.lm_head = nn.Linear(d_model, rows, bias=False)

    def embed(self, token_ids: Tensor) -> Tensor:
        return self.loudness * unit(self.down(self.table(token_ids)))

    def logits(self, hidden: Tensor) -> Tensor:
        return nn.functional.linear(hidden, self.head)

    @property
    def head(self) -> Tensor:
        return self.lm_head.weight[: self.vocab_size]


def sample(shade: float) -> Sample:
    picture = Media(IMAGE, torch.full((3, 4, 4), shade))
    question = Message("user", (picture, Text("is it dark or light" if shade else "say what it is")))
    return Sample(str(shade), (question, Message("assistant", (Text(ANSWERS[shade]),))))


def parts() -> tuple[FusionModel, Interleaver]:
    """The tiny model with the other text, and its interleaver."""
    model = tiny_model()
    encoders = {name: encoder.encoder for name, encoder in model.media_encoders.items()}
    torch.manual_seed(0)
    model = FusionModel(16, partial(Untied, vocab_size=Letters.vocab_size), encoders, *_parts_of(model))
    return model, Interleaver(Letters(), {IMAGE: RawProcessor()}, model.layouts, model.modalities, 128)


def _parts_of(model: FusionModel):
    projector, fusion = type(model.media_encoders["image"].projector), model.fusion
    return projector, lambda **_: fusion


def test_what_is_supervised_follows_from_the_template() -> None:
    _, interleaver = parts()
    call = Message("assistant", (Text("so"),), (ToolCall("f", {}),))
    document = interleaver.document(Sample("1", (Message("user", (Text("hi"),)), call), tools=({"name": "f"},)))
    lines = dump(document, Letters()).splitlines()
    text = Letters().decode(document.token_ids)
    assert text == 'system\n[{"name":"f"}]\nuser\nhi\nassistant\nso{"name":"f","arguments":{}}\n'
    targets = document.labels[document.labels != UNSUPERVISED].tolist()
    assert targets == [*Letters().encode("so"), CALL, *Letters().encode('{"name":"f","arguments":{}}'), CALLED, END]
    assert "=>" not in lines[-1]
    spoken = speakers(Letters(), document.token_ids.tolist())
    said = {role: [t for t, who in zip(document.token_ids, spoken, strict=True) if who == role] for role in spoken}
    assert Letters().decode(said["user"]) == "hi"
    assert Letters().decode(said["assistant"]).startswith("so{")
    prompt = interleaver.prompt(Sample("1", (Message("user", (Text("hi"),)), call)))
    assert Letters().decode(prompt.token_ids) == "user\nhi\nassistant\n"


def test_it_trains_and_answers() -> None:
    model, interleaver = parts()
    samples = [sample(shade) for shade in ANSWERS]
    batch = collate([[interleaver.document(item)] for item in samples])
    optimizer, objective = torch.optim.AdamW(model.parameters(), lr=1e-2), NextToken()
    for _ in range(60):
        found = objective.terms(model, model(batch).states, batch)
        optimizer.zero_grad()
        (found.sum / found.count).backward()
        optimizer.step()
    assert all(parameter.grad is not None for parameter in model.parameters())
    prompts = [interleaver.prompt(item) for item in samples]
    assert answer_batch(model, Letters(), prompts, 8) == list(ANSWERS.values())
    assert model.logits(torch.zeros(1, 16)).shape == (1, Letters.vocab_size)


@torch.no_grad()
def test_text_decides_how_loud_and_how_marked_its_tokens_are() -> None:
    model, interleaver = parts()
    model.modality_embedding.weight.fill_(3.0)
    batch = collate([[interleaver.document(sample(1.0))]])
    hidden, kinds = model.embed(batch).hidden[0], batch.modality_ids[0]
    inside = batch.document_ids[0] == 0
    loud = lambda x: x.square().mean(-1).sqrt()  # noqa: E731
    torch.testing.assert_close(
        loud(hidden[inside & (kinds == 0)]), torch.tensor(0.5).expand(int((inside & (kinds == 0)).sum()))
    )
    media = hidden[kinds > 0] - 3.0
    torch.testing.assert_close(loud(media), torch.tensor(0.5).expand(len(media)), rtol=1e-4, atol=1e-4)


def test_operations_of_the_head_are_those_of_its_own_weights() -> None:
    model, interleaver = parts()
    batch = collate([[interleaver.document(sample(1.0))]])
    (document,) = documents_alone(batch)
    expected = 2 * batch.num_supervised * 16 * Letters.vocab_size
    assert count(model, usage(model, document))["head"] == expected


def test_another_width_is_refused() -> None:
    model, _ = parts()
    with pytest.raises(ValueError, match="d_model=16 must be that of Untied, 8"):
        FusionModel(16, lambda **_: Untied(40, 8), {}, *_parts_of(model))
