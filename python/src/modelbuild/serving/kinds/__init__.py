"""Kinds of models: what reads the files of a model and predicts with them.

A kind is an object with the interface of :class:`ModelKind`. The distribution that contains it registers it
under the name of the kind, as an entry point of the group ``modelbuild.kinds``. This distribution has two
kinds; a user's distribution, installed in the image that serves the model, can have others.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any, Protocol, TypeVar, cast

from pydantic import ValidationError

from modelbuild.contract import DESCRIPTION_FILE, Record
from modelbuild.errors import ConfigurationError
from modelbuild.serving.description import ModelDescription
from modelbuild.serving.outputs import Answer

GROUP = "modelbuild.kinds"

Options = TypeVar("Options", bound=Record)
In = TypeVar("In")
Out = TypeVar("Out")


class Predictor(Protocol):
    """A model in memory."""

    def predict(self, instances: Sequence[Any]) -> list[Answer]:
        """An answer for each instance, in the same order; none depends on the other instances.

        The instances are what the input type of the description makes of JSON: texts, records as dictionaries
        with every field, or float64 arrays. The memory that this takes must not grow with their number.

        The server calls it in several threads at the same time: small requests in one, large ones in another.
        """
        ...


class ModelKind(Protocol):
    """Reads the models of one kind.

    Attributes:
        tolerance: the largest difference of a number of an answer from the recorded one, relative to it if
            that is above 1: another CPU rounds differently.
    """

    tolerance: float

    def load(self, description: ModelDescription, files: Mapping[str, bytes]) -> Predictor:
        """The model of a description and of its files, by name, whose hashes are verified already.

        Nothing in the files may be executed or unpickled.

        Raises:
            ConfigurationError: a file cannot be read as what it should be, or an option is missing or wrong.
            VerificationFailed: the files do not fit the description, or each other.
        """
        ...


def find_kind(name: str) -> ModelKind:
    """The kind that is installed under a name.

    Raises:
        ConfigurationError: there is none, or several; or what it needs is not installed, or its module fails.
    """
    found = entry_points(group=GROUP)
    objects = sorted({entry_point.value for entry_point in found if entry_point.name == name})
    if len(objects) > 1:
        raise ConfigurationError(
            f"several packages in this image have a kind {name!r}: {', '.join(objects)}; give yours another "
            "name"
        )
    for entry_point in found:
        if entry_point.name == name:
            try:
                return cast(ModelKind, entry_point.load())
            except ImportError as error:
                raise ConfigurationError(
                    f"the kind {name!r} of the model needs a package that is not installed here ({error}): "
                    "serve the model with an image that has it, see docs/serving.md"
                ) from error
            except Exception as error:
                raise ConfigurationError(
                    f"the kind {name!r} of the model cannot be imported as {entry_point.value}: "
                    f"{describe(error)}: correct its package in the image"
                ) from error
    raise ConfigurationError(
        f"the model is of kind {name!r}, and this image has the kinds {', '.join(sorted(found.names))}: "
        f"serve it with an image that has a package with the entry point {name!r} in the group {GROUP}"
    )


def describe(error: Exception) -> str:
    """Type, text and place of what a kind raised."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {str(error)[:300]} (at {frame.filename}:{frame.lineno})"


def read_options(description: ModelDescription, options: type[Options]) -> Options:
    """The options of a description as the record that the kind declares.

    Raises:
        ConfigurationError: an option is missing, unknown or wrong.
    """
    try:
        return options.model_validate_json(json.dumps(description.options))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        option = ".".join(map(str, ("options", *first["loc"])))
        raise ConfigurationError(
            f"{DESCRIPTION_FILE} has a wrong {option} for kind {description.kind}: {first['msg']}; serve the "
            "model with the image of its own build, or train it again"
        ) from error


def require_types(description: ModelDescription, takes: type[In], answers: type[Out]) -> tuple[In, Out]:
    """The declared input and output of a model whose kind has one type of each.

    Raises:
        ConfigurationError: another input or output is declared.
    """
    declared, output = description.input, description.output
    if not isinstance(declared, takes) or not isinstance(output, answers):
        raise ConfigurationError(
            f"{DESCRIPTION_FILE} declares input {declared.type} and output {output.type}, which kind "
            f"{description.kind} does not have"
        )
    return declared, output


def read_file(files: Mapping[str, bytes], name: str) -> bytes:
    """The content of one of the model's files.

    Raises:
        ConfigurationError: it is not there.
    """
    try:
        return files[name]
    except KeyError:
        raise ConfigurationError(
            f"the model has no file {name}: its files are {', '.join(sorted(files)) or 'none'}"
        ) from None
