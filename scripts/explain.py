"""Show which parts of an image, a sound, a text and files of any other modality an answer rests on."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # before a `scripts` that lies on PYTHONPATH

from scripts.entry import entry_point

if TYPE_CHECKING:
    from omegaconf import DictConfig


@entry_point("explain", texts=("text", "answer"), paths=("checkpoint", "image", "audio", "output"), media=True)
def main(config: DictConfig) -> None:
    """Prints the answer and writes the picture."""
    from data.display.drawing import attempt, save
    from data.types import BadInputError
    from evaluation.insight.explanation import draw_explanation
    from scripts.question import asked, explained, load_session

    output = Path(str(config.output))
    if output.exists():
        raise BadInputError(f"output={output}: exists already, and is not overwritten")
    nearest = next(folder for folder in output.absolute().parents if folder.exists())
    if not nearest.is_dir():
        raise BadInputError(f"output={output}: {nearest} is a file, not a folder")
    session = load_session(config)
    explanation = explained(session, asked(config, session), config.answer, config.max_new_tokens)
    output.parent.mkdir(parents=True, exist_ok=True)
    print(explanation.answer)
    if attempt(str(output), lambda: save(draw_explanation(explanation), output)) is not None:
        print(f"picture: {output}")


if __name__ == "__main__":
    main()
