from dataclasses import replace
from typing import Any

import pytest
import torch

from fusion.attention.masked import dense_attention
from fusion.cost.flops import documents_alone, usage
from fusion.generation.cache import AttentionCache
from fusion.generation.decoding import generate
from fusion.generation.rules import Forbidden, Sampling
from fusion.sequence import EmbeddedSequence, Visibility
from tests.fusion.builders import VOCAB_SIZE, batch_of, small_model

PROMPTS = [[["image", 3, ("audio", 13), 4]], [[2]], [[3, ("audio", 6), 2]], [["image", 9]]]


def full_forward_greedy(model, rows: list, row: int, steps: int) -> list[int]:
    """One prompt alone, everything computed anew for every token: the slow reference of `generate`."""
    batch = batch_of(model, rows)
    length = int((batch.document_ids[row] >= 0).sum())
    media = {}
    for name, item in batch.media.items():
        mine = item.documents == row
        if mine.any():
            values, shapes = item.values[mine], item.shapes[mine]
            values = values[(slice(None), *(slice(0, n) for n in shapes.max(0).values.tolist()))]
            media[name] = replace(
                item, values=values, shapes=shapes, documents=torch.zeros(int(mine.sum()), dtype=torch.long)
            )
    tokens, kinds = batch.token_ids[row : row + 1, :length], batch.modality_ids[row : row + 1, :length]
    answer = []
    for _ in range(steps):
        n = tokens.shape[1]
        alone = replace(
            batch, token_ids=tokens, modality_ids=kinds, document_ids=torch.zeros(1, n, dtype=torch.long),
            places=torch.arange(n)[None],
            positions=torch.arange(n)[None, :, None], labels=tokens, label_groups=tokens, media=media,
            sample_ids=("x",),
        )  # fmt: skip
        token = model.logits(model(alone).states[:, -1]).argmax(-1)
        answer.append(int(token))
        tokens, kinds = torch.cat([tokens, token[None]], 1), torch.cat([kinds, torch.zeros(1, 1, dtype=torch.long)], 1)
    return answer


@pytest.mark.parametrize("implementation", ["dense", "auto"])
def test_cached_batch_of_mixed_length_equals_full_forward_alone(implementation: str) -> None:
    model = small_model(implementation).eval()
    answers = generate(model, batch_of(model, PROMPTS), end_id=-1, max_new_tokens=6)
    with torch.no_grad():
        assert answers == [full_forward_greedy(model, PROMPTS, row, 6) for row in range(len(PROMPTS))]
    assert len({tuple(answer) for answer in answers}) > 1


def test_stops_at_the_end_token_of_each_row() -> None:
    model = small_model().eval()
    batch = batch_of(model, PROMPTS)
    free = generate(model, batch, end_id=-1, max_new_tokens=6)
    end = free[0][2]
    expected = [answer[: answer.index(end)] if end in answer else answer for answer in free]
    assert generate(model, batch, end_id=end, max_new_tokens=6) == expected


