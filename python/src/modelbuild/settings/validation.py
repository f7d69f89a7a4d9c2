"""Turns pydantic's errors into sentences about options."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Sequence
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails


def sentence(model: type[BaseModel], plugin: str, errors: Sequence[ErrorDetails]) -> str:
    """A sentence about the first error, with the option, the value and what was expected."""
    # A misspelt option also causes an error for a missing one; its own name explains both.
    first = next((item for item in errors if item["type"] == "extra_forbidden"), errors[0])
    path, kind = first["loc"], first["type"]
    if not path:
        return f"the options of the {plugin} plugin are {_short_value(first)}: they must be a map"
    option = f"option {'.'.join(str(part) for part in path if part != '[key]')} of the {plugin} plugin"
    if kind == "missing":
        field = _fields_at(model, path[:-1])[str(path[-1])]
        return f"{option} is missing: {_lowered(field.description or '')}"
    if kind == "extra_forbidden":
        return f"{option} does not exist: {_suggestion(str(path[-1]), list(_fields_at(model, path[:-1])))}"
    # The value of a variable is not printed, because it may be a secret by mistake.
    value = "wrong" if path[0] == "environment" else _short_value(first)
    return f"{option} is {value}: {_expected(first)}"


def _expected(first: ErrorDetails) -> str:
    context = first.get("ctx", {})
    match first["type"]:
        case "string_pattern_mismatch":
            return f"it must match {context['pattern']}"
        case "string_type":
            return "it must be text; put it in quotes"
        case "string_too_long":
            return f"it must have at most {context['max_length']} characters"
        case "string_too_short":
            return "it must not be empty"
        case "int_type":
            return "it must be a whole number"
        case "bool_type":
            return "it must be true or false"
        case "list_type":
            return "it must be a list"
        case "greater_than_equal":
            return f"it must be at least {context['ge']}"
        case "less_than_equal":
            return f"it must be at most {context['le']}"
        case "too_long":
            return f"it must have at most {context['max_length']} entries"
        case "dict_type" | "model_type":
            return "it must be a map"
        case "value_error":
            return str(context["error"])
        case _:
            return _lowered(first["msg"])


def _short_value(first: ErrorDetails) -> str:
    text = json.dumps(first["input"])
    return text if len(text) <= 80 else text[:77] + "..."


def _fields_at(model: type[BaseModel], path: Sequence[object]) -> dict[str, Any]:
    """The options at a path in a plugin's options, by the names that a user writes."""
    parts = iter(path)
    for part in parts:
        kind: Any = {info.alias or name: info for name, info in model.model_fields.items()}[
            str(part)
        ].annotation
        if get_origin(kind) in (dict, list):
            # The next part is the user's key in a map of models, or the position in a list of them.
            next(parts, None)
        model = _model_in(kind)
    return {info.alias or name: info for name, info in model.model_fields.items()}


def _model_in(kind: Any) -> type[BaseModel]:
    """The model of an option that may be None, or of the values in a map or list."""
    kinds = (kind, *get_args(kind))
    return next(one for one in kinds if isinstance(one, type) and issubclass(one, BaseModel))


def _suggestion(wrong: str, names: list[str]) -> str:
    near = difflib.get_close_matches(wrong, names, n=1)
    return f"did you mean {near[0]}?" if near else f"the options here are {', '.join(names)}"


def _lowered(text: str) -> str:
    return re.sub(r"^[A-Z](?=[a-z ])", lambda match: match[0].lower(), text).rstrip(".")
