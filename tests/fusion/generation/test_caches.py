"""What every cache promises, in every fusion method, with attention and with a mixer that keeps states.

That rows may be copied, emptied and taken back is certified for every configuration
(`certify/checks/decoding_checks.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor

from certify.checks.counting_checks import operations_match_torch
from certify.checks.decoding_checks import cached_equals_fresh_after_edits, cached_equals_full, prefill_in_two_parts
from certify.checks.fusion_checks import documents_are_isolated, future_does_not_reach_past, packed_equals_unpacked
from certify.context import Context, randomise
from data.types import PADDING_DOCUMENT, InterleavedBatch
from fusion.generation.cache import AttentionCache, Cache, MemoryCache
from fusion.generation.decoding import next_step
from fusion.generation.states import GroupStates
from fusion.methods.bottleneck import BottleneckFusion
from fusion.methods.concat import ConcatFusion
from fusion.methods.cross_attention import CrossAttentionFusion
from fusion.methods.early import EarlyFusion
from fusion.methods.mid import MidFusion
from fusion.methods.mixture_of_transformers import MixtureOfTransformers
from fusion.methods.simbamm import SimBaMM
from fusion.mixers.attention import SelfAttention
from fusion.model import FusionModel
from fusion.positions.rope import Rope
from fusion.sequence import Visibility
from tests.fusion.builders import VOCAB_SIZE, batch_of, small_model
from tests.fusion.linear_mixer import LinearMixer
from tests.fusion.methods.test_methods import CROSS
from training.objectives.next_token import NextToken

METHODS: dict[str, Any] = {
    "early": EarlyFusion,
    "mid": partial(MidFusion, fusion_layer=1),
    "mixture_of_transformers": MixtureOfTransformers,
    "concat": ConcatFusion,
    "cross_attention": partial(CrossAttentionFusion, media_layers=1, **CROSS),
    "bottleneck": partial(BottleneckFusion, fusion_layer=1),
    "simbamm": SimBaMM,
}
PROMPTS = [[["image", 3, ("audio", 13), 4]], [[2]], [[3, ("audio", 6), 2]]]
ATTENTION = partial(SelfAttention, num_heads=4, num_kv_heads=2, position=Rope)
LAYERS = {"attention": ATTENTION, "states, then attention": [LinearMixer, ATTENTION]}


def prefilled(model: FusionModel, room: int = 8) -> tuple[Any, InterleavedBatch, Tensor]:
    """The cache of `PROMPTS`, these, and their hidden states."""
    batch = batch_of(model, PROMPTS)
    cache = model.make_cache(len(PROMPTS), batch.token_ids.shape[1] + room)
    with torch.no_grad():
        return cache, batch, model(batch, cache).states


def steps(model: FusionModel, cache: Any, last: InterleavedBatch, tokens_BL: Tensor) -> tuple[Tensor, InterleavedBatch]:
    """Hidden states of tokens that are given one by one."""
    states = []
    with torch.no_grad():
        for token_B in tokens_BL.unbind(1):
            last = next_step(last, token_B)
            states.append(model(last, cache).states)
    return torch.cat(states, 1), last


def tokens(num: int, seed: int = 0) -> Tensor:
    return torch.randint(VOCAB_SIZE, (len(PROMPTS), num), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("mixer", LAYERS.values(), ids=list(LAYERS))
@pytest.mark.parametrize("name", METHODS)
def test_prefill_into_an_empty_cache_is_the_forward_pass_of_a_training(
    name: str, mixer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same numbers, and no mask over all slots."""
    model = small_model(fusion=METHODS[name], mixer=mixer).eval()
    batch = batch_of(model, PROMPTS)
    with torch.no_grad():
        expected = model(batch).states

    def dense(*inputs: Any) -> Tensor:
        raise AssertionError("the mask over all slots was built")

    monkeypatch.setattr(AttentionCache, "mask", dense)
    cache, _, states = prefilled(model)
    valid = batch.document_ids >= 0
    # Methods that choose tokens lay them out by rows where there is a cache, and sums are rounded otherwise.
    torch.testing.assert_close(states[valid], expected[valid], rtol=1e-5, atol=1e-6)
    if any(isinstance(part, AttentionCache) for part in leaves(cache)):
        with pytest.raises(AssertionError, match="the mask over all slots was built"):
            steps(model, cache, batch, tokens(1))


