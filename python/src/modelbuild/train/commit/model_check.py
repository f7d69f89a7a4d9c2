"""Validates parameters with the flow's own pydantic model, in a separate process, because the model is the
commit's code.

The process runs :func:`main`: it reads ``{"folder": …, "values": …}`` from standard input and prints a
:class:`Verdict` as JSON; the model is ``Parameters`` in ``parameters.py`` of that folder.
"""

from __future__ import annotations

import difflib
import importlib.util
import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

FILE_NAME = "parameters.py"
MODEL_NAME = "Parameters"

_TYPE_NAMES = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "boolean": "true or false",
    "array": "a list",
    "object": "a map",
    "null": "null",
}
# The messages of these errors repeat only the type.
_TYPE_ERRORS = ("_type", "_parsing", "_from_float", "literal_error", "enum")


class Verdict(BaseModel):
    """The result of the validation: valid, or the first wrong value and the expected one."""

    kind: Literal["none", "good", "missing", "unknown", "wrong", "unreadable"]
    path: tuple[str | int, ...] = ()
    expected: str = ""
    """The type of a missing parameter, a known name like an unknown one, or the expected value."""


def verdict(folder: Path, values: str) -> Verdict:
    """Validate values, as JSON text, with the model in a folder."""
    try:
        model = _model(folder)
    except BaseException as error:  # noqa: BLE001 - whatever the commit's code raises is about that code
        return Verdict(kind="unreadable", expected=f"{type(error).__name__}: {error}")
    if model is None:
        return Verdict(kind="none")
    try:
        # As JSON, like the flow: strict validation of JSON accepts a list for a tuple, and still no "5" for a
        # number.
        model.model_validate_json(values, strict=True)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_context=False)
        # A misspelt name also causes an error for a missing one, and is the better message.
        first = next((item for item in errors if item["type"] == "extra_forbidden"), errors[0])
        schema = model.model_json_schema()
        if first["type"] == "extra_forbidden":
            return Verdict(kind="unknown", path=first["loc"], expected=_nearest(schema, first["loc"]))
        if first["type"] == "missing":
            return Verdict(kind="missing", path=first["loc"], expected=_type_names(schema, first["loc"]))
        return Verdict(kind="wrong", path=first["loc"], expected=_expected(schema, first))
    return Verdict(kind="good")


def _model(folder: Path) -> type[BaseModel] | None:
    file = folder / FILE_NAME
    # At the end, so that no file of the flow hides an installed module.
    sys.path.append(str(folder))
    spec = importlib.util.spec_from_file_location("parameters", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["parameters"] = module
    spec.loader.exec_module(module)
    found = getattr(module, MODEL_NAME, None)
    if found is not None and not (isinstance(found, type) and issubclass(found, BaseModel)):
        raise TypeError(f"{MODEL_NAME} is no pydantic model")
    return found


def _expected(schema: dict[str, Any], first: Mapping[str, Any]) -> str:
    """What a value of the wrong kind must be, as a text to follow a colon."""
    message: str = first["msg"].rstrip(".")
    type_names = _type_names(schema, first["loc"])
    if first["type"] == "value_error":
        return message.removeprefix("Value error, ")
    if not type_names:
        return f"it {message.removeprefix('Input ')}"
    if first["type"].endswith(_TYPE_ERRORS):
        return f"it must be {type_names}"
    return f"it must be {type_names}, and it {message.removeprefix('Input ')}"


def _type_names(schema: dict[str, Any], path: tuple[str | int, ...]) -> str:
    """The type of a path in a schema, in words; empty if the schema has none."""
    node: Any = schema
    for part in path:
        node = _resolved(schema, node)
        inner = node.get("properties", {}).get(part) if isinstance(part, str) else node.get("items")
        if inner is None:
            return ""
        node = inner
    node = _resolved(schema, node)
    if "enum" in node or "const" in node:
        return "one of " + ", ".join(json.dumps(value) for value in node.get("enum", [node.get("const")]))
    kinds = [_resolved(schema, option).get("type") for option in node.get("anyOf", [node])]
    return " or ".join(_TYPE_NAMES[kind] for kind in kinds if kind in _TYPE_NAMES)


def _nearest(schema: dict[str, Any], path: tuple[str | int, ...]) -> str:
    """The schema's name most similar to a name, with its type in words; empty if there is none."""
    parameters = {".".join(parameter_path): parameter_path for parameter_path in _paths(schema, schema, ())}
    near = difflib.get_close_matches(".".join(map(str, path)), parameters, n=1)
    return f"{near[0]}, which is {_type_names(schema, parameters[near[0]])}" if near else ""


def _paths(schema: dict[str, Any], node: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    properties = _resolved(schema, node).get("properties") if len(path) < 10 else None
    if not properties:
        yield path
        return
    for name, inner in properties.items():
        yield from _paths(schema, inner, (*path, name))


def _resolved(schema: dict[str, Any], node: Any) -> dict[str, Any]:
    if isinstance(node, dict) and "$ref" in node:
        node = schema.get("$defs", {}).get(node["$ref"].rsplit("/", 1)[-1])
    return node if isinstance(node, dict) else {}


def main() -> None:
    """Print the verdict to standard output, and the output of the commit's code to standard error."""
    answer = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    asked = json.load(sys.stdin)
    answer.write(verdict(Path(asked["folder"]), json.dumps(asked["values"])).model_dump_json())
    answer.flush()
