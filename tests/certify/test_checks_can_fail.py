"""Every check passes on a sound model, and catches a model that is broken in just the way that it looks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from certify import suite
from certify.checks import counting_checks, decoding_checks, training_checks
from certify.checks.decoding_checks import (
    answers_do_not_depend_on_batch,
    cached_equals_fresh_after_edits,
    cached_equals_full,
    greedy_is_argmax_of_full,
    prefill_in_two_parts,
)
from certify.checks.encoder_checks import (
    absent_joins_the_graph,
    encoder_parameters_learn,
    items_are_independent,
    padding_has_no_influence,
    tokens_are_counted,
    wrong_shapes_are_refused,
)
from certify.checks.fusion_checks import (
    batched_equals_alone,
    documents_are_isolated,
    evaluation_equals_training,
    future_does_not_reach_past,
    media_see_themselves_as_configured,
    packed_equals_unpacked,
    past_reaches_present,
)
from certify.checks.implementation_checks import gradients_of_implementations, outputs_of_implementations
from certify.checks.training_checks import accumulated_equals_large_batch, trains_without_a_modality
from certify.context import Context
from data.types import InterleavedBatch, Layout, MediaBatch
from encoders.base import MediaEncoder
from fusion.block import Block
from fusion.hidden import Hidden
from fusion.mixers import attention
from fusion.model import FusionModel
from tests.certify.cache_sabotage import (
    cache_counts_padding,
    cache_forgets_everything,
    cache_forgets_its_first_slot,
    copies_share_their_groups_alone,
    reset_keeps_what_was_there,
    second_prefill_overwrites_the_first,
    trimming_leaves_the_last,
)
from tests.certify.flops_sabotage import values_are_not_multiplied, weights_get_no_gradient
from tests.certify.media_sabotage import (
    folded_attention_ignores_media,
    media_look_both_ways_unasked,
    mixers_ignore_media,
)
from tests.data.memory import tokenizer
from tests.training.probed import Probed
from training.distributed import Processes
from training.steps import gradients
from training.steps.accumulation import StepTotals

Patch = pytest.MonkeyPatch
Sabotage = Callable[[Context, Patch], None]


def wrap_mixer(model: FusionModel, patch: Patch, change: Callable[..., Tensor]) -> None:
    """Replaces the first mixer's result `out` by `change(out, x)`."""
    mixer = model.fusion.layers()[0].mixer
    original = mixer.forward

    def forward(x: Tensor, *args: Any, **keywords: Any) -> Tensor:
        return change(original(x, *args, **keywords), x)

    patch.setattr(mixer, "forward", forward)


def encoder_of(model: FusionModel, name: str) -> MediaEncoder:
    encoder = model.media_encoders[name]
    assert isinstance(encoder, MediaEncoder)
    return encoder


def mixer_looks_one_token_ahead(context: Context, patch: Patch) -> None:
    wrap_mixer(context.model, patch, lambda out, x: out + 1e-4 * x.roll(-1, dims=1))


def all_groups_are_one(context: Context, patch: Patch) -> None:
    patch.setattr(context.model.fusion, "groups", lambda layer, sequence: sequence.document_ids.clamp(max=0))


def mixers_and_embedding_are_blind(context: Context, patch: Patch) -> None:
    for block in context.model.fusion.layers():
        patch.setattr(block.mixer, "forward", lambda x, *rest: torch.zeros_like(x))


def places_count_from_the_row(context: Context, patch: Patch) -> None:
    """Absolute places in the row, where packing asks for places in the document."""
    wrap_mixer(context.model, patch, lambda out, x: out + 1e-3 * torch.arange(x.shape[1])[:, None])


def padding_is_averaged_in(context: Context, patch: Patch) -> None:
    wrap_mixer(context.model, patch, lambda out, x: out / x.shape[1])


def evaluation_takes_a_shortcut(context: Context, patch: Patch) -> None:
    wrap_mixer(context.model, patch, lambda out, x: out if torch.is_grad_enabled() else out.float().double())


def fast_attention_forgets_causality(context: Context, patch: Patch) -> None:
    def attend(q: Tensor, k: Tensor, v: Tensor, segment_ids: Tensor | None) -> Tensor:
        return nn.functional.scaled_dot_product_attention(q, k, v, enable_gqa=True)

    patch.setattr(attention, "causal_attention", attend)


def folded_attention_detaches_keys(context: Context, patch: Patch) -> None:
    original = attention.folded_attention
    patch.setattr(attention, "folded_attention", lambda q, k, v, visibility: original(q, k.detach(), v, visibility))


def generation_forgets_what_is_forbidden(context: Context, patch: Patch) -> None:
    original = decoding_checks.generate
    patch.setattr(decoding_checks, "generate", lambda *args, rules, **rest: original(*args, **rest))


