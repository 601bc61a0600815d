"""One process or many: the same calls.

Under `torchrun` the parameters are sharded with FSDP2 (`fully_shard`) over a one-dimensional device mesh; without it no
process group exists, and every function here is the identity or a plain copy. Full tensors travel through `to_full`
and `assign`, so that checkpoints do not depend on the number of processes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Replicate

from data.device import choose_device, cores

# Other processes wait while the first one evaluates, which may take long.
TIMEOUT = timedelta(hours=2)


@dataclass(frozen=True)
class Processes:
    """This process among all of them. `mesh` is None if it is alone."""

    rank: int
    world_size: int
    device: torch.device
    mesh: DeviceMesh | None = None

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0

    def sum(self, values: list[float]) -> list[float]:
        """Each value summed over all processes."""
        if self.mesh is None:
            return values
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor)
        return tensor.tolist()

    def gather(self, item: Any) -> list[Any]:
        """The item of every process, by rank."""
        if self.mesh is None:
            return [item]
        items: list[Any] = [None] * self.world_size
        dist.all_gather_object(items, item)
        return items

    def barrier(self) -> None:
        """Waits for the others."""
        if self.mesh is not None:
            dist.barrier()

    def close(self) -> None:
        """Ends the process group, if there is one."""
        if self.mesh is not None:
            dist.destroy_process_group()


def start(device: str = "auto") -> Processes:
    """Joins the processes that `torchrun` started, or describes the only one.

    Raises `ValueError` for a device that this machine does not have.
    """
    chosen = choose_device(device)
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size == 1:
        return Processes(0, 1, chosen)
    if chosen.type == "cuda":
        chosen = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(chosen)
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=TIMEOUT)
    mesh = init_device_mesh(chosen.type, (world_size,), mesh_dim_names=("data",))
    return Processes(dist.get_rank(), world_size, chosen, mesh)


def share_of_cores() -> int:
    """Of `cores()`, how many each process of a `torchrun` on this machine has; at least 1."""
    return max(cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")), 1)


def shard(model: nn.Module, processes: Processes) -> None:
    """Shards the parameters in place: each block and each encoder as a unit, what remains at the root."""
    if processes.mesh is None:
        return
    for part in units(model):
        fully_shard(part, mesh=processes.mesh)
    fully_shard(model, mesh=processes.mesh)


@torch.no_grad()
def replicate(module: nn.Module, processes: Processes) -> None:
    """Gives every process the first one's parameters and buffers of a module that stays whole."""
    if processes.mesh is not None:
        for value in module.state_dict().values():
            dist.broadcast(value, src=0)


def units(model: nn.Module) -> list[nn.Module]:
    """The modules that gather their parameters together: encoders (members of module dictionaries) and blocks."""
    dictionaries = [module for module in model.children() if isinstance(module, nn.ModuleDict)]
    return [part for dictionary in dictionaries for part in dictionary.values()] + blocks(model)


def blocks(model: nn.Module) -> list[nn.Module]:
    """The layers of the fusion method: the members of its module lists, at any depth but not inside one another."""
    return list(_members_of_lists(getattr(model, "fusion", model)))


def _members_of_lists(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        if isinstance(module, nn.ModuleList):
            yield child
        else:
            yield from _members_of_lists(child)


class _Gathered(torch.autograd.Function):
    """Tensors of one shape, of all processes, [processes, ...]; gradients go back to where they came from, summed."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, x.contiguous())
        return torch.stack(parts)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        total = grad.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total[dist.get_rank()]


def gather_rows(x: Tensor) -> tuple[Tensor, int]:
    """The rows of all processes, by rank, and the place where those of this process begin; with gradient.

    Every process must call this with rows of one shape; their number may differ. Every process must go backward through
    the result if one does.
    """
    if not dist.is_initialized():
        return x, 0
    sizes = [torch.zeros((), dtype=torch.long, device=x.device) for _ in range(dist.get_world_size())]
    dist.all_gather(sizes, torch.tensor(len(x), device=x.device))
    counts = [int(size) for size in sizes]
    padding = x.new_zeros(max(counts) - len(x), *x.shape[1:])
    gathered = _Gathered.apply(torch.cat([x, padding]))
    rows = torch.cat([part[:count] for part, count in zip(gathered, counts, strict=True)])
    return rows, sum(counts[: dist.get_rank()])


def local(tensor: Tensor) -> Tensor:
    """The part that lies in this process; shares memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def to_full(tensor: Tensor) -> Tensor:
    """The whole tensor; every process must call this."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


@torch.no_grad()
def assign(target: Tensor, full: Tensor) -> None:
    """Copies a whole tensor, which every process has, into `target`, which may be sharded."""
    local(target).copy_(local_part(full.to(target.device), target))


def local_part(full: Tensor, like: Tensor) -> Tensor:
    """The part of a whole tensor that this process holds if it is sharded as `like` is. No communication."""
    if not isinstance(like, DTensor):
        return full
    whole = DTensor.from_local(full, like.device_mesh, [Replicate()], run_check=False)
    return whole.redistribute(like.device_mesh, like.placements).to_local()


def full_state_dict(module: nn.Module) -> dict[str, Tensor]:
    """Whole parameters and buffers on the CPU, as copies; every process must call this."""
    return {name: to_full(value.detach()).cpu().clone() for name, value in module.state_dict().items()}
