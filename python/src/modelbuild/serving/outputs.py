"""What a model answers: each output type says what an answer must be.

The types are part of ``model.json``. :data:`Output` is one of them, told apart by its field ``type``.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, Field, JsonValue, StringConstraints

from modelbuild.contract import Record

_LARGEST = sys.float_info.max
# A float32 with its sign and the comma behind it, such as -0.10000000149011612.
_NUMBER_BYTES = 22

Label = Annotated[str, StringConstraints(min_length=1)]
Answer: TypeAlias = dict[str, Any]
"""What a model says of one instance, without the fields that name the model."""


def _distinct(labels: tuple[str, ...]) -> tuple[str, ...]:
    label, times = Counter(labels).most_common(1)[0]
    if times > 1:
        raise ValueError(f"the label {label!r} occurs {times} times")
    return labels


class LabelOutput(Record):
    """``{"label": …, "scores": {…}}``: the most probable label, and the probability of every label."""

    type: Literal["label"] = "label"
    labels: Annotated[tuple[Label, ...], Field(min_length=1), AfterValidator(_distinct)]

    @cached_property
    def json_bytes(self) -> int:
        """How many bytes an answer has as JSON, about."""
        return sum(len(json.dumps(label)) + 2 + _NUMBER_BYTES for label in self.labels)

    def problem(self, answer: Mapping[str, JsonValue]) -> str:
        """What is wrong with an answer; empty where nothing is."""
        scores = answer.get("scores")
        if answer.keys() != {"label", "scores"} or not isinstance(scores, dict):
            return "it must have a label and scores"
        if scores.keys() != set(self.labels) or answer["label"] not in self.labels:
            return "its labels are not those of model.json"
        if not all(_is_finite(score) for score in scores.values()):
            return "a score is no finite number"
        return ""


class NumberOutput(Record):
    """``{"value": …}``: one number."""

    type: Literal["number"] = "number"

    @property
    def json_bytes(self) -> int:
        """How many bytes an answer has as JSON, about."""
        return _NUMBER_BYTES

    def problem(self, answer: Mapping[str, JsonValue]) -> str:
        """What is wrong with an answer; empty where nothing is."""
        if answer.keys() != {"value"} or not _is_finite(answer["value"]):
            return "it must have a value, a finite number"
        return ""


class VectorOutput(Record):
    """``{"vector": […]}``: numbers of a fixed count, such as an embedding."""

    type: Literal["vector"] = "vector"
    length: int = Field(ge=1, le=100_000)

    @property
    def json_bytes(self) -> int:
        """How many bytes an answer has as JSON, about."""
        return self.length * _NUMBER_BYTES

    def problem(self, answer: Mapping[str, JsonValue]) -> str:
        """What is wrong with an answer; empty where nothing is."""
        vector = answer.get("vector")
        if answer.keys() != {"vector"} or not isinstance(vector, list) or len(vector) != self.length:
            return f"it must have a vector of {self.length:,} numbers"
        return "" if all(map(_is_finite, vector)) else "a number of the vector is not finite"


Output: TypeAlias = Annotated[LabelOutput | NumberOutput | VectorOutput, Field(discriminator="type")]


def _is_finite(value: JsonValue) -> bool:
    # math.isfinite fails for a whole number that is larger than every float.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST
