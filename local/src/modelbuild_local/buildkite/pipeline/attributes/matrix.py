"""``matrix``: one step as many jobs.

Source: https://buildkite.com/docs/pipelines/configure/workflows/build-matrix
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from modelbuild_local.buildkite.pipeline.attributes.retry import SoftFail, as_rules
from modelbuild_local.buildkite.pipeline.attributes.values import Skip, Text

MAX_JOBS = 50
_MAX_DIMENSIONS = 6
_MAX_ELEMENTS = 25
_MAX_ELEMENT_BYTES = 128
_MAX_ADJUSTMENTS = 12

ONLY = ""
"""The name of the only dimension of a matrix without named dimensions."""

_TOKEN = re.compile(r"\{\{\s*matrix(?:\.([\w.-]+))?\s*\}\}", re.ASCII)


def _as_dimensions(value: object) -> object:
    return {ONLY: value} if isinstance(value, list) else value


def _as_combination(value: object) -> object:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value if isinstance(value, Mapping) else {ONLY: value}


class Adjustment(BaseModel):
    """A combination to change, or to add if the dimensions do not contain it."""

    model_config = ConfigDict(extra="forbid")

    combination: Annotated[dict[str, Text], BeforeValidator(_as_combination)] = Field(alias="with")
    skip: Skip = ""
    soft_fail: list[SoftFail] | None = None

    @field_validator("soft_fail", mode="before")
    @classmethod
    def _soft_fail(cls, value: object) -> object:
        return as_rules(value)


@dataclass(frozen=True)
class Combination:
    """One job of a matrix: its value of each dimension, the reason of a skip, and when it may fail."""

    values: dict[str, str]
    skip: str
    soft_fail: list[SoftFail] | None


class Matrix(BaseModel):
    """``matrix``: the elements of each dimension, and adjustments of single combinations."""

    model_config = ConfigDict(extra="forbid")

    setup: Annotated[dict[str, list[Text]], BeforeValidator(_as_dimensions)]
    adjustments: list[Adjustment] = Field(default=[], max_length=_MAX_ADJUSTMENTS)

    @model_validator(mode="before")
    @classmethod
    def _list(cls, value: object) -> object:
        return {"setup": value} if isinstance(value, list) else value

    @model_validator(mode="after")
    def _limits(self) -> Matrix:
        if not 1 <= len(self.setup) <= _MAX_DIMENSIONS:
            raise ValueError(f"a matrix has 1 to {_MAX_DIMENSIONS} dimensions, not {len(self.setup)}")
        for name, elements in self.setup.items():
            if len(elements) > _MAX_ELEMENTS:
                raise ValueError(f"dimension '{name}' has over {_MAX_ELEMENTS} elements")
        for name in set(self.setup) - {ONLY}:
            if re.fullmatch(r"\w+", name, re.ASCII) is None:
                raise ValueError(f"dimension '{name}' has other characters than letters, digits and '_'")
        texts = [*self.setup, *itertools.chain(*self.setup.values())]
        long = [text for text in texts if len(text.encode()) > _MAX_ELEMENT_BYTES]
        if long:
            raise ValueError(f"'{long[0][:20]}…' is over {_MAX_ELEMENT_BYTES} bytes")
        for adjustment in self.adjustments:
            if set(adjustment.combination) != set(self.setup):
                named = ", ".join(name or "one value" for name in self.setup)
                raise ValueError(f"'with' of each adjustment must give: {named}")
        # Up to 25 to the power of 6 combinations, which are not made before they are counted.
        count = math.prod(len(elements) for elements in self.setup.values())
        if count <= MAX_JOBS:
            count = len(self.combinations())
        if not 1 <= count <= MAX_JOBS:
            raise ValueError(f"a matrix makes 1 to {MAX_JOBS} jobs, not {count}")
        return self

    def combinations(self) -> list[Combination]:
        """All combinations in the order of the dimensions' elements, then those that adjustments add."""
        products = itertools.product(*self.setup.values())
        found = [dict(zip(self.setup, values, strict=True)) for values in products]
        found += [
            adjustment.combination for adjustment in self.adjustments if adjustment.combination not in found
        ]
        return [self._adjusted(values) for values in found]

    def _adjusted(self, values: dict[str, str]) -> Combination:
        fitting = [adjustment for adjustment in self.adjustments if adjustment.combination == values]
        skip = next((adjustment.skip for adjustment in fitting if adjustment.skip), "")
        soft_fail = next((one.soft_fail for one in fitting if one.soft_fail is not None), None)
        return Combination(values, skip, soft_fail)


def interpolate(value: Any, values: Mapping[str, str]) -> Any:
    """``value`` with ``{{matrix}}`` and ``{{matrix.name}}`` replaced, also inside lists and maps.

    Raises:
        ValueError: there is no dimension of such a name.
    """
    if isinstance(value, str):
        return _TOKEN.sub(lambda found: _element(found, values), value)
    if isinstance(value, list):
        return [interpolate(item, values) for item in value]
    if isinstance(value, dict):
        return {interpolate(key, values): interpolate(item, values) for key, item in value.items()}
    return value


def _element(found: re.Match[str], values: Mapping[str, str]) -> str:
    name = found[1] or ONLY
    if name not in values:
        raise ValueError(f"{found[0]} is not a dimension of the step's matrix")
    return values[name]
