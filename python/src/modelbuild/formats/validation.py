"""What pydantic found wrong with a document, and where."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import ValidationError


def first_error(error: ValidationError) -> str:
    """The first error as text, without the value, which may be secret: ``model.id: Field required``."""
    first = error.errors(include_url=False, include_input=False)[0]
    field = ".".join(map(str, first["loc"]))
    return f"{field}: {first['msg']}" if field else first["msg"]


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
