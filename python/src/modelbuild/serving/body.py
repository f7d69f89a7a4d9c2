"""The body of a request to ``/invocations``: ``{"instances": ["text", …]}``, in JSON."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from modelbuild.serving.limits import MAX_CHARACTERS, MAX_INSTANCES, SMALL_BODY_BYTES
from modelbuild.serving.text import has_tokens

_BYTES_BEFORE_VALUES = np.frombuffer(b",[{", dtype=np.uint8)


class BadBody(Exception):
    """The body holds no texts that the model can classify; the client gets the message."""


def parse_instances(body: bytearray) -> list[str]:
    """The texts of a request body.

    Raises:
        BadBody: the body is not JSON in UTF-8, or not texts within the limits.
    """
    instances = _instances(body)
    for index, text in enumerate(instances):
        if not isinstance(text, str):
            raise BadBody(f"instances[{index}] must be a text, not {_type_name(text)}.")
        if len(text) > MAX_CHARACTERS:
            raise BadBody(
                f"instances[{index}] has {len(text):,} characters; send at most {MAX_CHARACTERS:,}."
            )
        if not has_tokens(text):
            raise BadBody(f"instances[{index}] is empty; send at least one word or symbol.")
    return instances


def _instances(body: bytearray) -> list[Any]:
    if len(body) > SMALL_BODY_BYTES and _values(body) > MAX_INSTANCES + 3:
        raise BadBody(f"The body holds more than a list of {MAX_INSTANCES:,} texts; send fewer.")
    try:
        document = json.loads(body.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, json.JSONDecodeError) else "it cannot be decoded"
        raise BadBody(f"The body is not JSON in UTF-8 ({reason}).") from error
    if not isinstance(document, dict) or set(document) != {"instances"}:
        raise BadBody('The body must be an object with the one key "instances".')
    instances = document["instances"]
    if not isinstance(instances, list) or not 1 <= len(instances) <= MAX_INSTANCES:
        given_type = f"a list of {len(instances):,}" if isinstance(instances, list) else _type_name(instances)
        raise BadBody(f"instances must be a list of 1 to {MAX_INSTANCES:,} texts, not {given_type}.")
    return instances


def _values(body: bytearray) -> int:
    """An upper bound of the number of values in a document: the commas and brackets outside its strings.

    A document such as ``[[],[],[],…`` needs forty times its size as Python objects, so the server counts its
    values before it parses the document.
    """
    if b"\\" in body:
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    inside, values = np.False_, 1
    for start in range(0, len(body), SMALL_BODY_BYTES):
        characters = np.frombuffer(body[start : start + SMALL_BODY_BYTES], dtype=np.uint8)
        quoted = np.logical_xor.accumulate(characters == ord('"')) ^ inside
        values += int(np.isin(characters[~quoted], _BYTES_BEFORE_VALUES).sum())
        inside = quoted[-1]
    return values


def _type_name(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number")
