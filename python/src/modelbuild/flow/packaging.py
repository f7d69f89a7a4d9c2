"""The files of a model's archive, for every kind of model."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import JsonValue

from modelbuild.contract import DESCRIPTION_FILE, GoldenPrediction, sha256_of_json
from modelbuild.serving.description import ModelDescription
from modelbuild.serving.inputs import Input
from modelbuild.serving.model import Model, load
from modelbuild.serving.outputs import Output
from modelbuild.serving.values import BadInstance

_GOLDEN = 8


def package(
    *,
    kind: str,
    takes: Input,
    answers: Output,
    options: Mapping[str, JsonValue],
    files: Mapping[str, bytes],
    parameters: Mapping[str, Any],
) -> dict[str, bytes]:
    """The files of the model's archive, by name: those of the kind, and ``model.json``.

    Args:
        kind: the name of the model's kind, see :mod:`modelbuild.serving.kinds`.
        takes: what an instance is.
        answers: what an answer is.
        options: the options of the kind.
        files: the files that the kind reads, by name.
        parameters: what the model was trained with.

    Raises:
        ConfigurationError: the kind is not installed, or cannot read the files.
        VerificationFailed: the files do not fit each other, or the model cannot answer.
    """
    description = ModelDescription(
        kind=kind,
        input=takes,
        output=answers,
        options=dict(options),
        files={name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
        parameters_sha256=sha256_of_json(dict(parameters)),
    )
    packaged = {**files, DESCRIPTION_FILE: description.to_json().encode()}
    load(packaged)
    return packaged


def golden(model: Model, instances: Sequence[JsonValue]) -> list[GoldenPrediction]:
    """Up to eight of the instances, at even distances, with the answers that the endpoint must give.

    Instances that the server refuses are not chosen.
    """
    served = [instance for instance in instances if _is_served(model, instance)]
    chosen = served[:: max(1, len(served) // _GOLDEN)][:_GOLDEN]
    return [_golden_prediction(model, instance) for instance in chosen]


def _golden_prediction(model: Model, instance: JsonValue) -> GoldenPrediction:
    began = time.perf_counter()
    (answer,) = model.predict_json([instance])
    seconds = time.perf_counter() - began
    return GoldenPrediction(input=instance, output=answer, tolerance=model.tolerance, seconds=seconds)


def _is_served(model: Model, instance: JsonValue) -> bool:
    try:
        model.description.input.from_json(instance)
    except BadInstance:
        return False
    return True
