"""Models of scikit-learn as models of kind ``onnx``: classifiers and regressions of records."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import skl2onnx
from pydantic import JsonValue
from skl2onnx.common.data_types import FloatTensorType, StringTensorType

from modelbuild.errors import ConfigurationError
from modelbuild.flow.packaging import package
from modelbuild.serving.inputs import RecordInput
from modelbuild.serving.kinds.onnx_graph import GRAPH_FILE
from modelbuild.serving.model import read_instances
from modelbuild.serving.outputs import LabelOutput, NumberOutput


def matrix(records: Sequence[Mapping[str, JsonValue]], takes: RecordInput) -> npt.NDArray[np.object_]:
    """The records as scikit-learn takes them: one row each, and the fields as columns in their order.

    Args:
        records: the records, each with all fields.
        takes: the fields of a record.

    Raises:
        ConfigurationError: a record does not have the fields, or a field cannot be an input of an ONNX graph.
    """
    _require_names(takes)
    rows = [list(record.values()) for record in read_instances(takes, map(dict, records))]
    return np.array(rows, dtype=object)


def files(
    estimator: Any, *, takes: RecordInput, answers: LabelOutput | NumberOutput, parameters: Mapping[str, Any]
) -> dict[str, bytes]:
    """The files of the model's archive, by name, of a fitted estimator or pipeline.

    Columns are selected by their number, since the estimator was fitted on :func:`matrix`.

    Args:
        estimator: a classifier or a regression that was fitted on the fields in their order.
        takes: the fields of a record.
        answers: a number, or the classes of a classifier in their order (``estimator.classes_``).
        parameters: what the model was trained with.

    Raises:
        ConfigurationError: the estimator cannot be written as ONNX.
        VerificationFailed: the graph does not fit the declared output.
    """
    labels = isinstance(answers, LabelOutput)
    try:
        # Without zipmap the probabilities are a matrix, and not a list of dictionaries.
        graph = skl2onnx.convert_sklearn(
            estimator, initial_types=_graph_inputs(takes), options={"zipmap": False} if labels else None
        )
    except Exception as error:
        # skl2onnx raises classes of its own, ValueError and RuntimeError.
        raise ConfigurationError(
            f"skl2onnx cannot write {type(estimator).__name__} as ONNX ({_first_line(error)}): use another "
            "estimator, see its list of supported ones"
        ) from error
    return package(
        kind="onnx",
        takes=takes,
        answers=answers,
        options={"output": graph.graph.output[-1].name},
        files={GRAPH_FILE: graph.SerializeToString()},
        parameters=parameters,
    )


def _require_names(takes: RecordInput) -> None:
    """Refuse names that skl2onnx would change: in records with texts, each field is an input of the graph."""
    if all(field.type == "number" for field in takes.fields):
        return
    for field in takes.fields:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", field.name):
            raise ConfigurationError(
                f"the field {field.name!r} cannot be an input of an ONNX graph: where a record has texts, "
                "name its fields with letters of ASCII, digits and _"
            )


def _graph_inputs(takes: RecordInput) -> list[tuple[str, Any]]:
    """One matrix where all fields are numbers, as every estimator takes it; else a column for each field."""
    if all(field.type == "number" for field in takes.fields):
        return [("record", FloatTensorType([None, len(takes.fields)]))]
    columns = {"number": FloatTensorType, "text": StringTensorType}
    return [(field.name, columns[field.type]([None, 1])) for field in takes.fields]


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:200]
