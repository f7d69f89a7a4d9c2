"""The body of a request to ``/invocations``, as JSON, JSON lines or CSV."""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from modelbuild.serving.inputs import Input, RecordInput
from modelbuild.serving.limits import MAX_BODY_BYTES, MAX_INSTANCES, MAX_JSON_MARKS, SMALL_BODY_BYTES
from modelbuild.serving.values import BadInstance, type_name

JSON = "application/json"
JSON_LINES = "application/jsonlines"
CSV = "text/csv"
MEDIA_TYPES = {
    JSON: JSON,
    JSON_LINES: JSON_LINES,
    "application/x-jsonlines": JSON_LINES,
    "application/jsonl": JSON_LINES,
    "application/x-ndjson": JSON_LINES,
    CSV: CSV,
}
"""The media types of requests, each with the constant of its format."""

_MARKS = np.frombuffer(b",:[{", dtype=np.uint8)


class BadBody(Exception):
    """The body does not hold instances that the model can answer; the client gets the message."""


def accepted_types(declared: Input) -> tuple[str, ...]:
    """The media types that fit an input."""
    return (JSON, JSON_LINES, CSV) if declared.fits_csv else (JSON, JSON_LINES)


def parse_instances(body: bytearray, media_type: str, declared: Input) -> list[Any]:
    """The instances of a request body, each as the model's kind predicts it.

    Args:
        body: the bytes of the request; it is emptied once they are decoded, because a large body would
            otherwise be in memory twice.
        media_type: one of the values of :data:`MEDIA_TYPES`.
        declared: the input type of the model.

    Raises:
        BadBody: the body is not of its media type, or does not fit the declared input or the limits.
    """
    return _READERS[media_type](body, declared)


def _from_json(body: bytearray, declared: Input) -> list[Any]:
    _require_few_values(body, declared)
    document = _decode(body, "The body")
    if not isinstance(document, dict) or set(document) != {"instances"}:
        raise BadBody('The body must be an object with the one key "instances".')
    instances = document["instances"]
    if not isinstance(instances, list) or not 1 <= len(instances) <= MAX_INSTANCES:
        found = f"a list of {len(instances):,}" if isinstance(instances, list) else type_name(instances)
        raise BadBody(f"instances must be a list of 1 to {MAX_INSTANCES:,}, not {found}.")
    return _check(((f"instances[{at}]", value) for at, value in enumerate(instances)), declared.from_json)


def _from_json_lines(body: bytearray, declared: Input) -> list[Any]:
    _require_few_values(body, declared)
    content = io.BytesIO(body)
    body.clear()
    lines = ((number, bytearray(line)) for number, line in enumerate(content, 1) if line.strip())
    values = ((f"line {number}", _decode(line, f"Line {number}")) for number, line in lines)
    return _require_count(_check(values, declared.from_json), "lines")


def _from_csv(body: bytearray, declared: Input) -> list[Any]:
    try:
        text = _take(body, "utf-8-sig")
        rows = ((number, row) for number, row in enumerate(_rows(text, declared), 1) if row)
        named = ((f"row {number}", row) for number, row in _without_header(rows, declared))
        return _require_count(_check(named, declared.from_csv), "rows")
    except (ValueError, csv.Error) as error:
        raise BadBody(f"The body is not CSV in UTF-8 ({error}).") from error


_READERS = {JSON: _from_json, JSON_LINES: _from_json_lines, CSV: _from_csv}


def _without_header(
    rows: Iterable[tuple[int, list[str]]], declared: Input
) -> Iterator[tuple[int, list[str]]]:
    for at, (number, row) in enumerate(rows):
        if at or not isinstance(declared, RecordInput) or not declared.is_header(row):
            yield number, row


def _rows(text: str, declared: Input) -> Iterable[list[str]]:
    # The input says how long a text may be.
    csv.field_size_limit(MAX_BODY_BYTES)
    return csv.reader(_lines(text, declared), strict=True)


def _lines(text: str, declared: Input) -> Iterator[str]:
    """The lines of CSV; refuses one with more cells than a row of the input has, or than fit into memory."""
    for number, line in enumerate(io.StringIO(text, newline=""), 1):
        if line.count(",") > min(declared.csv_commas, MAX_JSON_MARKS):
            raise BadBody(f"Line {number} has more commas than a row of input {declared.type} can have.")
        yield line


def _check(named: Iterable[tuple[str, Any]], read: Callable[[Any], Any]) -> list[Any]:
    """What ``read`` makes of each value, up to one more than is allowed.

    The name of a value begins the sentence that refuses it. The values are read one at a time, because all of
    them together can take many times their size as Python objects.
    """
    instances: list[Any] = []
    for name, value in itertools.islice(named, MAX_INSTANCES + 1):
        try:
            instances.append(read(value))
        except BadInstance as error:
            raise BadBody(f"{name} {error}.") from error
    return instances


def _take(body: bytearray, encoding: str = "utf-8") -> str:
    """The text of a body, which is emptied."""
    text = body.decode(encoding)
    body.clear()
    return text


def _decode(body: bytearray, subject: str) -> Any:
    try:
        return _DECODER.decode(_take(body).removeprefix("\ufeff"))
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, json.JSONDecodeError) else "it cannot be decoded"
        raise BadBody(f"{subject} is not JSON in UTF-8 ({reason}).") from error


def _refuse_constant(name: str) -> None:
    raise BadBody(f"The body holds {name}, which is no number of JSON.")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, each of whose keys occurs once."""
    made = dict(pairs)
    if len(made) < len(pairs):
        twice = next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
        raise BadBody(f"The body holds an object with the key {twice[:60]!r} twice; send it once.")
    return made


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, object_pairs_hook=_object)


def _require_count(instances: list[Any], unit: str) -> list[Any]:
    if not 1 <= len(instances) <= MAX_INSTANCES:
        raise BadBody(f"The body must have 1 to {MAX_INSTANCES:,} {unit}, not {'more' if instances else 0}.")
    return instances


def _require_few_values(body: bytearray, declared: Input) -> None:
    """Refuse a body with more values than its instances can have, before it is parsed.

    A document such as ``[[],[],[],…`` takes forty times its size as Python objects.
    """
    if len(body) <= SMALL_BODY_BYTES:
        return
    limit = min(MAX_INSTANCES * declared.json_marks, MAX_JSON_MARKS)
    # The object, its one key, and the list.
    if _count_marks(body) > limit + 3:
        raise BadBody(
            f"The body has more values than {MAX_INSTANCES:,} instances of input {declared.type} can have; "
            "send fewer or smaller instances."
        )


def _count_marks(body: bytearray) -> int:
    """How many of the characters ``,:[{`` stand outside the texts of a JSON document."""
    if b"\\" in body:
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    inside, marks = np.False_, 0
    for start in range(0, len(body), SMALL_BODY_BYTES):
        characters = np.frombuffer(body[start : start + SMALL_BODY_BYTES], dtype=np.uint8)
        quoted = np.logical_xor.accumulate(characters == ord('"')) ^ inside
        marks += int(np.isin(characters[~quoted], _MARKS).sum())
        inside = quoted[-1]
    return marks
