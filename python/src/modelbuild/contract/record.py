"""The base class of all records, their JSON form, and the types of their fields."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, StringConstraints
from pydantic_core import from_json

from modelbuild.text import storable

FIELD_CHARACTERS = 10_000
"""The longest value of meta-data that modelbuild writes; Buildkite accepts 100 kB."""

S3Uri = Annotated[str, StringConstraints(pattern=r"^s3://[a-z0-9][a-z0-9.\-]{1,61}[a-z0-9](/.*)?$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
ModelName = Annotated[
    str,
    StringConstraints(pattern=r"^([A-Za-z]|[0-9]+[A-Za-z_-])[A-Za-z0-9_-]*$", max_length=63),
]
"""The name of a model; never only digits, so that it cannot be taken for a model id."""
UNNAMED_VARIABLES = "PARAM_"
"""The prefix of the variables by which a build sets parameters of its only training."""


def parameter_variables(model: str) -> str:
    """The prefix of the variables by which a build sets parameters of the training of a named model."""
    return f"{re.sub('[^A-Z0-9]', '_', model.upper())}_{UNNAMED_VARIABLES}"


MODEL_ID_PATTERN = r"[1-9][0-9]*(\.[1-9][0-9]*)?"
ModelId = Annotated[str, StringConstraints(pattern=f"^{MODEL_ID_PATTERN}$")]
"""The number of the build that made the model, or ``<number>.<n>`` for the build's *n*th candidate."""
SLUG_PATTERN = r"[a-zA-Z0-9][a-zA-Z0-9\-]*"
Slug = Annotated[str, StringConstraints(pattern=f"^{SLUG_PATTERN}$")]
Text = Annotated[str, AfterValidator(storable)]
"""Foreign text, such as a commit's message; characters that a document cannot hold become U+FFFD."""

Count = Annotated[int, Field(ge=0, le=1 << 53)]
"""How many things there are; every program can calculate with it, also one whose numbers are all floats."""
Seconds = Annotated[float, Field(ge=0, le=1e12)]


def _field(text: str) -> str:
    if len(text) > FIELD_CHARACTERS:
        raise ValueError(f"it must not have more than {FIELD_CHARACTERS:,} characters")
    return storable(text)


FieldText = Annotated[str, AfterValidator(_field)]
"""A value of the build's meta-data."""


class Record(BaseModel):
    """A value object: frozen, without extra fields, and serialized by alias."""

    # Most programs use few of the records, so pydantic builds each validator at its first use.
    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, defer_build=True, allow_inf_nan=False
    )

    def to_json(self) -> str:
        """The value as a JSON document for people and programs, see :func:`document`.

        Raises:
            ValueError: the document would not be read back as this value.
        """
        text = document(self.model_dump(mode="json", by_alias=True))
        if type(self).model_validate_json(text) != self:
            raise ValueError(f"a {type(self).__name__} would be read back as another one")
        return text


def document(value: JsonValue) -> str:
    """A JSON document with sorted keys, two spaces and a newline at the end, that all its readers can read.

    Raises:
        ValueError: it would not be read back as ``value``: it holds half a surrogate pair or a number that is
            not finite, or is nested more than 200 times.
    """
    try:
        text = json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n"
    except (TypeError, RecursionError) as error:
        raise ValueError("it is no JSON value, or nested too often") from error
    try:
        same = from_json(text) == value
    except ValueError as error:
        raise ValueError(f"it is nested too often, or holds half a character ({error})") from error
    if not same:
        raise ValueError("it would be read back as another value")
    return text


def sha256_of_json(value: JsonValue) -> str:
    """SHA-256 of ``value`` in its canonical JSON form: sorted keys, no spaces, UTF-8 (RFC 8785 in spirit)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return sha256_of(text.encode())


def sha256_of(content: bytes) -> str:
    """SHA-256 of some bytes, in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def shortened(name: str, characters: int) -> str:
    """``name``, or its beginning and a hash of the whole name if it has more than ``characters``."""
    if len(name) <= characters:
        return name
    return f"{name[: characters - 17]}-{sha256_of(name.encode())[:16]}"


def split_s3_uri(uri: str) -> tuple[str, str]:
    """Bucket and key of ``s3://bucket/key``; the key is empty for a bucket alone.

    Raises:
        ValueError: ``uri`` does not name an S3 location.
    """
    match = re.fullmatch(r"s3://([a-z0-9][a-z0-9.\-]{1,61}[a-z0-9])(?:/(.*))?", uri, re.DOTALL)
    if match is None:
        raise ValueError(f"{uri!r} is not an S3 location such as s3://bucket/prefix")
    return match.group(1), match.group(2) or ""
