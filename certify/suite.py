"""All checks, and the model of a configuration made ready for them."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence

import torch
from omegaconf import DictConfig, OmegaConf

from certify.checks.counting_checks import (
    counts_match_formulas,
    operations_match_torch,
    operations_scale,
    parts_sum_to_total,
    weights_are_registered,
)
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
from certify.checks.resume_checks import resumed_equals_unbroken
from certify.checks.training_checks import accumulated_equals_large_batch, trains_without_a_modality
from certify.context import Context, randomise
from certify.result import Result, in_float32, not_carried_out
from data.device import CPU, choose_device
from data.instantiate import instantiate
from data.sources.base import MESSAGES
from data.tokenizer import MIN_VOCAB_SIZE, Tokenizer
from fusion.build import build_model
from training.distributed import Processes
from training.objectives.next_token import NextToken
from training.runs.random_state import seed_everything

Check = Callable[[Context], Result]

ENCODER_CHECKS: tuple[Check, ...] = (
    items_are_independent,
    padding_has_no_influence,
    tokens_are_counted,
    wrong_shapes_are_refused,
    encoder_parameters_learn,
    absent_joins_the_graph,
)
MODEL_CHECKS: tuple[Check, ...] = (
    future_does_not_reach_past,
    past_reaches_present,
    media_see_themselves_as_configured,
    documents_are_isolated,
    packed_equals_unpacked,
    batched_equals_alone,
    evaluation_equals_training,
    outputs_of_implementations,
    gradients_of_implementations,
    cached_equals_full,
    prefill_in_two_parts,
    cached_equals_fresh_after_edits,
    greedy_is_argmax_of_full,
    answers_do_not_depend_on_batch,
    accumulated_equals_large_batch,
    trains_without_a_modality,
    parts_sum_to_total,
    counts_match_formulas,
    weights_are_registered,
    operations_scale,
    operations_match_torch,
)
ALL_CHECKS: tuple[Check, ...] = (*MODEL_CHECKS, *ENCODER_CHECKS, resumed_equals_unbroken)

# Vocabulary of a model if its data do not say how large theirs is.
VOCAB_SIZE = 320


def make_context(config: DictConfig) -> Context:
    """The model of a configuration of train.py with random non-trivial weights.

    `device` and `precision` of the configuration say where it computes and in what, by default on the CPU in float64. A
    GPU's short forms of float32 (TF32) are switched off in this process.

    Raises `BadInputError` when the configuration describes no model.
    """
    seed_everything(config.seed)
    vocab_size = OmegaConf.select(config, "data.tokenizer.vocab_size") or VOCAB_SIZE
    precision: torch.dtype = getattr(torch, config.get("precision", "float64"))
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    model = build_model(config, vocab_size).to(choose_device(config.get("device", CPU)), precision)
    randomise(model, config.seed)
    objective = instantiate(config.objective, "objective")
    objective.prepare(Processes(0, 1, torch.device("cpu")), Tokenizer.train((), MIN_VOCAB_SIZE), model)
    return Context(
        model,
        vocab_size,
        # Checks ask conversations. The terms of a contrastive loss depend on one another: it has tests of its own.
        objective=objective.double() if MESSAGES in objective.reads else NextToken(),
        optimizer=instantiate(config.optimizer, "optimizer"),
        config=config,
        seed=config.seed,
    )


def run(context: Context, checks: Sequence[Check]) -> Iterator[Result]:
    """The results, one by one; a check that cannot be carried out has failed, and its traceback goes to stderr."""
    for check in checks:
        try:
            result = check(context)
            yield in_float32(result) if context.weight.dtype == torch.float32 else result
        except Exception as error:
            traceback.print_exc()
            yield not_carried_out(check.__name__.replace("_", " "), error)
