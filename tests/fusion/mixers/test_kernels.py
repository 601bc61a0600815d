"""What attention kernels of a GPU are given: lengths and block masks, against the dense mask; and which is chosen."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from fusion.attention import flex, varlen
from fusion.attention.choice import fastest
from fusion.folding import line_up
from fusion.mixers.attention import IMPLEMENTATIONS, GroupAttention, dense_attention
from fusion.mixers.cross_attention import PairAttention, sees
from fusion.positions.places import TokenPlaces
from fusion.sequence import Visibility

LENGTH = 300  # more than two blocks of 128, and no multiple of them


def visibility_of(kind: str, length: int = LENGTH, device: torch.device | str = "cpu") -> Visibility:
    """Documents of all lengths in turn; groups that lie among one another; the same with media seen both ways."""
    generator = torch.Generator().manual_seed(1)
    starts = torch.rand(3, length, generator=generator) < 0.02
    groups = starts.cumsum(1) + 100 * torch.arange(3)[:, None]
    if kind != "documents":
        groups = groups + 1000 * torch.randint(0, 2, groups.shape, generator=generator)
    groups[1, length // 2 :] = -1
    groups[2, :5] = -1
    segments = None
    if kind == "segments":
        edges = torch.rand(3, length, generator=generator) < 0.1
        segments = (edges.cumsum(1) + 500 * torch.arange(3)[:, None]).masked_fill(edges.cumsum(1) % 2 == 0, 0)
        segments = segments.to(device)
    return Visibility(groups.to(device), segments)


def heads(length: int = LENGTH, head_dim: int = 16, device: torch.device | str = "cpu") -> tuple[Tensor, ...]:
    """Queries of four heads, keys and values of two."""
    generator = torch.Generator().manual_seed(2)
    shapes = [(3, count, length, head_dim) for count in (4, 2, 2)]
    return tuple(torch.randn(shape, generator=generator, dtype=torch.float64).to(device) for shape in shapes)


def outputs_and_gradients(attend: Any, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    inputs = tuple(x.detach().requires_grad_() for x in inputs)
    out = attend(*inputs)
    out.pow(3).sum().backward()
    return [out.detach(), *(x.grad for x in inputs)]


def test_a_line_has_every_token_once_between_the_bounds_of_its_group() -> None:
    groups = visibility_of("groups").group_ids
    line = line_up(groups)
    flat, bounds = groups.flatten(), line.bounds.tolist()
    assert line.bounds.dtype == torch.int32
    assert bounds[0] == 0
    assert bounds[-1] == int((flat >= 0).sum()) == len(line.folding.tokens)
    assert line.longest == max(stop - start for start, stop in pairwise(bounds))
    members = [line.folding.tokens[start:stop] for start, stop in pairwise(bounds)]
    assert [int(flat[tokens].unique()) for tokens in members] == flat.unique()[1:].tolist()
    assert all((tokens.diff() > 0).all() for tokens in members)


@pytest.mark.parametrize("kind", ["documents", "groups"])
def test_causal_attention_between_the_bounds_is_dense_attention(kind: str) -> None:
    """What the kernel is documented to compute from the same bounds, by a loop; outputs and gradients."""
    visibility = visibility_of(kind)
    expected = outputs_and_gradients(lambda *x: dense_attention(*x, visibility.mask), heads())
    found = outputs_and_gradients(lambda *x: varlen.varlen_attention(*x, visibility), heads())
    for value, reference in zip(found, expected, strict=True):
        torch.testing.assert_close(value, reference, rtol=1e-9, atol=1e-9)


def test_the_kernel_is_given_the_bounds_in_the_precision_of_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    """The call that a GPU would make, with a kernel that computes by the loop in its place."""
    calls: list[tuple[Any, ...]] = []

    def kernel(q: Tensor, k: Tensor, v: Tensor, *lengths: Any, window_size: tuple[int, int]) -> Tensor:
        calls.append((q.dtype, k.dtype, v.dtype, q.shape[1], k.shape[1], *lengths, window_size))
        return varlen.by_loop(q, k, v, line_up(visibility.group_ids))

    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", kernel)
    monkeypatch.setattr(varlen, "varlen_runs", lambda device, dtype, head_dim: dtype == torch.bfloat16)
    visibility = visibility_of("documents")
    q, k, v = heads()
    with torch.autocast("cpu", torch.bfloat16):
        found = varlen.varlen_attention(q.float(), k.float(), v.bfloat16(), visibility)
    ((*dtypes, q_heads, k_heads, q_bounds, k_bounds, q_longest, k_longest, window),) = calls
    assert dtypes == [torch.bfloat16] * 3
    assert (q_heads, k_heads, window) == (4, 4, (-1, 0))
    line = line_up(visibility.group_ids)
    assert torch.equal(q_bounds, line.bounds)
    assert torch.equal(k_bounds, line.bounds)
    assert q_longest == k_longest == line.longest
    expected = dense_attention(q, k, v, visibility.mask)
    # bfloat16 has 8 bits: each of q, k, v and the sum is rounded by up to 2 ** -9 of its size.
    torch.testing.assert_close(found.double(), expected, rtol=0.05, atol=0.05)


def test_a_batch_of_padding_alone_is_zero_and_joins_the_graph() -> None:
    visibility = Visibility(torch.full((3, LENGTH), -1))
    for implementation in ("varlen", "flex"):
        attend = partial(IMPLEMENTATIONS[implementation], visibility=visibility)
        assert not any(value.any() for value in outputs_and_gradients(attend, heads()))


@pytest.mark.parametrize("length", [1, 128, LENGTH])
@pytest.mark.parametrize("kind", ["documents", "groups", "segments"])
def test_a_block_mask_is_the_dense_mask(kind: str, length: int) -> None:
    """All pairs that may see one another, and no other, lie in the blocks that are computed."""
    visibility = visibility_of(kind, length)
    assert torch.equal(flex.written_out(flex.block_mask(visibility)), visibility.mask)


def test_blocks_in_which_nobody_sees_anybody_are_left_out() -> None:
    groups = torch.arange(4).repeat_interleave(128)[None]
    mask = flex.block_mask(Visibility(groups))
    assert torch.equal(mask.to_dense()[0, 0].bool(), torch.eye(4, dtype=torch.bool))


@pytest.mark.parametrize("kind", ["documents", "groups", "segments"])
def test_flex_attention_is_dense_attention(kind: str) -> None:
    """torch's own, which a CPU computes without gradients; and what stands for it there, with gradients."""
    visibility, inputs = visibility_of(kind), heads()
    expected = outputs_and_gradients(lambda *x: dense_attention(*x, visibility.mask), inputs)
    with torch.no_grad():
        torchs = flex.attend(*inputs, flex.block_mask(visibility))
    attend = partial(IMPLEMENTATIONS["flex"], visibility=visibility)
    for value, reference in zip(
        (torchs, *outputs_and_gradients(attend, inputs)), (expected[0], *expected), strict=True
    ):
        torch.testing.assert_close(value, reference, rtol=1e-9, atol=1e-9)


