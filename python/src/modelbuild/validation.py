"""Where in a document pydantic found an error."""

from __future__ import annotations

from typing import Any


def place_of(location: tuple[int | str, ...], document: Any) -> tuple[int | str, ...]:
    """The keys and positions that lead to a value that is wrong or missing.

    pydantic puts the tag of a union's member into the location of an error, but no document has a key of that
    name: a part of the location which leads nowhere is left out, except a key that its object lacks.

    Args:
        location: ``loc`` of an error.
        document: what was validated, as JSON has it.
    """
    found: list[int | str] = []
    inner: Any = document
    for at, part in enumerate(location):
        if not isinstance(inner, dict | list):
            break
        is_there = part in inner if isinstance(inner, dict) else _is_position(part, inner)
        if is_there:
            inner = _inner(inner, part)
        elif at < len(location) - 1:
            continue
        found.append(part)
    return tuple(found)


def _inner(document: Any, part: int | str) -> Any:
    return document[part]


def _is_position(part: int | str, document: Any) -> bool:
    return isinstance(part, int) and part < len(document)
