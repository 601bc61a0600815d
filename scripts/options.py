"""The types of all options that no constructor takes: those of the roots, and of nodes without a `_target_`.

One class a root, and one for each node; an option is one line, and `tests/scripts/test_options.py` fails for an option
in `conf/` that has none. What has a `_target_` is a `Part` here: its types are those of its constructor
(`data/configuration/schema.py`). A default is for an option that may be absent: an older run lacks it, or its group
was switched off.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from data.configuration.schema import Number, Part, Seed, Text, Whole
from data.device import Device

LONGEST_NAME = 255  # bytes, of a file or folder
LONGEST_PATH = 3000  # bytes; a run has folders in its own
MOST_THREADS = 1024
MOST_SAMPLES = 100_000  # of a batch; all of them are read before a step begins
MOST_WORDS = 10_000_000  # of a vocabulary; the trainer of the tokenizer makes room for all


def _must_be(wanted: str, holds: Callable[[Any], bool]) -> AfterValidator:
    def check(value: Any) -> Any:
        if not holds(value):
            raise PydanticCustomError("must_be", f"must be {wanted}")
        return value

    return AfterValidator(check)


def _fits(path: str) -> bool:
    try:
        parts = [len(part.encode()) for part in Path(path).parts]
    except UnicodeEncodeError:
        return False
    return bool(parts) and max(parts) <= LONGEST_NAME and sum(parts) < LONGEST_PATH and path.isprintable()


def _is_one_name(name: str) -> bool:
    return "/" not in name and "\\" not in name and name.strip() not in ("", ".", "..")


def _is_no_file(path: str) -> bool:
    folder = Path(path).expanduser()
    return next((part.is_dir() for part in (folder, *folder.parents) if part.exists()), True)


Count = Annotated[Whole, Field(ge=1)]
Positive = Annotated[Number, Field(gt=0)]
Threads = Annotated[Whole, Field(ge=1, le=MOST_THREADS)]
FilePath = Annotated[Text, _must_be(f"a path, of names with at most {LONGEST_NAME} bytes", _fits)]
Folder = Annotated[FilePath, _must_be("a folder; there is a file in its place", _is_no_file)]
FolderName = Annotated[
    Text,
    _must_be("the name of one folder, without a slash", _is_one_name),
    _must_be(f"the name of a folder, with at most {LONGEST_NAME} bytes", _fits),
]
Handling = Literal["error", "skip"]


class Options(BaseModel):
    """A mapping of named options; others may stand next to them."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())


class SourceOptions(BaseModel):
    """One source of the training mixture."""

    model_config = ConfigDict(extra="forbid")
    weight: Positive
    source: Part


class TokenizerOptions(Options):
    """The tokenizer that is trained from the text of the data."""

    vocab_size: Annotated[Count, Field(le=MOST_WORDS)]


class DataOptions(Options):
    """`data`: where samples come from and how they become batches."""

    train: FilePath = ""  # of data=manifest alone, and needed there
    sources: dict[Text, SourceOptions | None]
    validation: dict[Text, Part | None] | None = None
    processors: dict[Text, Part | None] | None = None
    tokenizer: TokenizerOptions
    max_tokens: Count
    samples_per_batch: Annotated[Count, Field(le=MOST_SAMPLES)]
    num_workers: Annotated[Whole, Field(ge=0, le=MOST_THREADS)] | None = None
    modality_dropout: dict[Text, Annotated[Number, Field(ge=0, le=1)]] | None = None
    without: list[Text] | None = None
    on_bad_sample: Handling = "error"
    on_long_sample: Literal["error", "truncate"] = "error"
    pad_to: Count | None = None
    packages: list[Text] | None = None
    words: Text | None = None
    families: dict[Text, Positive] | None = None
    clips_per_voice: Count | None = None
    recordings: FilePath | None = None
    validation_file: FilePath | None = None
    hold_out: Annotated[Number, Field(gt=0, lt=1)] | None = None
    evaluation: FilePath | None = None


class EncoderOptions(Options):
    """`encoders`: one of text, and one of each other modality that the model has."""

    __pydantic_extra__: dict[str, Part | None]
    text: Part


class TargetOptions(Options):
    """`target`: what the model shall cost."""

    flops: Positive | None = None
    fusion_flops: Positive | None = None
    parameters: Positive | None = None


class TrainOptions(Options):
    """The root of train.py."""

    data: DataOptions
    encoders: EncoderOptions
    projector: Part
    position: Part | None = None
    mixer: Part | list[Part] | None = None
    feed_forward: Part | None = None
    fusion: Part
    shared_space: Part | None = None
    objective: Part
    balance: Part | None = None
    optimizer: Part
    schedule: Part
    trainer: Part
    tracker: dict[Text, Part | None] | None = None
    evaluation: Part | None = None
    name: FolderName
    run: FolderName | None = None
    runs: Folder
    resume: FilePath | None = None
    resume_with_changed_data: bool = False
    seed: Seed
    d_model: Count
    target: TargetOptions | None = None
    missing_token: Literal["none", "learned"] = "none"
    compute_threads: Threads | None = None


