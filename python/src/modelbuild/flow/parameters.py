"""Reads a flow's parameter file, and has the sections that several flows share."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from modelbuild.formats import agent_yaml
from modelbuild.formats.validation import place_of

HeldOut = Annotated[int, Field(ge=1, le=99)] | Annotated[str, Field(min_length=1)]
"""How many percent of the rows' keys are held out of the training, or what the held out keys begin with."""


class Section(BaseModel):
    """A part of a parameter file: it has just these parameters, and none may be missing."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class HashedNgrams(Section):
    """The size of a model of kind ``hashed-ngrams-linear``."""

    ngrams: int = Field(ge=1, le=5)
    """How many words the longest n-gram has."""
    buckets: int = Field(ge=1, le=2**24)
    """How many rows of weights there are."""


class LinearTraining(Section):
    """How :func:`modelbuild.flow.models.linear.fit` fits such a model."""

    epochs: int = Field(ge=1, le=10_000)
    """How often each text is used."""
    batch_size: int = Field(ge=1)
    learning_rate: float = Field(gt=0)


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
        raise ParameterError(_sentence(error, values)) from error
    return values


def _sentence(error: ValidationError, values: JsonValue) -> str:
    first = error.errors()[0]
    name = ".".join(str(part) for part in place_of(first["loc"], values))
    if first["type"] == "missing":
        return f"The parameter {name} is missing."
    if first["type"] == "extra_forbidden":
        return f"There is no parameter {name}; remove it or correct its name."
    return f"The parameter {name} is {_short_text(first['input'])}: {first['msg'].rstrip('.')}."


def _short_text(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
