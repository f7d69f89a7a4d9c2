"""The served model: its verified files, the kind that reads them, and the answers it gives."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import JsonValue, ValidationError

from modelbuild.contract import DESCRIPTION_FILE
from modelbuild.errors import ConfigurationError, ModelbuildError, VerificationFailed
from modelbuild.formats.validation import first_error
from modelbuild.serving.description import ModelDescription
from modelbuild.serving.inputs import Input
from modelbuild.serving.kinds import Predictor, describe, find_kind, read_file
from modelbuild.serving.outputs import Answer
from modelbuild.serving.values import BadInstance


@dataclass(frozen=True)
class Model:
    """A model that has answered the example of its input.

    Attributes:
        description: what ``model.json`` says.
        predictor: the model as its kind read it.
        tolerance: how far a number of an answer may be from the recorded one, see
            :class:`modelbuild.serving.kinds.ModelKind`.
        seconds: how long one answer took, when everything had been loaded.
    """

    description: ModelDescription
    predictor: Predictor
    tolerance: float
    seconds: float

    def predict(self, instances: Sequence[Any]) -> list[Answer]:
        """An answer for each instance; the instances are what ``from_json`` of the input returned.

        Raises:
            VerificationFailed: the kind gives another number of answers, or raises what is no ``Exception``.
        """
        return _answers(self.predictor, instances)

    def predict_json(self, values: Sequence[JsonValue]) -> list[Answer]:
        """An answer for each instance of JSON.

        Raises:
            ConfigurationError: one does not fit the declared input.
            VerificationFailed: see :meth:`predict`.
        """
        return self.predict(read_instances(self.description.input, values))


def read_instances(declared: Input, values: Iterable[JsonValue]) -> list[Any]:
    """Instances that a program has, each as the input type makes it of JSON.

    Raises:
        ConfigurationError: one does not fit the declared input.
    """
    instances: list[Any] = []
    for number, value in enumerate(values, 1):
        try:
            instances.append(declared.from_json(value))
        except BadInstance as error:
            raise ConfigurationError(f"instance {number:,} {error}") from error
    return instances


def load_directory(directory: Path, description_sha256: str) -> Model:
    """Read a model from the unpacked ``model.tar.gz`` and verify its files.

    Args:
        directory: where ``model.json`` and the files that it names lie.
        description_sha256: the SHA-256 of the approved ``model.json``, which holds those of the others.

    Raises:
        ConfigurationError: a file is missing, or not in its format; or the machine has not enough memory.
        VerificationFailed: the files are not the approved ones, or do not fit together.
    """
    path = directory / DESCRIPTION_FILE
    content = _read(path)
    actual = hashlib.sha256(content).hexdigest()
    if actual != description_sha256:
        raise VerificationFailed(
            f"{path} has SHA-256 {actual}, but MODEL_DESCRIPTION_SHA256 says {description_sha256}; deploy "
            "the model from its own artifacts again"
        )
    description = parse_description(content)
    try:
        return _load(description, {name: _read(directory / name) for name in description.files})
    except MemoryError as error:
        raise ConfigurationError(
            f"the model in {directory} does not fit into the memory of this machine: deploy it to a larger "
            "instance type"
        ) from error


def load(files: Mapping[str, bytes]) -> Model:
    """The model of its files, by name; ``model.json`` among them says what they are.

    Raises:
        ConfigurationError: a file is missing, or not in its format.
        VerificationFailed: the files do not fit together.
        MemoryError: the machine has not enough memory.
    """
    description = parse_description(read_file(files, DESCRIPTION_FILE))
    return _load(description, {name: read_file(files, name) for name in description.files})


def _load(description: ModelDescription, files: Mapping[str, bytes]) -> Model:
    for name, expected in description.files.items():
        actual = hashlib.sha256(files[name]).hexdigest()
        if actual != expected:
            raise VerificationFailed(
                f"{name} has SHA-256 {actual}, but {DESCRIPTION_FILE} says {expected}; deploy the model from "
                "its own artifacts again"
            )
    kind = find_kind(description.kind)
    try:
        predictor, tolerance = kind.load(description, files), float(kind.tolerance)
    except (ModelbuildError, MemoryError):
        raise
    except Exception as error:
        raise VerificationFailed(
            f"the kind {description.kind!r} cannot load the model: {describe(error)}"
        ) from error
    return Model(description, predictor, tolerance, _seconds_of_example(description, predictor))


def parse_description(content: bytes) -> ModelDescription:
    """What ``model.json`` says.

    Raises:
        ConfigurationError: it does not describe a model that this package can serve.
    """
    try:
        return ModelDescription.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if first["loc"] == ("version",):
            raise ConfigurationError(
                f"{DESCRIPTION_FILE} has version {first['input']!r}, and this server reads version "
                f"{ModelDescription.model_fields['version'].default}: serve the model with the image of its "
                "own build, or train it again"
            ) from error
        raise ConfigurationError(
            f"{DESCRIPTION_FILE} does not describe a model: {first_error(error)}"
        ) from error


def _answers(predictor: Predictor, instances: Sequence[Any]) -> list[Answer]:
    try:
        answers = list(predictor.predict(instances))
    except BaseException as error:
        if isinstance(error, (Exception, KeyboardInterrupt)) and not isinstance(error, StopIteration):
            raise
        # No future can hold StopIteration, and what is no Exception, such as a panic of a library in Rust,
        # would end the queue: all requests of the batch would wait for ever.
        problem = VerificationFailed(f"the kind raised {type(error).__name__}")
        raise problem.with_traceback(error.__traceback__) from error
    if len(answers) != len(instances):
        raise VerificationFailed(f"the model gives {len(answers):,} answers to {len(instances):,} instances")
    for answer in answers:
        if not isinstance(answer, dict):
            raise VerificationFailed(f"the model gives an answer of type {type(answer).__name__}, not dict")
    return answers


def _seconds_of_example(description: ModelDescription, predictor: Predictor) -> float:
    """How long an answer to the example of the declared input takes, once a first one has loaded everything.

    A model that cannot answer at all is found here, before /ping is answered with 200.
    """
    example = description.input.example()
    instance = description.input.from_json(example)
    predictions: list[Answer] = []
    seconds = 0.0
    for _ in range(2):
        start = time.perf_counter()
        try:
            predictions = _answers(predictor, [instance])
        except (ModelbuildError, MemoryError):
            raise
        except Exception as error:
            raise VerificationFailed(
                f"the model cannot answer the example {repr(example)[:300]} of its input "
                f"{description.input.type}: {type(error).__name__}: {str(error)[:300]}"
            ) from error
        seconds = time.perf_counter() - start
    if problem := description.output.problem(predictions[0]):
        raise VerificationFailed(
            f"the model's answer {str(predictions[0])[:300]} is no {description.output.type}: {problem}"
        )
    return seconds


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"cannot read the model file {path}: {error.strerror}") from error