def positions_restart_when_decoding(context: Context, patch: Patch) -> None:
    original = context.model.forward

    def forward(batch: InterleavedBatch, cache: Any = None) -> Tensor:
        if cache is not None and batch.token_ids.shape[1] == 1:
            batch.positions.zero_()
        return original(batch, cache)

    patch.setattr(context.model, "forward", forward)


def micro_batches_are_averaged(context: Context, patch: Patch) -> None:
    """The classic mistake: every micro-batch's mean weighs the same."""

    def accumulate(model: nn.Module, objective: Any, batches: list[InterleavedBatch]) -> StepTotals:
        count = 0
        for batch in batches:
            terms = objective(model, batch)
            (terms.sum / max(terms.count, 1) / len(batches)).backward()
            count += terms.count
        return StepTotals(0.0, count, 0, 0, 0, (), {})

    patch.setattr(training_checks, "accumulate", accumulate)


def absent_modality_leaves_the_graph(context: Context, patch: Patch) -> None:
    patch.setattr(MediaEncoder, "absent", lambda self: torch.zeros((), dtype=torch.float64))


def absent_modality_is_trained_on_zeros(context: Context, patch: Patch) -> None:
    def absent(self: MediaEncoder) -> Tensor:
        shape = self.encoder.example_shape
        values = torch.zeros((1, *shape), dtype=torch.float64)
        return 1e-3 * self(MediaBatch(values, torch.tensor([shape]), torch.zeros(1, dtype=torch.long))).sum()

    patch.setattr(MediaEncoder, "absent", absent)


def projector_divides_by_zero(context: Context, patch: Patch) -> None:
    projector = encoder_of(context.model, "image").projector
    original = projector.forward
    patch.setattr(projector, "forward", lambda *inputs: original(*inputs) / torch.zeros(()))


def blocks_pass_their_input_on(context: Context, patch: Patch) -> None:
    """With a gradient of 0 for everything in them."""
    patch.setattr(Block, "forward", lambda self, x, *rest: Hidden(x + 0 * sum(p.sum() for p in self.parameters())))


def head_is_counted_twice(context: Context, patch: Patch) -> None:
    original = counting_checks.parameter_counts
    patch.setattr(
        counting_checks, "parameter_counts", lambda model: original(model) | {"head": original(model)["text"]}
    )


def keys_are_as_many_as_queries(context: Context, patch: Patch) -> None:
    """Grouped keys in name only."""
    mixer = context.model.fusion.layers()[0].mixer
    assert isinstance(mixer, attention.SelfAttention)
    mixer.k = nn.Linear(32, 32, bias=False)


def factors_lie_in_a_plain_list(context: Context, patch: Patch) -> None:
    context.model.fusion.factors = [nn.Parameter(torch.ones(3))]  # type: ignore[assignment]


def counter_misses_matrices(context: Context, patch: Patch) -> None:
    patch.setattr(counting_checks, "flops_per_sample", lambda model, batch: 1000.0)


def encoder_normalises_over_the_batch(context: Context, patch: Patch) -> None:
    stem = encoder_of(context.model, "image").encoder.stem
    stem[0][1] = nn.BatchNorm2d(8).double()  # type: ignore[index, union-attr]


def encoder_ignores_lengths(context: Context, patch: Patch) -> None:
    encoder = encoder_of(context.model, "audio").encoder
    original = encoder.forward

    def forward(media: MediaBatch) -> Tensor:
        longest = media.shapes.amax(0).expand_as(media.shapes)
        return original(MediaBatch(media.values, longest, media.documents))

    patch.setattr(encoder, "forward", forward)


def encoder_miscounts(context: Context, patch: Patch) -> None:
    encoder = encoder_of(context.model, "audio").encoder
    original = encoder.layout
    patch.setattr(encoder, "layout", lambda shape: Layout(original(shape).count + shape[0] % 2))


def encoder_takes_any_width(context: Context, patch: Patch) -> None:
    encoder = encoder_of(context.model, "audio").encoder
    original = encoder.layout
    patch.setattr(encoder, "layout", lambda shape: original((shape[0], 8)))


def encoder_has_a_dead_layer(context: Context, patch: Patch) -> None:
    encoder_of(context.model, "image").encoder.unused = nn.Linear(2, 2)  # type: ignore[assignment]


