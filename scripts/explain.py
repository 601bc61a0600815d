"""Show which parts of an image, a sound and a text an answer rests on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scripts.entry import entry_point

if TYPE_CHECKING:
    from omegaconf import DictConfig


@entry_point("explain")
def main(config: DictConfig) -> None:
    """Prints the answer and writes the picture."""
    from pathlib import Path

    from data.types import BadInputError, Message, Sample, Text
    from evaluation.drawing import attempt, save
    from evaluation.explanation import draw_explanation, explain
    from scripts.question import asked
    from serving.session import Session

    output = Path(str(config.output))
    if output.exists():
        raise BadInputError(f"output={output}: exists already, and is not overwritten")
    segments = tuple(asked(config))
    session = Session.load(config.checkpoint, config.device)
    answer = config.answer
    if answer is None:
        answer = session.answer(*segments, max_new_tokens=config.max_new_tokens)
    messages = (Message("user", segments), Message("assistant", (Text(str(answer)),)))
    explanation = explain(
        session.model, session.tokenizer, session.interleaver, Sample("question", messages), str(answer)
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    print(answer)
    if attempt(str(output), lambda: save(draw_explanation(explanation), output)) is not None:
        print(f"picture: {output}")


if __name__ == "__main__":
    main()
