"""A real model and a real data pipeline, small enough to train in a second."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from omegaconf import OmegaConf

import conf
from data.batching.interleave import Interleaver
from data.batching.loader import BatchStream, loader
from data.batching.mixture import Mixture
from data.types import AUDIO, IMAGE
from fusion.build import build_model
from tests.data.memory import MemorySource, RawProcessor, tokenizer
from training.objectives.next_token import NextToken
from training.optimizers.groups import muon
from training.optimizers.schedules import trapezoid
from training.options import TrainerOptions
from training.runs.random_state import seed_everything
from training.trackers.jsonl import JsonlTracker
from training.trainer import Trainer

CONFIG = {
    "d_model": 16,
    "encoders": {
        "image": {
            "_target_": "encoders.scratch.image.ImageEncoder",
            "image_size": 4,
            "channels": [8],
            "strides": [2],
            "kernels": [3],
            "num_layers": 1,
            "num_heads": 2,
        },
        "audio": {
            "_target_": "encoders.scratch.audio.AudioEncoder",
            "num_mels": 3,
            "channels": [8],
            "strides": [2],
            "kernels": [5],
            "num_layers": 1,
            "num_heads": 2,
        },
        "text": {"_target_": "encoders.text.TokenEmbedding", "_partial_": True},
    },
    "projector": {"_target_": "encoders.projector.LinearProjector", "_partial_": True},
    "fusion": {
        "_target_": "fusion.methods.early.EarlyFusion",
        "_partial_": True,
        "num_layers": 2,
        "mixer": {
            "_target_": "fusion.mixers.attention.SelfAttention",
            "_partial_": True,
            "num_heads": 2,
            "num_kv_heads": 1,
            "position": {"_target_": "fusion.positions.rope.Rope", "_partial_": True},
        },
        "feed_forward": {"_target_": "fusion.feed_forward.swiglu.SwiGLU", "_partial_": True},
    },
}


def tiny_model(seed=0, **changes):
    """The model of CONFIG; every weight is moved, so that no layer begins as the identity and hides what is behind."""
    seed_everything(seed)
    model = build_model(OmegaConf.create({**CONFIG, **changes}), tokenizer().vocab_size)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model


def fusion_configs():
    """Name -> config of every fusion method, with the mixer, the feed-forward layer and the sizes of CONFIG.

    Weights are those of each modality where a method has the choice: that is the harder case.
    """
    mixer, feed_forward = CONFIG["fusion"]["mixer"], CONFIG["fusion"]["feed_forward"]
    known = {"mixer": mixer, "feed_forward": feed_forward, "position": mixer["position"]}
    known["mixer"] = {**mixer, "qk_norm": True}
    found, folder = {}, Path(conf.__path__[0])
    layers = OmegaConf.load(folder / "layers" / "default.yaml")
    for path in sorted((folder / "fusion").glob("*.yaml")):
        own = OmegaConf.load(path)
        del own["defaults"]
        config = OmegaConf.merge(known, {"fusion": layers}, {"fusion": own}, {"fusion": {"num_layers": 2}})
        if "weights" in config.fusion:
            config.fusion.weights = "per_modality"
        found[path.stem] = OmegaConf.to_container(config, resolve=True)["fusion"]
    return found


def tiny_stream(model, samples_per_batch=4, num_samples=12, seed=0, **options):
    """Conversations about an image, typed and spoken; batch i is a pure function of i."""
    processors = {IMAGE: RawProcessor(), AUDIO: RawProcessor()}
    reader = Interleaver(tokenizer(), processors, model.layouts, model.modalities, 64)
    mixture = Mixture({"memory": (MemorySource(num_samples), 1.0)}, seed)
    return BatchStream(mixture, reader, samples_per_batch, **options)


def tiny_trainer(run_folder, resume=None, evaluate=None, num_workers=0, processes=None, stream=None, **changes):
    """A trainer on the tiny model; `changes` are trainer options, or what the names below say."""
    torch.set_num_threads(1)
    model = changes.pop("model", None) or tiny_model()
    if processes is not None:
        stream = stream or tiny_stream(model, rank=processes.rank, world_size=processes.world_size)
    stream = stream or tiny_stream(model)
    tokenizer_path = Path(run_folder) / "tokenizer.json"
    tokenizer_path.parent.mkdir(parents=True, exist_ok=True)
    if processes is None or processes.is_main:  # or they would take the temporary file from one another
        tokenizer().save(tokenizer_path)
    tracker = JsonlTracker(Path(run_folder))
    load = changes.pop("load", None) or (lambda start, stop: loader(stream, start, stop, num_workers))
    optimizer = changes.pop("optimizer", None) or partial(muon, lr=0.02, adamw_lr=3e-3)
    seed = changes.pop("seed", 0)
    objective = changes.pop("objective", None) or NextToken()
    balance = changes.pop("balance", None)
    seed_everything(seed)
    objective.prepare(processes, tokenizer(), model)
    options = {"max_steps": 12, "log_every": 2, "checkpoint_every": 3, "device": "cpu", **changes}
    trainer = Trainer(
        model=model,
        objective=objective,
        optimizer=optimizer,
        schedule=partial(trapezoid, warmup_fraction=1 / 6, decay_fraction=0.4),
        load=load,
        options=TrainerOptions(**options),
        run_folder=Path(run_folder),
        config=CONFIG,
        tokenizer_path=tokenizer_path,
        tracker=tracker,
        evaluate=evaluate,
        processes=processes,
        resume=resume,
        seed=seed,
        balance=balance,
    )
    if processes is None or processes.is_main:
        tracker.start("tiny", CONFIG, trainer.step if resume else None)
    return trainer


def same_metrics(one, other, prefixes=("train/loss", "train/learning_rate", "grad_norm", "validation", "data/")):
    """Whether two lists of logged lines agree to the last bit in everything that is not a time or a size."""

    def kept(line):
        return {k: v for k, v in line.items() if k in ("step", "tokens") or k.startswith(prefixes)}

    return [kept(line) for line in one] == [kept(line) for line in other]
