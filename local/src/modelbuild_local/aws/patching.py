"""Replaces functions of moto by our own."""

from __future__ import annotations

from typing import Any


def replace(owner: Any, name: str, replacement: Any) -> Any:
    """Replace ``owner.name`` by ``replacement``, and return the original.

    Raises:
        AttributeError: the name does not exist: this is not the pinned version of moto.
    """
    original = getattr(owner, name)
    setattr(owner, name, replacement)
    return original
