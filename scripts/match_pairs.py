"""Write manifests that ask whether two frozen vectors belong together, for comparisons of fusion methods."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # before a `scripts` that lies on PYTHONPATH

from data.configuration.overrides import MANIFESTS
from scripts.entry import entry_point

if TYPE_CHECKING:
    from omegaconf import DictConfig


@entry_point("match_pairs", paths=("checkpoint", "output", *MANIFESTS))
def main(config: DictConfig) -> None:
    """Embeds the rows of each manifest and writes train.jsonl, test.jsonl and, if it is given, validation.jsonl."""
    from data.device import choose_device
    from data.sources.manifest import ManifestSource
    from data.types import BadInputError
    from evaluation.retrieval.embedding import read_aligned
    from evaluation.retrieval.matching import vectors_of, write_matching
    from serving.session import Session

    folder = Path(config.output).expanduser()
    if folder.exists():
        raise BadInputError(f"output={folder}: exists already, and nothing is overwritten; choose another folder")
    data = config.data
    files = {"train": data.train, "validation": data.validation_file, "test": data.evaluation}
    sources = {
        name: ManifestSource(path, words=data.words, only_held_out=data.hold_out if name == "train" else None)
        for name, path in files.items()
        if path is not None
    }
    session = Session.load(Path(config.checkpoint).expanduser(), choose_device(config.device), config.which)
    left, right = config.modalities
    for name, source in sources.items():
        vectors = vectors_of(session.model, session.interleaver, read_aligned(source), (left, right), config.features)
        rounds = config.pairs if name == "train" else 1
        path = write_matching(vectors, folder, name, rounds, config.seed)
        widths = " and ".join(str(values.shape[1]) for values in (vectors.first, vectors.second))
        print(f"wrote {path}, about vectors of {len(vectors.ids)} rows, {widths} wide")


if __name__ == "__main__":
    main()
