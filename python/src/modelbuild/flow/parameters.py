"""Reads a flow's parameter file."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, JsonValue, ValidationError

from modelbuild import agent_yaml


def parse(text: str, model: type[BaseModel]) -> dict[str, JsonValue]:
    """The values of a YAML or JSON file, unchanged, if ``model`` accepts them.

    pydantic does not convert them, so that their hash equals the hash in the request.

    Raises:
        ParameterError: the file is not a mapping, or a parameter is missing, unknown or wrong.
    """
    # Imported here: train loads models that import this module on agents without Metaflow.
    from modelbuild.flow.errors import ParameterError

    try:
        values: dict[str, JsonValue] = agent_yaml.load_written(text)
    except agent_yaml.YamlError as error:
        where = f", line {error.line}," if error.line else ""
        raise ParameterError(f"The parameter file{where} cannot be read as YAML: {error}.") from error
    if not isinstance(values, dict):
        raise ParameterError("The parameter file must be a mapping of names to values.")
    try:
        # As JSON, because strict validation of JSON accepts a list for a tuple, and still no "5" for a
        # number.
        model.model_validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        raise ParameterError(_sentence(error)) from error
    return values


def _sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] == "missing":
        return f"The parameter {name} is missing."
    if first["type"] == "extra_forbidden":
        return f"There is no parameter {name}; remove it or correct its name."
    return f"The parameter {name} is {_short_text(first['input'])}: {first['msg'].rstrip('.')}."


def _short_text(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