def test_a_block_mask_of_pairs_is_the_dense_mask() -> None:
    generator = torch.Generator().manual_seed(3)
    queries, memory = (
        TokenPlaces(
            torch.randint(-1, 4, (2, length), generator=generator),
            torch.randint(0, 90, (2, length), generator=generator),
        )
        for length in (140, LENGTH)
    )
    mask = flex.pair_mask(queries, memory)
    assert torch.equal(flex.written_out(mask), sees(queries, memory))
    q, (_, k, v) = torch.randn(2, 4, 140, 16, generator=generator).double(), (x[:2] for x in heads())
    with torch.no_grad():
        found = flex.attend(q, k, v, mask)
    torch.testing.assert_close(found, dense_attention(q, k, v, sees(queries, memory)), rtol=1e-9, atol=1e-9)


# Rounding of what goes in and comes out: 8 bits of bfloat16; float32 and its sums.
TOLERANCES = {torch.bfloat16: 0.05, torch.float32: 1e-4}


def largest_error(values: list[Tensor], references: list[Tensor]) -> float:
    """Relative to the largest value of each reference."""
    pairs = zip(values, references, strict=True)
    return max(float((v.cpu().double() - r).abs().max() / r.abs().max()) for v, r in pairs)


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("implementation", GroupAttention.implementations)
@pytest.mark.parametrize("kind", ["documents", "groups", "segments"])
def test_every_implementation_is_dense_attention_on_the_device(
    device: torch.device, kind: str, implementation: str, dtype: torch.dtype
) -> None:
    """On a GPU its kernels, in the precisions that they are for; against the reference in float64 on the CPU."""
    visibility, inputs = visibility_of(kind), heads(head_dim=32)
    expected = outputs_and_gradients(lambda *x: dense_attention(*x, visibility.mask), inputs)
    attend = partial(GroupAttention(implementation), visibility=visibility_of(kind, device=device))
    found = outputs_and_gradients(attend, tuple(x.to(device, dtype) for x in inputs))
    assert largest_error(found, expected) < TOLERANCES[dtype]


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("implementation", PairAttention.implementations)
def test_so_is_attention_of_pairs(device: torch.device, implementation: str, dtype: torch.dtype) -> None:
    def places(length: int, where: torch.device | str) -> TokenPlaces:
        documents = torch.arange(length).expand(3, -1) // 40 + 10 * torch.arange(3)[:, None]
        order = 2 * torch.arange(length).expand(3, -1) % 83
        return TokenPlaces(documents.to(where), order.to(where))

    (q, k, v), lengths = heads(head_dim=32), (140, LENGTH)
    inputs = (q[:, :, :140], k, v)
    on_cpu, on_device = ([places(length, where) for length in lengths] for where in ("cpu", device))
    expected = outputs_and_gradients(lambda *x: dense_attention(*x, sees(*on_cpu)), inputs)
    attend = partial(PairAttention(implementation), queries=on_device[0], memory=on_device[1])
    found = outputs_and_gradients(attend, tuple(x.to(device, dtype) for x in inputs))
    assert largest_error(found, expected) < TOLERANCES[dtype]