def test_prefill_builds_no_dense_mask_of_the_tokens_either(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither of one document a row, nor where modalities make groups of their own; the slow reference does."""

    def dense(self: Visibility) -> Tensor:
        raise AssertionError("the dense mask was built")

    monkeypatch.setattr(Visibility, "mask", property(dense))
    prefilled(small_model(fusion=METHODS["mid"]).eval())
    with pytest.raises(AssertionError, match="the dense mask was built"):
        prefilled(small_model("dense", fusion=METHODS["mid"]).eval())


@pytest.mark.parametrize("name", METHODS)
def test_tokens_that_are_taken_back_were_never_there(name: str) -> None:
    """Over several calls, which attention can undo; another number in each row."""
    model = small_model(fusion=METHODS[name]).eval()
    (cache, batch, _), (fresh, _, _) = prefilled(model), prefilled(model)
    lengths = (batch.document_ids >= 0).sum(1)
    kept, tried, then = tokens(1, 1), tokens(4, 2), tokens(3, 3)
    _, last = steps(model, cache, batch, kept)
    steps(model, cache, last, tried)
    cache.trim(lengths + 1)
    _, last = steps(model, fresh, batch, kept)
    torch.testing.assert_close(steps(model, cache, last, then)[0], steps(model, fresh, last, then)[0])


@pytest.mark.parametrize("mixer", LAYERS.values(), ids=list(LAYERS))
@pytest.mark.parametrize("name", METHODS)
def test_a_row_of_padding_stays_as_it_is(name: str, mixer: Any) -> None:
    """The others go on as if it were not there."""
    model = small_model(fusion=METHODS[name], mixer=mixer).eval()
    (cache, batch, _), (fresh, _, _) = prefilled(model, room=2), prefilled(model)
    longest = int((batch.document_ids >= 0).sum(1).argmax())
    documents = batch.document_ids.clone()
    documents[longest] = PADDING_DOCUMENT
    both, alone = tokens(2, 1), tokens(2, 2)
    steps(model, cache, batch, both)
    _, last = steps(model, fresh, batch, both)
    waiting = replace(last, document_ids=documents[:, :1])
    found, _ = steps(model, cache, waiting, alone)
    expected, _ = steps(model, fresh, last, alone)
    others = torch.arange(len(PROMPTS)) != longest
    torch.testing.assert_close(found[others], expected[others])
    assert found.isfinite().all()


def test_a_full_row_may_be_given_padding_and_nothing_else() -> None:
    model = small_model().eval()
    cache, batch, _ = prefilled(model, room=0)
    full = (batch.document_ids >= 0).all(1)
    assert full.tolist() == [True, False, False]
    waiting = replace(batch, document_ids=batch.document_ids.masked_fill(full[:, None], PADDING_DOCUMENT))
    steps(model, cache, waiting, tokens(1))
    with pytest.raises(ValueError, match="of the cache is too short for"):
        steps(model, cache, batch, tokens(1))


@pytest.mark.parametrize("mixer", LAYERS.values(), ids=list(LAYERS))
@pytest.mark.parametrize("name", METHODS)
def test_bytes_are_those_of_its_tensors(name: str, mixer: Any) -> None:
    model = small_model(fusion=METHODS[name], mixer=mixer).eval()
    cache, batch, _ = prefilled(model)
    steps(model, cache, batch, tokens(2))
    found = {id(tensor): tensor for part in leaves(cache) for tensor in held(part)}
    assert cache.bytes == sum(tensor.nbytes for tensor in found.values()) > 0


def leaves(cache: Any) -> Iterator[Cache]:
    if isinstance(cache, list):
        for item in cache:
            yield from leaves(item)
    else:
        assert isinstance(cache, Cache)
        yield cache


def held(value: Any) -> Iterator[Tensor]:
    """All tensors that an object holds; a weight of the model is none of them."""
    if isinstance(value, Tensor):
        if not isinstance(value, torch.nn.Parameter):
            yield value
    elif isinstance(value, list | tuple | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from held(item)
    elif hasattr(value, "__dict__"):
        yield from held(vars(value))


def test_copied_rows_are_those_of_before_the_call() -> None:
    """Two rows may change places, and a third be a copy of one."""
    keys = torch.arange(3.0).view(3, 1, 1, 1).expand(3, 1, 2, 2)
    groups = torch.tensor([[0, 0], [1, 1], [2, -1]])
    for cache in (AttentionCache(3, 4, 1, 2, like=keys), MemoryCache(3, 4, 1, 2, like=keys)):
        cache.store((keys.transpose(1, 2),) * 2, groups)
        cache.copy_rows(torch.tensor([1, 0, 0]), torch.tensor([0, 1, 2]))
        assert cache.kept[0][:, 0, 0, 0].tolist() == [1, 0, 0]
        assert cache.groups[:, :2].tolist() == [[1, 1], [0, 0], [0, 0]]
        assert cache.lengths_B.tolist() == [2, 2, 2]


def test_padding_between_tokens_takes_no_slot() -> None:
    keys = torch.arange(4.0).view(1, 1, 4, 1)
    cache = AttentionCache(1, 2, 1, 1, like=keys)
    visibility = Visibility(torch.tensor([[-1, 0, -1, 0]]))
    cache.attend(keys, keys, keys, visibility, alone=lambda q, *rest: q)
    assert cache.kept[0][0, :2].flatten().tolist() == [1, 3]
    assert cache.lengths_B.tolist() == [2]


def test_states_are_kept_for_each_row_and_group() -> None:
    """In mid fusion a row has a group for each modality below, and tokens of one do not read the state of another."""
    model = small_model(fusion=METHODS["mid"], mixer=[LinearMixer, ATTENTION]).eval()
    cache, batch, _ = prefilled(model)
    assert isinstance(cache[0], GroupStates)
    kinds = [
        len(set(ids[docs >= 0].tolist())) for ids, docs in zip(batch.modality_ids, batch.document_ids, strict=True)
    ]
    assert [len(row.tokens) for row in cache[0].rows] == kinds == [3, 1, 2]


def test_states_refuse_to_go_back_further_than_they_are_kept() -> None:
    model = small_model(mixer=LAYERS["states, then attention"]).eval()
    cache, batch, _ = prefilled(model)
    steps(model, cache, batch, tokens(2))
    with pytest.raises(ValueError, match="states are kept no longer"):
        cache.trim((batch.document_ids >= 0).sum(1))


CHECKS = (
    future_does_not_reach_past,
    documents_are_isolated,
    packed_equals_unpacked,
    cached_equals_full,
    prefill_in_two_parts,
    cached_equals_fresh_after_edits,
    operations_match_torch,
)


@pytest.mark.parametrize("name", METHODS)
def test_a_mixer_with_states_is_certified_below_attention(name: str) -> None:
    model = small_model(fusion=METHODS[name], mixer=LAYERS["states, then attention"]).double()
    randomise(model, seed=0)
    context = Context(model, VOCAB_SIZE, NextToken(), lambda _: None, config=OmegaConf.create({}))  # type: ignore[arg-type, return-value]
    failed = [str(result) for check in CHECKS if not (result := check(context)).passed]
    assert not failed, "\n".join(failed)