class CertifyOptions(TrainOptions):
    """The root of certify.py."""

    output: Folder | None = None
    device: Device = "cpu"
    precision: Literal["float64", "float32"] = "float64"


class GpuCheckOptions(CertifyOptions):
    """The root of gpu_check.py."""

    part: Literal["tests", "certificate", "compiled", "speed"] | None = None
    tests: list[Text]
    steps: Count
    documents: Count
    new_tokens: Count


class BenchmarkOptions(TrainOptions):
    """The root of benchmark_cache.py."""

    steps: Count


class EvaluateDataOptions(Options):
    """`data` of evaluate.py: what the choices of `evaluation` read."""

    evaluation: FilePath | None = None
    train: FilePath | None = None
    words: Text | None = None
    on_bad_sample: Handling = "error"


class EvaluateOptions(Options):
    """The root of evaluate.py. An `evaluation` without a `_target_` is laid over the one of the checkpoint."""

    checkpoint: FilePath | list[FilePath]
    which: Literal["newest", "best"]
    output: Folder | None = None
    device: Device
    data: EvaluateDataOptions
    evaluation: dict[Text, Any] | None = None


class AskOptions(Options):
    """What generate.py and explain.py share."""

    checkpoint: FilePath
    image: FilePath | None = None
    audio: FilePath | None = None
    text: Text | None = None
    media: dict[Text, FilePath] | None = None
    max_new_tokens: Count
    device: Device


class GenerateOptions(AskOptions):
    """The root of generate.py."""

    temperature: Annotated[Number, Field(ge=0)]
    seed: Seed


class ExplainOptions(AskOptions):
    """The root of explain.py."""

    answer: Text | None = None
    output: FilePath


class CompareOptions(Options):
    """The root of compare.py."""

    runs: FilePath | list[FilePath]
    name: FolderName | None = None
    output: Folder | None = None
    tracker: dict[Text, Part | None] | None = None
    data: dict[Text, Any] | None = None
    bakeoff: Part | None = None


class DashboardOptions(Options):
    """The root of dashboard.py."""

    runs: Folder
    host: Text
    port: Annotated[Whole, Field(ge=0, le=65535)]
    open_browser: bool


class PrepareDataOptions(Options):
    """The root of prepare_data.py."""

    source: Part | None = None
    check: FilePath | list[FilePath] | None = None
    clean: FilePath | list[FilePath] | None = None
    against: FilePath | list[FilePath] | None = None
    output: FilePath | None = None
    max_samples: Count | None = None
    seed: Seed


class MatchPairsDataOptions(Options):
    """`data` of match_pairs.py."""

    train: FilePath
    hold_out: Annotated[Number, Field(gt=0, lt=1)] | None = None
    validation_file: FilePath | None = None
    evaluation: FilePath
    words: Literal["text", "sentence"]


class MatchPairsOptions(Options):
    """The root of match_pairs.py."""

    checkpoint: FilePath
    which: Literal["newest", "best"]
    data: MatchPairsDataOptions
    modalities: Annotated[list[Text], Field(min_length=2, max_length=2)]
    features: Literal["aligned", "frozen"]
    pairs: Count
    output: Folder
    seed: Seed
    device: Device


class BudgetOptions(Options):
    """`budget` of leaderboard.py: what runs were held to."""

    inference_flops: Positive | None = None
    fusion_flops: Positive | None = None
    total_flops: Positive | None = None
    parameters: Positive | None = None
    steps: Positive | None = None
    seconds: Positive | None = None


class LeaderboardOptions(Options):
    """The root of leaderboard.py."""

    add: FilePath | list[FilePath] | None = None
    name: FolderName | None = None
    files: Folder
    page: FilePath
    data_set: Text | None = None
    method: Text | None = None
    budget: BudgetOptions
    reference: Text | None = None
    made_by: Text | None = None
    commit: Text | None = None
    command: Text | None = None
    machine: Text | None = None
    date: Text | None = None
    note: Text | None = None


ROOTS: dict[str, type[Options]] = {
    "train": TrainOptions,
    "certify": CertifyOptions,
    "gpu_check": GpuCheckOptions,
    "benchmark_cache": BenchmarkOptions,
    "evaluate": EvaluateOptions,
    "generate": GenerateOptions,
    "explain": ExplainOptions,
    "compare": CompareOptions,
    "dashboard": DashboardOptions,
    "prepare_data": PrepareDataOptions,
    "match_pairs": MatchPairsOptions,
    "leaderboard": LeaderboardOptions,
}
