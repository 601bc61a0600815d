"""Which parameter is optimised how: AdamW for all, or Muon for matrices and AdamW for the rest."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from data.types import BadInputError
from training.distributed import assign, to_full
from training.optimizers.adamw import AdamW
from training.optimizers.muon import Muon

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
# The schema of a configuration: what is out of these ranges is refused before a model is made
# (`data/configuration/schema.py`).
NotNegative = Annotated[float, Field(ge=0)]
Beta = Annotated[float, Field(ge=0, lt=1)]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class NamedParameter:
    """A parameter, its name in the model, the module that owns it, and a factor on its learning rate.

    The factor is the product of `lr_scale` of the modules around it, where they have one (see `encoders.base.Encoder`).
    of_adamw: whether a module says by a method `adamw_parameters` that it is not for Muon. A router is not: its rows
    are as many choices and no map between spaces. A depthwise kernel is not either: its channels have nothing to do
    with one another.
    """

    name: str
    parameter: nn.Parameter
    owner: nn.Module
    lr_scale: float = 1.0
    of_adamw: bool = False

    @property
    def is_embedding(self) -> bool:
        """Whether it is looked up by position, not multiplied: it, or the class of its owner, is called an embedding.

        Names of the modules around it do not count: `patch_embedding.weight` is the kernel of a convolution.
        """
        own_name = self.name.rpartition(".")[2]
        return isinstance(self.owner, nn.Embedding) or "embedding" in f"{type(self.owner).__name__}.{own_name}".lower()

    @property
    def decays(self) -> bool:
        """Weight decay is for what is multiplied with inputs, and is called a weight: `weight`, `gate_weight`, ...

        Not for norms, biases, scales, embeddings, learned tokens and the matrices of LoRA.
        """
        is_weight = "weight" in self.name.rpartition(".")[2]
        return is_weight and self.parameter.ndim >= 2 and not self.is_embedding

    def matrices(self) -> tuple[int, int, int] | None:
        """As which (N, rows, columns) Muon sees it; None: not as matrices.

        A convolution kernel is one matrix per output channel; the joint projection of `nn.MultiheadAttention` is three;
        any other stack [N, rows, columns], such as weights of experts, is N.
        """
        shape = self.parameter.shape
        if not self.decays or self.of_adamw:
            return None
        if isinstance(self.owner, CONVOLUTIONS):
            return (1, shape[0], math.prod(shape[1:]))
        if self.name.endswith("in_proj_weight"):
            return (3, shape[0] // 3, shape[1])
        return (math.prod(shape[:-2]), shape[-2], shape[-1])


def named_parameters(model: nn.Module) -> Iterator[NamedParameter]:
    """The trainable parameters of a model with their owners; a shared one once."""
    seen: set[int] = set()
    asking = [module for module in model.modules() if hasattr(module, "adamw_parameters")]
    of_adamw = {id(parameter) for module in asking for parameter in module.adamw_parameters()}  # type: ignore[operator]
    scales = {name: float(getattr(module, "lr_scale", 1.0)) for name, module in model.named_modules()}
    for prefix, module in model.named_modules():
        scale = math.prod(scales[name] for name in _ancestry(prefix))
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad and id(parameter) not in seen:
                seen.add(id(parameter))
                full_name = f"{prefix}.{name}" if prefix else name
                yield NamedParameter(full_name, parameter, module, scale, id(parameter) in of_adamw)


def _ancestry(name: str) -> Iterator[str]:
    """The names of a module and of the modules around it: a.b.c, a.b, a and the root."""
    while name:
        yield name
        name = name.rpartition(".")[0]
    yield ""


class Optimizers:
    """Several torch optimizers as one; its state is kept by parameter name, whole, whatever the number of processes."""

    def __init__(self, model: nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        self.optimizers = list(optimizers)
        self.names: dict[Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
        for group in self.param_groups:
            group["base_lr"] = group["lr"]

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of all optimizers."""
        return [group for optimizer in self.optimizers for group in optimizer.param_groups]

    def add(self, module: nn.Module, prefix: str) -> None:
        """AdamW takes the trainable parameters of another module too, with its rates; states are named `prefix.NAME`.

        Raises `ValueError` if there is no AdamW.
        """
        items = list(named_parameters(module))
        if not items:
            return
        optimizer = next((found for found in self.optimizers if isinstance(found, AdamW)), None)
        if optimizer is None:
            raise ValueError(f"{prefix} has parameters, and no optimizer is AdamW, which would take them")
        for group in _groups(items, optimizer.defaults["lr"], optimizer.defaults["weight_decay"]):
            optimizer.add_param_group({**group, "base_lr": group["lr"]})
        self.names |= {item.parameter: f"{prefix}.{item.name}" for item in items}

    def set_lr_factor(self, factor: float) -> None:
        """Every learning rate becomes its configured value times `factor`."""
        for group in self.param_groups:
            group["lr"] = group["base_lr"] * factor

    @property
    def learning_rate(self) -> float:
        """The present rate of the first group, and of every other of its optimizer that has no factor of its own."""
        return self.param_groups[0]["lr"]

    def flops(self) -> int:
        """Operations of one update: matrix products, as `fusion/cost/flops.py` counts them.

        AdamW has none, and counts as nothing: it does about a dozen operations a weight, once an update, where forward
        and backward pass do six for every token.
        """
        return sum(optimizer.flops() for optimizer in self.optimizers if isinstance(optimizer, Muon))

    def step(self) -> None:
        """One update."""
        for optimizer in self.optimizers:
            optimizer.step()

    def zero_grad(self) -> None:
        """Drops all gradients."""
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, dict[str, Tensor]]:
        """Name -> state of that parameter, whole and on the CPU; every process must call this."""
        return {
            self.names[parameter]: {key: to_full(value).cpu().clone() for key, value in state.items()}
            for optimizer in self.optimizers
            for parameter, state in optimizer.state.items()
        }

    def load_state_dict(self, states: dict[str, dict[str, Tensor]]) -> None:
        """Continues from `state_dict`. Raises `BadInputError` if it is that of other parameters."""
        unknown = states.keys() - self.names.values()
        if unknown:
            raise BadInputError(f"the optimizer's state is of another model: it has {min(unknown)}")
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    name = self.names[parameter]
                    if name in states:
                        optimizer.state[parameter] = {k: _like(v, parameter) for k, v in states[name].items()}


