"""A file of the leaderboard: what made its rows, and a row for each method on a data set at a budget.

    {"intervals": "new seeds and new questions",
     "provenance": {"commit": "..", "command": "..", "machine": "..", "date": "2026-01-31", "made_by": ".."},
     "rows": [{"data": "easy_vqa", "budget": {"inference_flops": 2.0e8}, "method": "early",
               "scores": {"easy_vqa/typed": {"metric": "accuracy", "value": 0.9, "low": 0.8, "high": 1.0, "n": 9673}},
               "costs": {"parameters": 1.9e6, "seconds": 137}, "seeds": [0, 1, 2]}]}

What is not known is left out. A budget is what methods were held to, with its nominal value, the same for all of them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from data.configuration.schema import Number, Seed, Text, Whole, refusal
from data.storage.atomic_write import write_text
from data.types import BadInputError
from evaluation.metrics.metric_names import ACCURACY

SUFFIX = ".json"
# What a budget may be of: operations of a forward pass of a training sample, of its part in the fusion method, of a
# whole training; parameters; updates; measured seconds of a training.
BudgetName = Literal["inference_flops", "fusion_flops", "total_flops", "parameters", "steps", "seconds"]
# What the intervals of a file hold for.
Intervals = Literal["new seeds and new questions", "new questions", "none"]


def _iso(value: str) -> str:
    try:
        return date.fromisoformat(value).isoformat()
    except ValueError as error:
        raise PydanticCustomError("must_be", "a day, such as 2026-01-31") from error


def _said(value: str) -> str:
    if not value.strip() or not value.isprintable():
        raise PydanticCustomError("must_be", "one line of text")
    return value


Line = Annotated[Text, AfterValidator(_said)]
Positive = Annotated[Number, Field(gt=0)]
NotNegative = Annotated[Number, Field(ge=0)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Score(_Part):
    """A score as reports have it. n: questions that it is of."""

    metric: Line = ACCURACY
    value: Number
    low: Number | None = None
    high: Number | None = None
    n: Annotated[Whole, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if (self.low is None) != (self.high is None):
            raise PydanticCustomError("must_be", "a score with both low and high, or with neither")
        if self.low is not None and self.high is not None and not self.low <= self.value <= self.high:
            raise PydanticCustomError("must_be", "a score with low <= value <= high")
        return self


class Costs(_Part):
    """What a model costs, as bake-offs name it: `inference_flops` and `training_flops` are of one training sample,
    `total_flops` and `seconds` of the whole training. `question_flops` are of a question with its answer.
    """

    parameters: Positive
    active_parameters: Positive | None = None
    question_flops: Positive | None = None
    inference_flops: Positive | None = None
    training_flops: Positive | None = None
    total_flops: Positive | None = None
    seconds: NotNegative | None = None


class Provenance(_Part):
    """What made the rows of a file, and who."""

    commit: Line
    command: Line
    machine: Line
    date: Annotated[Line, AfterValidator(_iso)]
    made_by: Line
    note: Line | None = None


class Row(_Part):
    """A method on a data set at a budget, over its seeds."""

    data: Line
    budget: Annotated[dict[BudgetName, Positive], Field(min_length=1)]
    method: Line
    scores: Annotated[dict[Line, Score], Field(min_length=1)]
    costs: Costs
    seeds: Annotated[list[Seed], Field(min_length=1)]

    @model_validator(mode="after")
    def _once(self) -> Self:
        if len(set(self.seeds)) < len(self.seeds):
            raise PydanticCustomError("must_be", "a row that names each of its seeds once")
        return self


class RowFile(_Part):
    """A whole file."""

    intervals: Intervals
    provenance: Provenance
    rows: Annotated[list[Row], Field(min_length=1)]


def read_file(path: Path) -> RowFile:
    """The rows of a file. Raises `BadInputError` of one line that names file, field and what would be right."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise BadInputError(f"{path}: is not JSON: {error}") from error
    return checked(content, str(path))


def checked(content: Any, where: str) -> RowFile:
    """The content of a file with its types. Raises as `read_file` does; `where` names the file."""
    if not isinstance(content, dict):
        raise BadInputError(f"{where}: must be an object with intervals, provenance and rows")
    try:
        return RowFile.model_validate(content)
    except ValidationError as error:
        raise BadInputError(f"{where}: {_line(error, content)}") from error


def _line(error: ValidationError, content: dict[str, Any]) -> str:
    first = error.errors(include_url=False)[0]
    place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in first["loc"]).lstrip(".")
    if first["type"] == "missing":
        return f"{place}: is missing"
    if first["type"] == "extra_forbidden":
        return f"{place}: is no field of the leaderboard (see CONTRIBUTING.md)"
    return refusal(error, content, "", lambda steps: False)


def read_files(folder: Path) -> dict[str, RowFile]:
    """All files of a folder by their names, in order.

    Raises:
        BadInputError: there is none, one is not as it must be, or two have a row of the same data, budget and method.
    """
    paths = sorted(folder.glob(f"*{SUFFIX}"))
    if not paths:
        raise BadInputError(f"{folder}: holds no rows; give add=RUNS to make some")
    found = {path.name: read_file(path) for path in paths}
    seen: dict[tuple[Any, ...], str] = {}
    for name, file in found.items():
        for place, row in enumerate(file.rows):
            key = (row.data, tuple(sorted(row.budget.items())), row.method, file.provenance.commit)
            where = f"{folder / name}: rows[{place}]"
            if key in seen:
                raise BadInputError(f"{where}: {row.method} on {row.data} at this commit and budget is in {seen[key]}")
            seen[key] = where
    return found


def write_file(file: RowFile, path: Path) -> None:
    """Writes a new file. Raises `BadInputError` if there is one."""
    if path.exists():
        raise BadInputError(f"{path}: is there already; give another name, or move it away")
    path.parent.mkdir(parents=True, exist_ok=True)
    content = file.model_dump(exclude_none=True)
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def seeds_text(seeds: Sequence[int]) -> str:
    """0-4 for 0, 1, 2, 3, 4; else all of them."""
    ordered = sorted(seeds)
    if len(ordered) > 2 and ordered == list(range(ordered[0], ordered[-1] + 1)):
        return f"{ordered[0]}-{ordered[-1]}"
    return ", ".join(map(str, ordered))
