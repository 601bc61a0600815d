"""Trainings in processes of their own, to be killed, interrupted, or run beside others.

python -m tests.training.worker train RUN [--kill-at BATCH] [--resume] [--probed] [--steps N] [--workers N]
torchrun --nproc_per_node=2 -m tests.training.worker distributed FOLDER
"""

from __future__ import annotations

import argparse
import os
import signal
from functools import partial
from pathlib import Path

import torch

from data.batching.loader import loader
from tests.training.aligned import OBJECTIVES, gradients_of
from tests.training.anchored import anchored_update
from tests.training.balance.balanced import NAMES, made, trainer
from tests.training.probed import Probed
from tests.training.small_parts import OPTIMIZERS, updates
from tests.training.telling import telling_configs
from tests.training.tiny import CONFIG, fusion_configs, tiny_model, tiny_stream, tiny_trainer
from training import distributed
from training.objectives.next_token import NextToken
from training.optimizers.groups import adamw
from training.steps import gradients
from training.steps.accumulation import accumulate
from training.steps.recompute import recompute

adamw_with_decay = partial(adamw, lr=1e-2, weight_decay=0.1)
OPTIONS = {"ema_decay": 0.9, "evaluate_every": 4, "accumulation_steps": 2}


def evaluate(model, step):
    """Depends on the weights, and draws random numbers that must not reach the training."""
    torch.rand(3)
    return {"validation/score": float(sum(p.double().abs().sum() for p in model.parameters()))}


def signalling(load, batch, number):
    """As `load`, and sends this process a signal when that batch is asked for."""

    def load_and_signal(start, stop):
        for index, item in zip(range(start, stop), load(start, stop), strict=True):
            if index == batch:
                os.kill(os.getpid(), number)
            yield item

    return load_and_signal


def lora_model():
    """The tiny model with a ViT of transformers that is frozen but for its LoRA."""
    sizes = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 8}
    image = {
        "_target_": "encoders.pretrained.hugging_face.TransformersEncoder",
        "architecture": {"model_type": "vit", "image_size": 4, "patch_size": 2, **sizes},
        "fine_tuning": {"_target_": "encoders.lora.Lora", "rank": 2},
        "lr_scale": 0.5,
    }
    return tiny_model(encoders={**CONFIG["encoders"], "image": image})


def train(arguments):
    stream = tiny_stream(tiny_model())
    load = signalling(
        lambda start, stop: loader(stream, start, stop, arguments.workers), arguments.kill_at, signal.SIGKILL
    )
    run, options = arguments.folder, {**OPTIONS, "max_steps": arguments.steps}
    if arguments.probed:
        options["objective"] = Probed()
    tiny_trainer(run, load=load, evaluate=evaluate, resume=run if arguments.resume else None, **options).fit()


def split_by_audio(stream, count=6):
    """Batches with a clip, and as many without."""
    batches = [stream[index] for index in range(40)]
    spoken = [batch for batch in batches if "audio" in batch.media]
    typed = [batch for batch in batches if "audio" not in batch.media]
    return spoken[:count], typed[:count]


def sharded_gradients(fusion, processes, recomputed=False):
    """Gradients of a model with this fusion method, their norms, and the number of supervised tokens."""
    model = tiny_model(fusion=fusion)
    if recomputed:
        recompute(distributed.blocks(model))
    batches = split_by_audio(tiny_stream(model, samples_per_batch=1))[processes.rank]
    distributed.shard(model, processes)
    totals = accumulate(model, NextToken(), batches, processes)
    norms = gradients.norms(gradients.parts(model), processes)
    whole = {name: distributed.to_full(p.grad) for name, p in model.named_parameters()}
    return {"gradients": whole, "norms": norms, "count": totals.count}


def run_distributed(arguments):
    """Gradients where only the first process has sound; a training from scratch; one that a single process began."""
    torch.set_num_threads(1)
    processes = distributed.start("cpu")
    for name, configs in (("found", fusion_configs()), ("told", telling_configs())):
        found, again = (
            {fusion: sharded_gradients(config, processes, recomputed) for fusion, config in configs.items()}
            for recomputed in (False, True)
        )
        if processes.is_main:
            torch.save(found, arguments.folder / f"{name}.pt")
            torch.save(again, arguments.folder / f"{name}_recomputed.pt")
    for kind in OBJECTIVES:
        contrastive = gradients_of(kind, processes)
        torch.save(contrastive, arguments.folder / f"{kind}_{processes.rank}.pt")
    anchored = anchored_update(processes)
    if processes.is_main:
        torch.save(anchored, arguments.folder / "anchored.pt")
    small = {(kind, saves): updates(kind, processes, saves) for kind in OPTIMIZERS for saves in (None, 4)}
    if processes.is_main:
        torch.save(small, arguments.folder / "small.pt")
    two = arguments.folder / "two"
    tiny_trainer(two, processes=processes, evaluate=evaluate, **OPTIONS).fit()
    begun = arguments.folder / "begun"
    tiny_trainer(begun, processes=processes, evaluate=evaluate, resume=begun, **OPTIONS).fit()
    last = arguments.folder / "adamw"
    tiny_trainer(last, processes=processes, optimizer=adamw_with_decay, max_steps=4).fit()
    lora = arguments.folder / "lora"
    tiny_trainer(lora, processes=processes, model=lora_model(), **OPTIONS).fit()
    probed = arguments.folder / "probed"
    tiny_trainer(probed, processes=processes, objective=Probed(), **OPTIONS).fit()
    for name in NAMES:
        trainer(arguments.folder / name, tiny_model(), made(name), processes, max_steps=4, log_every=1).fit()
    processes.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("mode", choices=("train", "distributed"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--probed", action="store_true")
    parser.add_argument("--kill-at", type=int)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--workers", type=int, default=0)
    given = parser.parse_args()
    (train if given.mode == "train" else run_distributed)(given)
