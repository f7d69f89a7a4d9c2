"""Reads records, with one sentence for an invalid one."""

from __future__ import annotations

import json
import math
import re
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from modelbuild.aws.failures import NotFound
from modelbuild.errors import VerificationFailed
from modelbuild.formats.validation import first_error
from modelbuild.store.objects import Objects

Kind = TypeVar("Kind", bound=BaseModel)

LIMIT_BYTES = 16 << 20
"""The largest object that is read as a record, unless its reader says otherwise."""
SMALL_BYTES = 1 << 20
"""The same for how a training ended: a flow can write that file, and JSON takes up to 50 times its size while
it is read. The stack's function has 256 MB of memory.
"""
LARGE_BYTES = 256 << 20
"""The same for records that grow with the number of rows, files or candidates."""

OF_A_BUILD = "start a new build, whose programs all have one version, or use the version that wrote it"


class InvalidRecord(VerificationFailed):
    """An object does not hold a valid record of its kind."""


def content(objects: Objects, uri: str, limit: int = LIMIT_BYTES) -> bytes:
    """The bytes of an object that should hold a record.

    Raises:
        NotFound: there is no such object.
        InvalidRecord: it is larger than any record.
        AwsError: S3 refused.
    """
    found = bytearray()
    for chunk in objects.stream(uri):
        found += chunk
        if len(found) > limit:
            raise InvalidRecord(
                f"{uri} has more than {limit:,} bytes, which no record has: start a new build, and leave "
                "that file to modelbuild"
            )
    return bytes(found)


def read(objects: Objects, uri: str, kind: type[Kind], limit: int = LIMIT_BYTES) -> Kind:
    """The record that an object of at most ``limit`` bytes holds.

    Raises:
        NotFound: there is no such object.
        InvalidRecord: it does not hold a record of that kind.
        AwsError: S3 refused.
    """
    return parse(content(objects, uri, limit), uri, kind)


def find(objects: Objects, uri: str, kind: type[Kind], limit: int = LIMIT_BYTES) -> Kind | None:
    """The record that an object of at most ``limit`` bytes holds, or None if the object does not exist.

    Raises:
        InvalidRecord: it does not hold a record of that kind.
        AwsError: S3 refused.
    """
    try:
        return read(objects, uri, kind, limit)
    except NotFound:
        return None


def parse(
    text: bytes, uri: str, kind: type[Kind], *, any_version: bool = False, fix: str = OF_A_BUILD
) -> Kind:
    """The record in the bytes of an object.

    Args:
        text: the bytes.
        uri: of the object.
        kind: of the record.
        any_version: ignore unknown fields.
        fix: what to do where they hold no such record, for the error.

    Raises:
        InvalidRecord: they hold no record of that kind, or a number that is not finite.
    """
    try:
        record = kind.model_validate_json(text, extra="ignore" if any_version else None)
        _require_finite_numbers(text)
        return record
    except (ValueError, RecursionError) as error:
        reason = first_error(error) if isinstance(error, ValidationError) else str(error)
        raise InvalidRecord(
            f"{uri} is not a {_kind_name(kind)} of this version of modelbuild ({reason}): {fix}"
        ) from error


def _require_finite_numbers(text: bytes) -> None:
    """Refuse numbers that are not finite, also where a record takes any JSON: no report can be written with
    them.
    """
    json.loads(text, parse_constant=_finite, parse_float=_finite)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"it holds {text[:20]}, which is no finite number")
    return value


def _kind_name(kind: type[BaseModel]) -> str:
    """The name of a class in words: "training request"."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", kind.__name__).lower()
