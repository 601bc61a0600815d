"""Ask a checkpoint about an image, a sound, a text and files of any other modality."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # before a `scripts` that lies on PYTHONPATH

from scripts.entry import entry_point

if TYPE_CHECKING:
    from omegaconf import DictConfig


@entry_point("generate", texts=("text",), paths=("checkpoint", "image", "audio"), media=True)
def main(config: DictConfig) -> None:
    """Prints the answer; what is asked is read in the order of the command line."""
    from scripts.question import asked, load_session

    session = load_session(config)
    answer = session.answer(
        *asked(config, session),
        max_new_tokens=config.max_new_tokens,
        temperature=config.temperature,
        seed=config.seed,
    )
    print(answer)


if __name__ == "__main__":
    main()
