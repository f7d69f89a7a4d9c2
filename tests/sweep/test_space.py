"""Which candidates a sweep has."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelbuild.contract import Dimension, Sweep
from modelbuild.errors import ConfigurationError
from modelbuild.sweep import space


def sweep(method: str, dimensions: dict[str, Any], **options: Any) -> Sweep:
    """A sweep as its file has it."""
    return Sweep.model_validate_json(json.dumps({"method": method, "space": dimensions, **options}))


def values(found: Sweep, defaults: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """The values of the candidates."""
    return [candidate.values for candidate in space.candidates(found, defaults or {})]


def test_a_grid_has_each_combination_once() -> None:
    """The points of a grid come in a fixed order, and ranges have as many values as their count says."""
    found = values(
        sweep("grid", {"b": [1, 2], "a": {"minimum": 0.1, "maximum": 10, "scale": "log", "count": 3}})
    )
    assert found == [{"a": a, "b": b} for a in (0.1, 1.0, 10.0) for b in (1, 2)]


def test_a_condition_keeps_a_parameter_out_where_it_does_not_hold() -> None:
    """A parameter with a condition is tried with the values it names only, and no candidate comes twice."""
    dimensions = {"kind": ["linear", "deep"], "layers": {"values": [1, 2], "when": {"kind": "deep"}}}
    assert values(sweep("grid", dimensions)) == [
        {"kind": "linear"},
        {"kind": "deep", "layers": 1},
        {"kind": "deep", "layers": 2},
    ]


def test_a_condition_may_name_a_parameter_that_is_not_tried() -> None:
    """Then the value in the parameter file decides."""
    dimensions = {"rate": [1, 2], "layers": {"values": [1, 2], "when": {"kind": ["deep"]}}}
    assert len(values(sweep("grid", dimensions), {"kind": "linear"})) == 2
    assert len(values(sweep("grid", dimensions), {"kind": "deep"})) == 4


def test_conditions_in_a_circle_are_refused() -> None:
    """Two parameters that depend on each other have no order."""
    dimensions = {"a": {"values": [1], "when": {"b": 1}}, "b": {"values": [1], "when": {"a": 1}}}
    with pytest.raises(ConfigurationError, match="depend on each other"):
        values(sweep("grid", dimensions))


@pytest.mark.parametrize(
    "found",
    [
        sweep("grid", {"a": {"minimum": 1, "maximum": 101, "count": 101}}, limit=100),
        sweep("random", {"a": {"minimum": 0.0, "maximum": 1.0}}, candidates=101, limit=100),
        sweep("grid", {name: {"minimum": 0, "maximum": 999, "count": 1000} for name in "abc"}, candidates=5),
    ],
)
def test_more_candidates_than_the_limit_are_refused(found: Sweep) -> None:
    """A typing mistake does not train a thousand models."""
    with pytest.raises(ConfigurationError, match="its limit is"):
        values(found)


def test_a_small_space_has_fewer_candidates_than_asked_for() -> None:
    """Random draws end when only repetitions come."""
    assert len(values(sweep("random", {"a": [1, 2], "b": [True, False]}, candidates=50))) == 4


def test_draws_are_those_of_the_seed() -> None:
    """The same seed gives the same candidates on each machine and version of Python; another seed others."""
    dimensions = {
        "rate": {"minimum": 0.001, "maximum": 1.0, "scale": "log"},
        "epochs": {"minimum": 1, "maximum": 9},
    }
    first = values(sweep("random", dimensions, candidates=3, seed=7))
    assert first == DRAWN
    assert values(sweep("random", dimensions, candidates=3, seed=8)) != first
    # More candidates begin with the same ones.
    assert values(sweep("random", dimensions, candidates=9, seed=7))[:3] == first


DRAWN = [{"epochs": 3, "rate": 0.001622}, {"epochs": 8, "rate": 0.2536}, {"epochs": 9, "rate": 0.01106}]

numbers = st.one_of(
    st.integers(-(10**6), 10**6), st.floats(-1e6, 1e6, allow_nan=False).map(lambda value: round(value, 3))
)


@st.composite
def ranges(draw: st.DrawFn) -> Dimension:
    """A range of numbers."""
    low, high = sorted(draw(st.tuples(numbers, numbers).filter(lambda pair: pair[0] != pair[1])))
    scale = "log" if low > 0 and draw(st.booleans()) else "linear"
    return Dimension.model_validate(
        {"minimum": low, "maximum": high, "scale": scale, "count": draw(st.integers(2, 9))}
    )


@given(ranges(), st.floats(0, 1, exclude_max=True))
def test_a_drawn_number_lies_in_its_range(dimension: Dimension, share: float) -> None:
    """Also after it is rounded; whole ranges have whole numbers only."""
    found = space.draw(dimension, share)
    assert isinstance(found, int | float)
    assert dimension.minimum is not None
    assert dimension.maximum is not None
    assert dimension.minimum <= found <= dimension.maximum
    assert math.isfinite(found)
    assert isinstance(found, int) or not dimension.is_whole


dimensions = st.one_of(
    st.lists(st.sampled_from([1, 2, "x", True, None, 0.5]), min_size=1, max_size=4).map(
        lambda some: {"values": some}
    ),
    ranges().map(lambda found: found.model_dump(exclude_none=True)),
)


@given(st.dictionaries(st.sampled_from(["a", "b", "c.d"]), dimensions, min_size=1), st.integers(0, 99))
def test_candidates_are_distinct_numbered_and_repeatable(found: dict[str, Any], seed: int) -> None:
    """Of any space: no candidate comes twice, numbers count from 1, and a second look finds the same ones."""
    for method in ("grid", "random"):
        made = sweep(method, found, candidates=20, seed=seed)
        first = space.candidates(made, {})
        assert first == space.candidates(made, {})
        assert [candidate.number for candidate in first] == [*range(1, len(first) + 1)]
        texts = [json.dumps(candidate.values, sort_keys=True) for candidate in first]
        assert len(set(texts)) == len(texts) <= 20