@pytest.mark.parametrize("temperature", [0.0, 2.0])
def test_forbidden_tokens_are_never_chosen(temperature: float) -> None:
    model = small_model().eval()
    batch = batch_of(model, PROMPTS)

    def answer(forbidden: list[int]) -> list[list[int]]:
        generator = torch.Generator().manual_seed(1)
        rules = [Forbidden(forbidden), Sampling(temperature, generator)]
        answers = generate(model, batch, end_id=-1, max_new_tokens=6, rules=rules)
        generator.manual_seed(1)
        assert answers == generate(model, batch, end_id=-1, max_new_tokens=6, rules=rules[::-1])
        return answers

    chosen = sorted({token for row in answer([]) for token in row})
    forbidden = chosen[: len(chosen) // 2 + 1]
    free, held = answer([]), answer(forbidden)
    assert not set(forbidden) & {token for row in held for token in row}
    assert [len(row) for row in held] == [len(row) for row in free]


def test_an_answer_must_be_able_to_end() -> None:
    model = small_model()
    with pytest.raises(ValueError, match="rules forbid end_id=3"):
        generate(model, batch_of(model, PROMPTS), end_id=3, max_new_tokens=1, rules=[Forbidden([2, 3])])


DIGITS, END = range(10, 20), 7


def number_of_digits(count: int):
    """A grammar: so many digits, then the end; rows that begin with an odd digit have one more."""

    def rule(logits_BV: torch.Tensor, answers) -> torch.Tensor:
        allowed_BV = torch.zeros_like(logits_BV, dtype=torch.bool)
        for allowed_V, answer in zip(allowed_BV, answers, strict=True):
            length = count + (answer[0] % 2 if answer else 0)
            allowed_V[list(DIGITS) if len(answer) < length else END] = True
        return logits_BV.masked_fill(~allowed_BV, -torch.inf)

    return rule


@pytest.mark.parametrize("temperature", [0.0, 2.0])
def test_a_grammar_holds_in_every_row_of_a_batch_of_mixed_lengths(temperature: float) -> None:
    model = small_model().eval()

    def answer(rows: list) -> list[list[int]]:
        rules = [number_of_digits(2), Sampling(temperature, torch.Generator().manual_seed(2))]
        return generate(model, batch_of(model, rows), end_id=END, max_new_tokens=9, rules=rules)

    answers = answer(PROMPTS)
    assert all(set(row) <= set(DIGITS) and len(row) == 2 + row[0] % 2 for row in answers)
    assert len({len(row) for row in answers}) == 2
    if temperature == 0.0:  # of what is allowed the likeliest, whatever the other rows are
        assert answer(PROMPTS[:1]) == answers[:1]


def test_rules_that_leave_nothing_are_refused() -> None:
    model = small_model()
    rules = [Forbidden([token for token in range(VOCAB_SIZE) if token != 5]), Forbidden([5])]
    with pytest.raises(ValueError, match=r"rules leave row 0 no token after \[\]"):
        generate(model, batch_of(model, PROMPTS), end_id=-1, max_new_tokens=1, rules=rules)


def test_a_sample_has_the_probabilities_of_its_temperature() -> None:
    logits = torch.tensor([1.0, -torch.inf, 2.0, 0.5])
    rule = Sampling(0.7, torch.Generator().manual_seed(0))
    drawn = rule(logits.expand(100_000, 4), [[]] * 100_000).argmax(-1).bincount(minlength=4) / 100_000
    torch.testing.assert_close(drawn, (logits / 0.7).softmax(-1), rtol=0, atol=0.006)
    for temperature in (-1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=f"temperature={temperature} must be 0 or more, and finite"):
            Sampling(temperature)


def test_sampling_follows_its_generator() -> None:
    model = small_model().eval()
    batch = batch_of(model, PROMPTS)

    def sample(seed: int) -> list[list[int]]:
        generator = torch.Generator().manual_seed(seed)
        return generate(model, batch, end_id=-1, max_new_tokens=6, rules=[Sampling(2.0, generator)])

    assert sample(1) == sample(1)
    assert sample(1) != sample(2)


def test_every_part_returns_to_its_mode_after_an_error_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """One part stays in evaluation mode in a training, as a frozen backbone does."""
    model = small_model().train()
    model.media_encoders["image"].eval()
    before = {name: module.training for name, module in model.named_modules()}
    batch, document = batch_of(model, PROMPTS), next(documents_alone(batch_of(model, PROMPTS)))
    calls = (lambda: generate(model, batch, end_id=-1, max_new_tokens=2), lambda: usage(model, document))
    for call in calls:
        call()
        assert {name: module.training for name, module in model.named_modules()} == before

    def fails(sequence: EmbeddedSequence, cache: Any = None) -> torch.Tensor:
        assert not model.training
        raise RuntimeError("out of memory")

    monkeypatch.setattr(model.fusion, "forward", fails)
    for call in calls:
        with pytest.raises(RuntimeError, match="out of memory"):
            call()
        assert {name: module.training for name, module in model.named_modules()} == before


def test_full_cache_is_an_error() -> None:
    cache = AttentionCache(1, 3, 1, 2, like=torch.zeros(1))
    keys = torch.zeros(1, 1, 4, 2)
    with pytest.raises(ValueError, match=r"max_length=3 of the cache is too short for 4 tokens"):
        cache.attend(keys, keys, keys, Visibility(torch.zeros(1, 4, dtype=torch.long)), alone=dense_attention)
