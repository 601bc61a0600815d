"""Check a device: that it computes what the CPU computes, that it trains compiled, how fast, in how much memory."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # before a `scripts` that lies on PYTHONPATH

from scripts.entry import entry_point

if TYPE_CHECKING:
    from omegaconf import DictConfig


@entry_point("gpu_check", paths=("output", "runs"))
def main(config: DictConfig) -> None:
    """Carries out all parts or, in a process that it starts, one; exits with 1 when one fails."""
    import time

    from certify.device.parts import carry_out
    from certify.device.processes import carry_out_all
    from certify.device.report import FILE, print_tables, write
    from data.device import cores
    from data.types import BadInputError

    folder = Path(config.output or f"{config.runs}/{config.name}/gpu_check-{time.strftime('%Y%m%d-%H%M%S')}")
    folder = folder.expanduser().absolute()
    if config.part is not None:
        import torch

        torch.set_num_threads(config.compute_threads or cores())
        carry_out(config.part, config, keep=lambda found: found.write(folder)).write(folder)
        return
    if (folder / FILE).exists():
        raise BadInputError(f"output={folder}: holds {FILE} already, and nothing is overwritten; choose another folder")
    found = list(carry_out_all(folder, [argument for argument in sys.argv[1:] if not argument.startswith("output=")]))
    folder.mkdir(parents=True, exist_ok=True)
    write(found, folder, config.seed, config.device)
    print_tables(found)
    print(f"{sum(part.passed for part in found)} of {len(found)} parts passed; written to {folder / FILE}")
    if not all(part.passed for part in found):
        sys.exit(1)


if __name__ == "__main__":
    main()
