"""Annotations of a constructor are the schema of its node."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from data.configuration.schema import checked, coerced
from data.types import BadInputError

HERE = __name__


class Part:
    def __init__(self, d_model: int, *, width: int = 1, rate: float = 0.1) -> None:
        self.values = (d_model, width, rate)


class Wider(Part):
    """Its keywords are those of the class that it derives from."""

    def __init__(self, d_model: int, name: str = "wide", **rest: Any) -> None:
        super().__init__(d_model, **rest)
        self.name = name


class Whole:
    def __init__(self, part: Part, others: Sequence[Part] = (), named: Mapping[str, Part] | None = None) -> None:
        self.part, self.others, self.named = part, others, named


@pytest.mark.parametrize(
    ("value", "annotation", "expected"),
    [
        (10.0, int, 10),
        (1e12, int, 10**12),
        (50, float, 50),
        (7, str, "7"),
        (True, str, "true"),
        (7, str | Path, "7"),
        ("yes", bool, True),
        ([0.9, 0.95], tuple[float, float], [0.9, 0.95]),
        ([1.0, 2], Sequence[int], [1, 2]),
        ({1: 2}, Mapping[str, float], {"1": 2}),
        (None, int | None, None),
        ("both", Literal["both", "none"], "both"),
        ({"_target_": "anything", "x": 1}, Part, {"_target_": "anything", "x": 1}),
        ([1, "a", None], Any, [1, "a", None]),
    ],
)
def test_a_value_becomes_what_the_annotation_says(value: Any, annotation: Any, expected: Any) -> None:
    found = coerced(value, annotation, "x")
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("value", "annotation", "message"),
    [
        (1.5, int, "x=1.5: must be a whole number"),
        ("abc", int, "x=abc: must be a whole number"),
        ("", int, "x='': must be a whole number"),
        (True, int, "x=true: must be a whole number"),
        (None, int, "x=null: must be a whole number"),
        ([1], int, "x=[1]: must be a whole number"),
        (2**64, int, "x=18446744073709551616: must be at most 9223372036854775807"),
        ("10s", float | None, "x=10s: must be a number, or null"),
        (True, float, "x=true: must be a number"),
        (float("nan"), float, "x=nan: must be a finite number"),
        (float("-inf"), float | None, "x=-inf: must be a finite number, or null"),
        (3, bool, "x=3: must be true or false"),
        (None, str, "x=null: must be text"),
        (["a"], str, "x=[a]: must be text"),
        ("ab", Sequence[str], "x=ab: must be a list"),
        ([1, "a"], Sequence[int], "x[1]=a: must be a whole number"),
        ([1, 2, 3], tuple[float, float], "x=[1,2,3]: must be a list of 2 or fewer"),
        (7, Mapping[str, float], "x=7: must be a mapping"),
        ({"a": "b"}, Mapping[str, float], "x.a=b: must be a number"),
        ({}, str | list[str], "x={}: must be text or a list"),
        ("some", Literal["both", "none"], "x=some: must be 'both' or 'none'"),
        (2, Annotated[int, Field(ge=3)], "x=2: must be 3 or more"),
        ("abc", Part, "x=abc: must be a mapping with a _target_, the class to make"),
        ({"width": 1}, Callable, "x={width: 1}: must be a mapping with a _target_, the class to make"),
        ("a" * 500, int, f"x={'a' * 57}...: must be a whole number"),
    ],
)
def test_a_value_of_another_type_is_refused_in_one_line(value: Any, annotation: Any, message: str) -> None:
    with pytest.raises(BadInputError) as caught:
        coerced(value, annotation, "x")
    assert str(caught.value) == message


def test_nodes_inside_nodes_are_checked_at_their_own_place() -> None:
    part = {"_target_": f"{HERE}.Part", "d_model": 2.0}
    node = {"_target_": f"{HERE}.Whole", "part": part, "others": [part], "named": {"a.b": part}}
    right = {**part, "d_model": 2}
    assert checked(node, "whole") == {**node, "part": right, "others": [right], "named": {"a.b": right}}
    for place, wrong in {
        "whole.part.rate": {"part": {**part, "rate": "fast"}},
        "whole.others[1].rate": {"others": [part, {**part, "rate": "fast"}]},
        "whole.named.a.b.rate": {"named": {"a.b": {**part, "rate": "fast"}}},
    }.items():
        with pytest.raises(BadInputError) as caught:
            checked({**node, **wrong}, "whole")
        assert str(caught.value) == f"{place}=fast: must be a number"


def test_keywords_that_a_constructor_passes_on_are_those_of_the_class_above() -> None:
    node = {"_target_": f"{HERE}.Wider", "_partial_": True, "width": 3.0, "name": 7}
    assert checked(node) == {**node, "width": 3, "name": "7"}
    with pytest.raises(BadInputError, match=r"^x.width=2.5: must be a whole number$"):
        checked({**node, "width": 2.5}, "x")
    with pytest.raises(BadInputError, match=r"^x.widht: is not an option of .*Wider; the nearest valid name is width$"):
        checked({**node, "widht": 2}, "x")
