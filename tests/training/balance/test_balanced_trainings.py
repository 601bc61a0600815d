"""Every option with every fusion method, what it costs, and a resume that is equal to the last bit."""

from __future__ import annotations

import signal

import pytest
from omegaconf import OmegaConf

from data.batching.loader import loader
from data.storage.run_log import read_metrics
from fusion.checkpoint import read_weights, resolve
from fusion.cost.flops import count, count_backward, usages
from tests.training.balance.balanced import NAMES, made, stream_of, trainer
from tests.training.tiny import fusion_configs, same_metrics, tiny_model, tiny_stream
from tests.training.worker import signalling
from training.balance.base import Balance
from training.objectives.next_token import NextToken
from training.preparation.costs import costs
from training.runs.interruption import TrainingInterrupted

LOGGED = {
    "unimodal_losses": {"balance/loss/audio", "balance/loss/image"},
    "ogm_ge": {f"balance/{kind}/{name}" for kind in ("score", "coefficient") for name in ("audio", "image")},
    "pdmp": {"balance/coefficient/audio", "balance/coefficient/image"},
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("fusion", fusion_configs())
def test_every_option_trains_with_every_method(tmp_path, fusion, name):
    model = tiny_model(fusion=fusion_configs()[fusion])
    stream = stream_of(model, modality_dropout={"audio": 0.1, "image": 0.1})
    trainer(tmp_path, model, made(name), stream=stream, max_steps=2, log_every=1).fit()
    first, second = read_metrics(tmp_path / "metrics.jsonl")  # modality dropout leaves the first nothing to see alone
    assert {key for key in (*first, *second) if key.startswith("balance/")} == LOGGED[name]
    assert first["train/loss"] != second["train/loss"]


@pytest.mark.parametrize("name", NAMES)
def test_interrupted_and_resumed_equals_unbroken(tmp_path, name):
    """The interruption comes between two scorings, of which a checkpoint keeps the coefficients."""
    options = {"max_steps": 8, "accumulation_steps": 2}
    changes = {"every": 3} if name == "ogm_ge" else {}
    trainer(tmp_path / "unbroken", tiny_model(), made(name, **changes), **options).fit()
    stream = stream_of(tiny_model())
    load = signalling(lambda start, stop: loader(stream, start, stop), 9, signal.SIGINT)
    run = tmp_path / "run"
    with pytest.raises(TrainingInterrupted):
        trainer(run, tiny_model(), made(name, **changes), load=load, **options).fit()
    assert resolve(run).name == "step_5"
    trainer(run, tiny_model(seed=1), made(name, **changes), resume=run, **options).fit()
    logged, expected = (read_metrics(folder / "metrics.jsonl") for folder in (run, tmp_path / "unbroken"))
    assert same_metrics(logged, expected, ("train/loss", "grad_norm", "balance"))
    found, wanted = (read_weights(resolve(folder), averaged=False) for folder in (run, tmp_path / "unbroken"))
    assert found.keys() == wanted.keys()
    assert all((found[key] == wanted[key]).all() for key in wanted)


def by_hand(model, stream, index, size):
    """Operations of the documents with image and sound, as each is seen alone, per sample of the batch."""
    batch = stream[index]
    documents = [usage for part in batch.alone.values() for usage in usages(model, part)]
    assert documents
    return sum(sum(of(model, usage).values()) for usage in documents for of in size) / batch.num_samples


@pytest.mark.parametrize("fusion", fusion_configs())
def test_operations_are_those_of_the_passes(fusion):
    model = tiny_model(fusion=fusion_configs()[fusion])
    stream = stream_of(model)
    batch = stream[0]
    both = by_hand(model, stream, 0, (count, count_backward))
    forward = by_hand(model, stream, 0, (count,))
    assert made("unimodal_losses").flops(model, batch) == pytest.approx(both)
    assert made("ogm_ge").flops(model, batch) == pytest.approx(forward)
    assert made("ogm_ge", every=4).flops(model, batch) == pytest.approx(forward / 4)
    assert made("pdmp").flops(model, batch) == 0.0
    assert made("unimodal_losses").flops(model, tiny_stream(model)[0]) == 0.0
    assert 0 < forward < both


@pytest.mark.parametrize("name", ["unimodal_losses", "ogm_ge"])
def test_a_summary_counts_the_passes_in_training_and_not_in_inference(name):
    adamw = {"_target_": "training.optimizers.groups.adamw", "_partial_": True, "lr": 1e-3}
    config = OmegaConf.create({"trainer": {"accumulation_steps": 2}, "optimizer": adamw})
    model, balance = tiny_model(), made(name)
    stream = stream_of(model)
    plain = costs(config, model, stream, NextToken(), Balance())
    found = costs(config, model, stream, NextToken(), balance)
    added = balance.flops(model, stream[0])
    assert found == {**plain, "flops/training": plain["flops/training"] + added, "flops/training/balance": added}
    assert added > 0
