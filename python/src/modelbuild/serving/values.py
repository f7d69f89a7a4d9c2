"""Single values of instances: checked, read from a cell of CSV, and made for an example."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import JsonValue

from modelbuild.serving.limits import MAX_CHARACTERS

LARGEST = float(np.finfo(np.float32).max)
"""The largest number that an instance may have."""


class BadInstance(Exception):
    """An instance does not fit the declared input; the message is a sentence without its subject."""


def type_name(value: JsonValue) -> str:
    """What people call the type of a value."""
    names: dict[type, str] = {int: "a number", float: "a number", str: "a text", bool: "a truth value"}
    names |= {dict: "an object", list: "a list", type(None): "null"}
    # A flow may have other values, such as those of numpy.
    return names.get(type(value), f"a value of type {type(value).__name__}")


def examples(count: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Different numbers between 0 and 1, of which a logarithm, a quotient and a deviation are finite."""
    return (np.arange(count) % 7 + 1) / 8


def require_text(text: str, where: str) -> None:
    """Refuse a text that is too long, or that has no bytes in UTF-8, as tokenizers and graphs need them.

    Args:
        text: the text.
        where: what follows its length or its character in the sentence, such as " in district".

    Raises:
        BadInstance: it is too long, or holds half a surrogate pair.
    """
    if len(text) > MAX_CHARACTERS:
        raise BadInstance(f"has {len(text):,} characters{where}; send at most {MAX_CHARACTERS:,}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadInstance(
            f"has half a surrogate pair as character {error.start + 1}{where}; send whole characters"
        ) from error


def number_of(name: str, cell: str) -> float:
    """The number in a cell of CSV.

    Raises:
        BadInstance: it is none as other programs write them; the sentence has the name of the column.
    """
    try:
        # Python also takes 1_000 and the digits of other scripts.
        if "_" not in cell and cell.isascii():
            return float(cell)
    except ValueError:
        pass
    raise BadInstance(f"has {cell[:60]!r} as {name}; send a number")
