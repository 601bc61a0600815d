"""An objective may have parameters of its own: trained, saved, resumed to the bit, and gone where a model is loaded."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from data.storage.run_log import read_metrics
from data.types import BadInputError
from fusion.checkpoint import OBJECTIVE, load_model, read_tensors, resolve
from tests.training.probed import Probed
from tests.training.runs.test_resume import killed, same_weights
from tests.training.tiny import same_metrics, tiny_model, tiny_stream, tiny_trainer, tokenizer
from tests.training.worker import OPTIONS, evaluate
from training.distributed import Processes
from training.objectives.base import Objective
from training.objectives.next_token import NextToken
from training.objectives.weighted_sum import WeightedSum
from training.optimizers.groups import Optimizers, adamw, muon
from training.preparation.setup import prepare_objective
from training.steps.accumulation import accumulate

ALONE = Processes(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    run = tmp_path_factory.mktemp("unbroken")
    tiny_trainer(run, evaluate=evaluate, objective=Probed(), **OPTIONS).fit()
    return run


def prepared():
    torch.manual_seed(1)
    objective, model = Probed(), tiny_model()
    objective.prepare(ALONE, tokenizer(), model)
    return objective, model


def state(run):
    return read_tensors(resolve(run) / OBJECTIVE)


def test_what_is_trained_moves_and_a_teacher_stays(unbroken):
    last = state(unbroken)
    assert set(last) == {"log_weight", "batches", "probe.weight", "probe.bias", "teacher.weight"}
    assert last["log_weight"] != 0
    assert last["batches"] == 24
    assert torch.equal(last["teacher.weight"], tiny_model().norm.weight)
    norms = [line["grad_norm/objective"] for line in read_metrics(unbroken / "metrics.jsonl") if "train/loss" in line]
    assert len(norms) == 6
    assert all(norm > 0 for norm in norms)


def test_killed_and_resumed_equals_unbroken(tmp_path, unbroken):
    run = tmp_path / "run"
    assert killed(run, 11, "--probed")
    assert killed(run, 21, "--probed", "--resume")
    # Other initial values, which the checkpoint replaces.
    objective = Probed()
    nn.init.constant_(objective.log_weight, 5.0)
    tiny_trainer(run, resume=run, evaluate=evaluate, objective=objective, **OPTIONS).fit()
    assert same_metrics(read_metrics(run / "metrics.jsonl"), read_metrics(unbroken / "metrics.jsonl"))
    assert same_weights(run, unbroken)
    one, other = state(run), state(unbroken)
    assert all(torch.equal(one[name], other[name]) for name in other)


def test_who_loads_the_model_gets_none_of_it(unbroken, tmp_path):
    step = resolve(unbroken)
    assert OBJECTIVE in json.loads((step / "manifest.json").read_text())["files"]
    loaded = load_model(unbroken)
    assert set(loaded.model.state_dict()) == set(tiny_model().state_dict())


def test_an_objective_without_parameters_leaves_checkpoints_as_they_were(tmp_path):
    tiny_trainer(tmp_path, max_steps=2).fit()
    step = resolve(tmp_path)
    assert not (step / OBJECTIVE).exists()
    optimizer = torch.load(step / "training.pt")["optimizer"]
    assert not any(name.startswith("objective.") for name in optimizer)
    assert "grad_norm/objective" not in read_metrics(tmp_path / "metrics.jsonl")[-1]


def test_another_objective_cannot_go_on(tmp_path):
    tiny_trainer(tmp_path, max_steps=2, objective=Probed()).fit()
    with pytest.raises(BadInputError, match=r"objective\.safetensors: .*batches is \[\] in the checkpoint and missing"):
        tiny_trainer(tmp_path, resume=tmp_path, max_steps=4)


@pytest.mark.parametrize("optimizer", [adamw, muon])
def test_adamw_takes_them_under_either_optimizer(optimizer):
    objective, model = prepared()
    options = (
        {"lr": 0.5, "adamw_lr": 0.25, "adamw_weight_decay": 0.1}
        if optimizer is muon
        else {"lr": 0.25, "weight_decay": 0.1}
    )
    plain, both = (optimizer(model, **options) for _ in range(2))
    both.add(objective, "objective")
    before, after = plain.param_groups, both.param_groups
    assert len(after) == len(before) + 2  # what decays, and what does not
    assert [list(map(id, group["params"])) for group in after if group["params"][0] in plain.names] == [
        list(map(id, group["params"])) for group in before
    ]
    added = [group for group in after if both.names[group["params"][0]].startswith("objective.")]
    assert {(group["base_lr"], group["weight_decay"]) for group in added} == {(0.25, 0.1), (0.25, 0.0)}
    assert both.names[objective.probe.weight] == "objective.probe.weight"


def test_an_optimizer_without_adamw_is_refused():
    objective, model = prepared()
    sgd = Optimizers(model, [torch.optim.SGD(model.parameters(), lr=0.1)])
    sgd.add(NextToken(), "objective")
    with pytest.raises(ValueError, match="objective has parameters, and no optimizer is AdamW"):
        sgd.add(objective, "objective")


def test_accumulated_gradients_are_those_of_one_mean():
    """Of the objective too, where micro-batches have different numbers of supervised tokens."""
    objective, model = prepared()
    stream = tiny_stream(model, samples_per_batch=1)
    batches = [stream[number] for number in range(3)]
    terms = [objective(model, batch) for batch in batches]
    assert len({found.count for found in terms}) > 1
    (sum(found.sum for found in terms) / sum(found.count for found in terms)).backward()
    expected = {name: p.grad.clone() for name, p in objective.named_parameters() if p.requires_grad}
    objective.zero_grad()
    model.zero_grad()
    accumulate(model, objective, batches)
    for name, gradient in expected.items():
        assert gradient.abs().max() > 0
        torch.testing.assert_close(dict(objective.named_parameters())[name].grad, gradient, rtol=1e-4, atol=1e-6)


def test_parts_of_a_sum_are_prepared_and_theirs_are_its_parameters():
    both = WeightedSum([NextToken(), Probed()], [1, 2])
    both.prepare(ALONE, tokenizer(), tiny_model())
    assert "parts.1.probe.weight" in dict(both.named_parameters())


class Keeper(Objective):
    def prepare(self, processes, tokenizer, model):
        self.model = model


class Refusing(Objective):
    def prepare(self, processes, tokenizer, model):
        raise ValueError(f"teacher={tokenizer.vocab_size} must have the vocabulary of the model")


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (Keeper(), "objective: keeps the model's own parameters as model.text"),
        (Refusing(), r"objective: teacher=\d+ must have the vocabulary"),
    ],
)
def test_what_cannot_be_used_is_one_line(objective, message):
    with pytest.raises(BadInputError, match=message) as refused:
        prepare_objective(objective, ALONE, tokenizer(), tiny_model(), seed=0)
    assert "\n" not in str(refused.value)


def test_what_is_drawn_depends_on_the_seed_alone():
    found = []
    for draws in (0, 3):
        model, objective = tiny_model(), Probed()
        torch.rand(draws)
        prepare_objective(objective, ALONE, tokenizer(), model, seed=7)
        found.append(objective.probe.weight.detach().clone())
    assert torch.equal(*found)
