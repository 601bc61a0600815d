from dataclasses import replace
from typing import Any

import pytest
import torch

from fusion.cache import AttentionCache
from fusion.flops import documents_alone, usage
from fusion.generation import generate
from fusion.mixers.masked import dense_attention
from fusion.sequence import EmbeddedSequence, Visibility
from tests.fusion.builders import batch_of, small_model

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
        options = {"max_new_tokens": 6, "temperature": temperature, "generator": generator}
        return generate(model, batch, end_id=-1, forbidden_ids=forbidden, **options)

    chosen = sorted({token for row in answer([]) for token in row})
    forbidden = chosen[: len(chosen) // 2 + 1]
    free, held = answer([]), answer(forbidden)
    assert not set(forbidden) & {token for row in held for token in row}
    assert [len(row) for row in held] == [len(row) for row in free]


def test_an_answer_must_be_able_to_end() -> None:
    model = small_model()
    with pytest.raises(ValueError, match="forbidden_ids holds end_id=3"):
        generate(model, batch_of(model, PROMPTS), end_id=3, max_new_tokens=1, forbidden_ids=[2, 3])


def test_sampling_follows_its_generator() -> None:
    model = small_model().eval()
    batch = batch_of(model, PROMPTS)

    def sample(seed: int) -> list[list[int]]:
        generator = torch.Generator().manual_seed(seed)
        return generate(model, batch, end_id=-1, max_new_tokens=6, temperature=2.0, generator=generator)

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
