"""SimBaMM: each modality through layers of its own, then all of a document through a few layers that it shares."""

from __future__ import annotations

from typing import Any

from fusion.methods.mid import MidFusion


class SimBaMM(MidFusion):
    """Late fusion by a transformer on top of unimodal ones, after Rheude, Eils and Wild (arXiv:2512.22991).

        layers with weights per modality, each modality alone -> `joint_layers` with shared weights, all of a document

    This is mid fusion with weights that differ by layer. In `late` and `mid` they are the same all through.

    joint_layers: the upper layers where modalities meet; None: half of them, rounded up. Their number decides how late
    the fusion is; the paper tunes it, and so should a comparison. Raises `ValueError` unless it is from 1 to
    `num_layers`, and for other weights.

    Three things differ from the paper, which classifies a fixed set of inputs. There each modality becomes one token, a
    class token is read out, and attention is bidirectional; here all tokens go on, text tokens are read out, and
    attention is causal, so that interleaved sequences can be generated. A modality that is missing is masked there;
    here it has no tokens. Positions are rotations, as in every method, where the paper adds sinusoids.
    """

    def __init__(
        self,
        d_model: int,
        num_layers: int,
        joint_layers: int | None = None,
        weights: str = "per_modality",
        **stack: Any,
    ) -> None:
        if weights != "per_modality":
            raise ValueError(f"weights={weights!r} must be per_modality; with shared weights it is fusion=mid")
        joint = num_layers - num_layers // 2 if joint_layers is None else joint_layers
        if num_layers > 0 and not 1 <= joint <= num_layers:
            raise ValueError(f"joint_layers={joint_layers} must be from 1 to num_layers={num_layers}")
        own = num_layers - joint
        by_layer = ["per_modality"] * own + ["shared"] * joint
        super().__init__(d_model, fusion_layer=own, num_layers=num_layers, weights=by_layer, **stack)
