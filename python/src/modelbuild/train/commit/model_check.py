"""Validates parameters with the flow's own pydantic model, in a separate process, because the model is the
commit's code.

The process runs :func:`main`: it reads ``{"folder": …, "values": [{…}, …]}`` from standard input and prints a
:class:`Verdict` as JSON; the model is ``Parameters`` in ``parameters.py`` of that folder.
"""

from __future__ import annotations

import difflib
import functools
import importlib.util
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from modelbuild.formats.validation import place_of

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
    """The type of a missing parameter, the known name nearest to an unknown one, or what a value must be."""
    index: int = 0
    """Which of several parameters these are, counted from 0; those before it are valid."""


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
        schema, path = model.model_json_schema(), place_of(first["loc"], json.loads(values))
        if first["type"] == "extra_forbidden":
            return Verdict(kind="unknown", path=path, expected=_nearest(schema, path))
        if first["type"] == "missing":
            return Verdict(kind="missing", path=path, expected=_type_names(schema, path))
        return Verdict(kind="wrong", path=path, expected=_expected(schema, path, first))
    return Verdict(kind="good")


def first_verdict(folder: Path, several: Sequence[Mapping[str, Any]]) -> Verdict:
    """Validate several values with the model in a folder; the verdict on the first that are not valid."""
    found = Verdict(kind="none")
    for index, values in enumerate(several):
        found = verdict(folder, json.dumps(values))
        if found.kind != "good":
            return found.model_copy(update={"index": index})
    return found


@functools.cache
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


def _expected(schema: dict[str, Any], path: tuple[str | int, ...], first: Mapping[str, Any]) -> str:
    """What a value of the wrong kind must be, as a text to follow a colon."""
    message: str = first["msg"].rstrip(".")
    type_names = _type_names(schema, path)
    if first["type"] == "value_error":
        return message.removeprefix("Value error, ")
    if not type_names:
        return f"it {message.removeprefix('Input ')}"
    if first["type"].endswith(_TYPE_ERRORS):
        return f"it must be {type_names}"
    return f"it must be {type_names}, and it {message.removeprefix('Input ')}"


def _type_names(schema: dict[str, Any], path: tuple[str | int, ...]) -> str:
    """The type of a path in a schema, in words; empty if the schema has none."""
    nodes = _options(schema, schema)
    for part in path:
        inner = (
            node.get("properties", {}).get(part) if isinstance(part, str) else node.get("items")
            for node in nodes
        )
        nodes = [option for node in inner if node is not None for option in _options(schema, node)]
    constants = [[node["const"]] if "const" in node else node.get("enum", []) for node in nodes]
    if values := [json.dumps(value) for some in constants for value in some]:
        return "one of " + ", ".join(dict.fromkeys(values))
    kinds = (node.get("type") for node in nodes)
    return " or ".join(dict.fromkeys(_TYPE_NAMES[kind] for kind in kinds if kind in _TYPE_NAMES))


def _nearest(schema: dict[str, Any], path: tuple[str | int, ...]) -> str:
    """The schema's name most similar to a name, with its type in words; empty if there is none."""
    parameters = {".".join(parameter_path): parameter_path for parameter_path in _paths(schema, schema, ())}
    name = ".".join(map(str, path))
    # Of a union, another member may have the name.
    near = difflib.get_close_matches(name, sorted(parameters.keys() - {name}), n=1)
    return f"{near[0]}, which is {_type_names(schema, parameters[near[0]])}" if near else ""


def _paths(schema: dict[str, Any], node: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    options = _options(schema, node) if len(path) < 10 else []
    sections = [option["properties"] for option in options if option.get("properties")]
    if not sections:
        yield path
    for properties in sections:
        for name, inner in properties.items():
            yield from _paths(schema, inner, (*path, name))


def _options(schema: dict[str, Any], node: Any) -> list[dict[str, Any]]:
    """What a part of a schema allows: itself, or each member of a union."""
    if isinstance(node, dict) and "$ref" in node:
        node = schema.get("$defs", {}).get(node["$ref"].rsplit("/", 1)[-1])
    if not isinstance(node, dict):
        return []
    members = node.get("oneOf") or node.get("anyOf")
    return [option for member in members for option in _options(schema, member)] if members else [node]


def main() -> None:
    """Print the verdict to standard output, and the output of the commit's code to standard error."""
    answer = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    question = json.load(sys.stdin)
    answer.write(first_verdict(Path(question["folder"]), question["values"]).model_dump_json())
    answer.flush()