def _like(full: Tensor, parameter: nn.Parameter) -> Tensor:
    """A tensor of the optimizer's state, laid out as its parameter; counters stay scalars."""
    if full.shape != parameter.shape or parameter.ndim == 0:
        return full.clone() if full.device == parameter.device else full.to(parameter.device)
    value = torch.empty_like(parameter, dtype=full.dtype)
    assign(value, full)
    return value.detach()


def adamw(
    model: nn.Module,
    *,
    lr: NotNegative,
    betas: tuple[Beta, Beta] = (0.9, 0.95),
    eps: NotNegative = 1e-8,
    weight_decay: NotNegative = 0.0,
) -> Optimizers:
    """AdamW (arXiv:1711.05101) for everything, with weight decay where `NamedParameter.decays`."""
    return Optimizers(model, [_adamw(list(named_parameters(model)), lr, betas, eps, weight_decay)])


def muon(
    model: nn.Module,
    *,
    lr: NotNegative,
    adamw_lr: NotNegative,
    momentum: Beta = 0.95,
    nesterov: bool = True,
    weight_decay: NotNegative = 0.0,
    steps: Annotated[int, Field(ge=1, le=100)] = 5,
    scale: Literal["spectral", "match_rms_adamw", "none"] = "spectral",
    dtype: Literal["float32", "bfloat16"] = "float32",
    convolutions: bool = True,
    betas: tuple[Beta, Beta] = (0.9, 0.95),
    eps: NotNegative = 1e-8,
    adamw_weight_decay: NotNegative = 0.0,
) -> Optimizers:
    """Muon with `lr` for the matrices of blocks, encoders and projectors; AdamW with `adamw_lr` for all else.

    `convolutions`: whether kernels count as matrices. See `training.optimizers.muon.Muon` for the other arguments.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype={dtype!r} must be one of {', '.join(DTYPES)}")
    groups, rest = [], []
    # Those without a factor first: the rate of the first group is the one that is logged.
    for item in sorted(named_parameters(model), key=lambda item: item.lr_scale != 1.0):
        matrices = item.matrices()
        if matrices is None or (isinstance(item.owner, CONVOLUTIONS) and not convolutions):
            rest.append(item)
        else:
            groups.append({"params": [item.parameter], "matrices": matrices, "lr": lr * item.lr_scale})
    if not groups:
        raise ValueError(f"muon: {type(model).__name__} has no matrices; use optimizer=adamw")
    first = Muon(groups, lr, momentum, nesterov, weight_decay, steps, scale, DTYPES[dtype])
    others = [_adamw(rest, adamw_lr, betas, eps, adamw_weight_decay)] if rest else []
    return Optimizers(model, [first, *others])


def _adamw(
    items: Sequence[NamedParameter], lr: float, betas: tuple[float, float], eps: float, weight_decay: float
) -> AdamW:
    if weight_decay < 0:
        raise ValueError(f"weight_decay={weight_decay} must be 0 or more")
    first, second = betas
    settings = _groups(items, lr, weight_decay)
    return AdamW(settings, lr=lr, betas=(float(first), float(second)), eps=eps, weight_decay=weight_decay)


def _groups(items: Sequence[NamedParameter], lr: float, weight_decay: float) -> list[dict[str, Any]]:
    """Groups for AdamW: those without a factor on their rate first, and first what decays."""
    groups: dict[tuple[bool, bool, float], list[nn.Parameter]] = {}
    for item in items:
        groups.setdefault((item.lr_scale != 1.0, not item.decays, item.lr_scale), []).append(item.parameter)
    return [
        {"params": parameters, "weight_decay": 0.0 if spared else weight_decay, "lr": lr * scale}
        for (_, spared, scale), parameters in sorted(groups.items(), key=lambda group: group[0])
    ]
