"""Every place of a record that takes text from outside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from modelbuild.contract import Record

# What programs act on, and what pages show a part of.
_FIXED = {
    *("path", "artifacts", "model", "model_id", "version", "id", "commit", "pipeline", "organization"),
    *("role", "outcome", "style", "status", "method", "scale", "primary", "better", "origins"),
    *("url", "build_url", "commit_url", "compare_url", "message"),
}


def replaced(value: Any, text: Callable[[str], str]) -> Any:
    """The value with ``text`` of each of its texts; keys that were the same are the same again."""
    keys: dict[str, str] = {}

    def key(old: str) -> str:
        if old not in keys:
            keys[old] = text(old)
        return keys[old]

    def walk(value: Any, *, metrics: bool = False) -> Any:
        if isinstance(value, Record):
            fields = type(value).model_fields
            names = [
                name for name in fields if name not in _FIXED and not (name == "name" and "better" in fields)
            ]
            changes = {name: walk(getattr(value, name), metrics=name == "metrics") for name in names}
            return value.model_copy(update=changes)
        if isinstance(value, dict):
            return {(one if metrics else key(one)): walk(item) for one, item in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(walk(item) for item in value)
        return text(value) if isinstance(value, str) and value else value

    return walk(value)