HALF, SINGLE, DOUBLE = torch.bfloat16, torch.float32, torch.float64


@pytest.mark.parametrize(
    ("place", "dtype", "head_dim", "one_group_per_row", "both_ways", "has_compiler", "expected"),
    [
        ("cpu", SINGLE, 32, True, False, True, "plain"),
        ("cpu", SINGLE, 32, True, True, True, "plain"),
        ("cpu", HALF, 32, False, False, True, "folded"),
        ("cpu", SINGLE, 32, False, True, True, "folded"),
        ("mps", HALF, 32, False, False, True, "folded"),
        ("meta", SINGLE, 32, False, False, True, "folded"),
        ("cuda", HALF, 32, True, False, True, "plain"),
        ("cuda", HALF, 32, False, False, True, "varlen"),
        ("cuda", torch.float16, 256, False, False, False, "varlen"),
        ("cuda", HALF, 32, False, True, True, "flex"),
        ("cuda", HALF, 32, True, True, True, "flex"),
        ("cuda", HALF, 20, False, False, True, "flex"),
        ("cuda", SINGLE, 32, False, False, True, "flex"),
        ("cuda", SINGLE, 32, False, True, False, "folded"),
        ("cuda", SINGLE, 32, True, True, False, "plain"),
        ("cuda", SINGLE, 8, False, False, True, "folded"),
        ("cuda", HALF, 264, False, False, True, "folded"),
        ("cuda", DOUBLE, 32, False, False, True, "folded"),
    ],
)
def test_the_fastest_that_runs_is_chosen(
    place: str,
    dtype: torch.dtype,
    head_dim: int,
    one_group_per_row: bool,
    both_ways: bool,
    has_compiler: bool,
    expected: str,
) -> None:
    found = fastest(
        place,
        dtype,
        head_dim,
        one_group_per_row=one_group_per_row,
        both_ways=both_ways,
        has_compiler=has_compiler,
    )
    assert found == expected
