"""Putting our own functions in the place of moto's."""

from __future__ import annotations

from typing import Any


def replace(owner: Any, name: str, replacement: Any) -> Any:
    """Put ``replacement`` in the place of ``owner.name`` and return what was there.

    Raises:
        AttributeError: there is nothing of that name: this is another moto than the one we pin.
    """
    original = getattr(owner, name)
    setattr(owner, name, replacement)
    return original
