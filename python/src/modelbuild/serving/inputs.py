"""What a model takes: each input type checks an instance, and converts it into what the kind predicts.

The types are part of ``model.json``. :data:`Input` is one of them, told apart by its field ``type``.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
from pydantic import AfterValidator, Field, JsonValue, StringConstraints

from modelbuild.contract import Record
from modelbuild.serving.limits import MAX_CHARACTERS, MAX_JSON_MARKS
from modelbuild.serving.text import has_tokens
from modelbuild.serving.values import LARGEST, BadInstance, examples, number_of, require_text, type_name


class TextInput(Record):
    """A text: a JSON string, or a row of CSV with one column."""

    type: Literal["text"] = "text"

    @property
    def json_marks(self) -> int:
        """How many of the characters ``,:[{`` the JSON of an instance has outside its texts, at most."""
        return 1

    @property
    def csv_commas(self) -> int:
        """How many commas a line of CSV has, at most."""
        return MAX_CHARACTERS

    @property
    def fits_csv(self) -> bool:
        """Whether a row of CSV can be an instance."""
        return True

    def size(self, instance: str) -> int:
        """How much work an instance is, in characters."""
        return len(instance)

    def from_json(self, value: JsonValue) -> str:
        """The text of an instance.

        Raises:
            BadInstance: it is no text or no Unicode, is too long, or has no token.
        """
        if not isinstance(value, str):
            raise BadInstance(f"must be a text, not {type_name(value)}")
        require_text(value, "")
        if not has_tokens(value):
            raise BadInstance("is empty: it has no word and no sign; send at least one")
        return value

    def from_csv(self, row: Sequence[str]) -> str:
        """The text of a CSV row.

        Raises:
            BadInstance: see :meth:`from_json`; or the row has several columns.
        """
        if len(row) != 1:
            raise BadInstance(f"has {len(row)} columns; send one, with the text between double quotes")
        return self.from_json(row[0])

    def example(self) -> JsonValue:
        """An instance that every model of this input can answer."""
        return "An example."

    def other_example(self) -> JsonValue:
        """An instance that differs from :meth:`example`."""
        return "Another example, which is longer than the first one."


class RecordField(Record):
    """A field of a record, and a column of CSV."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=128)]
    type: Literal["number", "text"]

    def read(self, value: JsonValue) -> float | str:
        """The value of the field.

        Raises:
            BadInstance: it is of another type, no Unicode, too long, or beyond the range of float32.
        """
        if self.type == "text":
            if not isinstance(value, str):
                raise BadInstance(f"has {type_name(value)} as {self.name}; send a text")
            require_text(value, f" in {self.name}")
            return value
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise BadInstance(f"has {type_name(value)} as {self.name}; send a number")
        if value != value:
            raise BadInstance(f"has NaN as {self.name}; send a number")
        if abs(value) > LARGEST:
            raise BadInstance(f"has a number beyond the range of float32 as {self.name}")
        return float(value)

    def read_cell(self, cell: str) -> float | str:
        """The value of the field in a CSV row.

        Raises:
            BadInstance: see :meth:`read`.
        """
        return self.read(cell if self.type == "text" else number_of(self.name, cell))


def _distinct(fields: tuple[RecordField, ...]) -> tuple[RecordField, ...]:
    name, times = Counter(field.name for field in fields).most_common(1)[0]
    if times > 1:
        raise ValueError(f"the field {name!r} occurs {times} times")
    return fields


class RecordInput(Record):
    """A row of a table: a JSON object with every field, or a CSV row with the fields in their order."""

    type: Literal["record"] = "record"
    fields: Annotated[
        tuple[RecordField, ...], Field(min_length=1, max_length=10_000), AfterValidator(_distinct)
    ]
    """The fields in the order of the columns of CSV."""

    @property
    def json_marks(self) -> int:
        """How many of the characters ``,:[{`` the JSON of an instance has outside its texts, at most."""
        return 1 + 2 * len(self.fields)

    @property
    def csv_commas(self) -> int:
        """How many commas a line of CSV has, at most."""
        return len(self.fields) + sum(MAX_CHARACTERS for field in self.fields if field.type == "text")

    @property
    def fits_csv(self) -> bool:
        """Whether a row of CSV can be an instance."""
        return True

    def size(self, instance: dict[str, float | str]) -> int:
        """How much work an instance is: characters of its texts, and 8 for each number."""
        return sum(8 if isinstance(value, float) else len(value) for value in instance.values())

    def from_json(self, value: JsonValue) -> dict[str, float | str]:
        """The fields of an instance, in their declared order.

        Raises:
            BadInstance: a field is missing, unknown or of another type.
        """
        if not isinstance(value, dict):
            raise BadInstance(f"must be an object with the fields {self._names()}, not {type_name(value)}")
        try:
            instance = {name: read(value[name]) for name, read in self._readers}
        except KeyError as error:
            raise BadInstance(f"has no field {error.args[0]!r}; send the fields {self._names()}") from error
        if len(value) > len(instance):
            unknown = next(name for name in value if name not in instance)
            raise BadInstance(f"has the unknown field {unknown[:60]!r}; send the fields {self._names()}")
        return instance

    def from_csv(self, row: Sequence[str]) -> dict[str, float | str]:
        """The fields of a CSV row.

        Raises:
            BadInstance: the row has another number of columns, or a number cannot be read.
        """
        if len(row) != len(self.fields):
            raise BadInstance(f"has {len(row)} columns; send {len(self.fields)}: {self._names()}")
        return {field.name: field.read_cell(cell) for field, cell in zip(self.fields, row, strict=True)}

    def is_header(self, row: Sequence[str]) -> bool:
        """Whether a CSV row names the fields."""
        return list(row) == [field.name for field in self.fields]

    def example(self) -> JsonValue:
        """An instance of numbers between 0 and 1, and of empty texts."""
        return self._instance(examples(len(self.fields)))

    def other_example(self) -> JsonValue:
        """An instance that differs from :meth:`example` in its numbers."""
        return self._instance(1 + examples(len(self.fields)))

    def _instance(self, numbers: np.ndarray[Any, np.dtype[np.float64]]) -> JsonValue:
        fields = zip(self.fields, numbers.tolist(), strict=True)
        return {field.name: number if field.type == "number" else "" for field, number in fields}

    @cached_property
    def _readers(self) -> list[tuple[str, Callable[[JsonValue], float | str]]]:
        return [(field.name, field.read) for field in self.fields]

    def _names(self) -> str:
        names = [field.name for field in self.fields]
        more = f" and {len(names) - 8} more" if len(names) > 8 else ""
        return ", ".join(names[:8]) + more


def _fitting(shape: tuple[int, ...]) -> tuple[int, ...]:
    if _lists_and_numbers(shape) > MAX_JSON_MARKS:
        raise ValueError(
            f"a tensor of shape {list(shape)} has more values than the {MAX_JSON_MARKS:,} of a request"
        )
    return shape


def _lists_and_numbers(shape: tuple[int, ...]) -> int:
    return sum(math.prod(shape[:depth]) for depth in range(len(shape) + 1))


class TensorInput(Record):
    """Numbers in a fixed shape: JSON lists within lists, or, for one dimension, a CSV row."""

    type: Literal["tensor"] = "tensor"
    shape: Annotated[
        tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1, max_length=8), AfterValidator(_fitting)
    ]
    """The size of each dimension of one instance, without that of the batch."""

    @property
    def json_marks(self) -> int:
        """How many of the characters ``,:[{`` the JSON of an instance has outside its texts, at most."""
        return _lists_and_numbers(self.shape)

    @property
    def csv_commas(self) -> int:
        """How many commas a line of CSV has, at most."""
        return self.shape[0]

    @property
    def fits_csv(self) -> bool:
        """Whether a row of CSV can be an instance."""
        return len(self.shape) == 1

    def size(self, instance: np.ndarray[Any, np.dtype[np.float64]]) -> int:
        """How much work an instance is: 8 for each number."""
        return 8 * instance.size

    def from_json(self, value: JsonValue) -> np.ndarray[Any, np.dtype[np.float64]]:
        """The numbers of an instance, float64, of the declared shape.

        Raises:
            BadInstance: it has another shape, or something that is no finite number.
        """
        if not isinstance(value, list):
            raise BadInstance(f"must be a list of shape {list(self.shape)}, not {type_name(value)}")
        return self._array(value)

    def from_csv(self, row: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float64]]:
        """The numbers of a CSV row.

        Raises:
            BadInstance: see :meth:`from_json`.
        """
        return self._array([number_of(f"column {at}", cell) for at, cell in enumerate(row, 1)])

    def example(self) -> JsonValue:
        """An instance of numbers between 0 and 1."""
        numbers: JsonValue = examples(math.prod(self.shape)).reshape(self.shape).tolist()
        return numbers

    def other_example(self) -> JsonValue:
        """An instance that differs from :meth:`example`."""
        numbers: JsonValue = (1 + examples(math.prod(self.shape))).reshape(self.shape).tolist()
        return numbers

    def _array(self, value: list[Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
        values = np.asarray(value, dtype=object)
        if values.shape != self.shape:
            raise BadInstance(f"has shape {list(values.shape)}; send shape {list(self.shape)}")
        if not {type(one) for one in values.flat} <= {int, float}:
            raise BadInstance("holds something that is no number; send numbers only")
        if not all(abs(one) <= LARGEST for one in values.flat):
            raise BadInstance("holds a number beyond the range of float32")
        return values.astype(np.float64)


Input: TypeAlias = Annotated[TextInput | RecordInput | TensorInput, Field(discriminator="type")]
