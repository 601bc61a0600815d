"""Ask a checkpoint the tasks of lm-eval: `lm_eval` itself, with its own arguments, where this model is known."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # before a `scripts` that lies on PYTHONPATH

from scripts.entry import plain_command


@plain_command
def main() -> None:
    """Runs lm-eval by `sys.argv`."""
    from data.types import NotInstalledError

    try:
        from lm_eval.__main__ import cli_evaluate
    except ImportError as error:
        raise NotInstalledError(f"lm-eval is not installed ({error}); pip install 'interfuse[harness]'") from error
    import evaluation.external.lm_eval_model  # noqa: F401  registers the model

    if sys.argv[1:2] not in (["ls"], ["validate"]):
        given = sys.argv[2:] if sys.argv[1:2] == ["run"] else sys.argv[1:]
        model = [] if {"-M", "--model"} & set(given) else ["--model", "interfuse"]
        device = [] if "--device" in given else ["--device", "auto"]  # theirs is a GPU, whether there is one or not
        sys.argv[1:] = ["run", *model, *device, *given]
    cli_evaluate()


if __name__ == "__main__":
    main()