CASES: list[tuple[Callable[[Context], Any], Sabotage]] = [
    (future_does_not_reach_past, mixer_looks_one_token_ahead),
    (past_reaches_present, mixers_and_embedding_are_blind),
    (media_see_themselves_as_configured, media_look_both_ways_unasked),
    (media_see_themselves_as_configured, mixers_ignore_media),
    (media_see_themselves_as_configured, folded_attention_ignores_media),
    (documents_are_isolated, all_groups_are_one),
    (documents_are_isolated, encoder_normalises_over_the_batch),
    (packed_equals_unpacked, all_groups_are_one),
    (packed_equals_unpacked, places_count_from_the_row),
    (batched_equals_alone, padding_is_averaged_in),
    (batched_equals_alone, encoder_ignores_lengths),
    (evaluation_equals_training, evaluation_takes_a_shortcut),
    (outputs_of_implementations, fast_attention_forgets_causality),
    (gradients_of_implementations, folded_attention_detaches_keys),
    (cached_equals_full, cache_forgets_its_first_slot),
    (cached_equals_full, cache_counts_padding),
    (cached_equals_full, positions_restart_when_decoding),
    (prefill_in_two_parts, second_prefill_overwrites_the_first),
    (cached_equals_fresh_after_edits, trimming_leaves_the_last),
    (cached_equals_fresh_after_edits, copies_share_their_groups_alone),
    (cached_equals_fresh_after_edits, reset_keeps_what_was_there),
    (greedy_is_argmax_of_full, cache_forgets_everything),
    (greedy_is_argmax_of_full, generation_forgets_what_is_forbidden),
    (answers_do_not_depend_on_batch, cache_counts_padding),
    (accumulated_equals_large_batch, micro_batches_are_averaged),
    (trains_without_a_modality, absent_modality_leaves_the_graph),
    (trains_without_a_modality, absent_modality_is_trained_on_zeros),
    (trains_without_a_modality, projector_divides_by_zero),
    (trains_without_a_modality, blocks_pass_their_input_on),
    (counting_checks.parts_sum_to_total, head_is_counted_twice),
    (counting_checks.counts_match_formulas, keys_are_as_many_as_queries),
    (counting_checks.weights_are_registered, factors_lie_in_a_plain_list),
    (counting_checks.operations_scale, counter_misses_matrices),
    (counting_checks.operations_match_torch, values_are_not_multiplied),
    (counting_checks.operations_match_torch, weights_get_no_gradient),
    (items_are_independent, encoder_normalises_over_the_batch),
    (padding_has_no_influence, encoder_ignores_lengths),
    (tokens_are_counted, encoder_miscounts),
    (wrong_shapes_are_refused, encoder_takes_any_width),
    (encoder_parameters_learn, encoder_has_a_dead_layer),
    (absent_joins_the_graph, absent_modality_leaves_the_graph),
    (absent_joins_the_graph, absent_modality_is_trained_on_zeros),
]
FAST_CHECKS = (*suite.MODEL_CHECKS, *suite.ENCODER_CHECKS)


@pytest.mark.parametrize("check", FAST_CHECKS, ids=lambda check: check.__name__)
def test_a_sound_model_passes(context: Context, check: suite.Check) -> None:
    result = check(context)
    assert result.passed, result


def test_a_sound_model_whose_media_look_both_ways_passes(context: Context) -> None:
    context.model.fusion.bidirectional_media = True
    result = media_see_themselves_as_configured(context)
    assert result.passed, result
    assert result.at_least


@pytest.mark.parametrize(("check", "sabotage"), CASES, ids=lambda item: item.__name__)
def test_a_broken_model_is_caught(context: Context, monkeypatch: Patch, check: suite.Check, sabotage: Sabotage) -> None:
    sabotage(context, monkeypatch)
    result = check(context)
    assert not result.passed, result


def test_gradients_of_what_an_objective_owns_are_checked(context: Context, monkeypatch: Patch) -> None:
    objective = Probed()
    objective.prepare(Processes(0, 1, torch.device("cpu")), tokenizer(), context.model)
    context = replace(context, objective=objective.double())
    assert accumulated_equals_large_batch(context).passed
    scale = gradients.scale

    def of_models(module: nn.Module, factor: float) -> None:
        if module is not objective:
            scale(module, factor)

    monkeypatch.setattr(gradients, "scale", of_models)
    assert not accumulated_equals_large_batch(context).passed


def test_every_check_has_been_seen_to_fail() -> None:
    assert {check.__name__ for check, _ in CASES} == {check.__name__ for check in FAST_CHECKS}


def test_a_check_that_ends_in_an_error_has_failed(context: Context, capsys: pytest.CaptureFixture[str]) -> None:
    def fails(context: Context) -> Any:
        raise NotImplementedError("no cache yet")

    (result,) = suite.run(context, [fails])
    assert not result.passed
    assert result.detail == "NotImplementedError: no cache yet"
    assert "Traceback" in capsys.readouterr().err
