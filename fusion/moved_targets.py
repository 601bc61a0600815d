"""Where the classes that older configurations name lie today, so that old checkpoints keep loading."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Module of an older version -> module of today.
MODULES = {
    "data.audio": "data.media.audio",
    "data.audio_augmentation": "data.media.audio_augmentation",
    "data.corruptions": "data.media.corruptions",
    "data.easy_vqa": "data.sources.easy_vqa",
    "data.emoji": "data.sources.emoji",
    "data.image": "data.media.image",
    "data.manifest": "data.sources.manifest",
    "data.sentence": "data.media.sentence",
    "data.waveform": "data.media.waveform",
    "encoders.audio": "encoders.scratch.audio",
    "encoders.fine_tuning": "encoders.pretrained.fine_tuning",
    "encoders.hugging_face": "encoders.pretrained.hugging_face",
    "encoders.image": "encoders.scratch.image",
    "encoders.perceiver_resampler": "encoders.projectors.perceiver_resampler",
    "encoders.qformer": "encoders.projectors.qformer",
    "encoders.timm_image": "encoders.pretrained.timm_image",
    "encoders.torchaudio_pipeline": "encoders.pretrained.torchaudio_pipeline",
    "evaluation.retrieval": "evaluation.retrieval.evaluate",
    "fusion.bottleneck": "fusion.methods.bottleneck",
    "fusion.concat": "fusion.methods.concat",
    "fusion.cross_attention": "fusion.methods.cross_attention",
    "fusion.early": "fusion.methods.early",
    "fusion.late": "fusion.methods.late",
    "fusion.mid": "fusion.methods.mid",
    "fusion.mixture_of_transformers": "fusion.methods.mixture_of_transformers",
    "fusion.ridge_space": "fusion.spaces.ridge_space",
    "fusion.shared_space": "fusion.spaces.shared_space",
    "training.optimizers": "training.optimizers.groups",
    "training.schedules": "training.optimizers.schedules",
}
# Classes that left their module for another one.
CLASSES = {"data.audio.SpectrogramAugmentation": "data.media.audio_augmentation.SpectrogramAugmentation"}


def moved(node: Any) -> Any:
    """A copy of a plain configuration where every `_target_` names the module of today."""
    if isinstance(node, list):
        return [moved(item) for item in node]
    if not isinstance(node, Mapping):
        return node
    return {name: _today(child) if name == "_target_" else moved(child) for name, child in node.items()}


def _today(target: Any) -> Any:
    if not isinstance(target, str):
        return target
    if target in CLASSES:
        return CLASSES[target]
    module, _, name = target.rpartition(".")
    return f"{MODULES[module]}.{name}" if module in MODULES else target
