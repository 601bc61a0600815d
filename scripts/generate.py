"""Ask a checkpoint about an image, a sound and a text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scripts.entry import entry_point

if TYPE_CHECKING:
    from omegaconf import DictConfig


@entry_point("generate")
def main(config: DictConfig) -> None:
    """Prints the answer; image, sound and text are read in this order."""
    from scripts.question import asked
    from serving.session import Session

    segments = asked(config)
    session = Session.load(config.checkpoint, config.device)
    answer = session.answer(
        *segments, max_new_tokens=config.max_new_tokens, temperature=config.temperature, seed=config.seed
    )
    print(answer)


if __name__ == "__main__":
    main()
