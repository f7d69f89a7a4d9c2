"""Models of kind ``onnx`` for tests: texts, vectors and records."""

from __future__ import annotations

from typing import Any

import onnx

import graphs
from modelbuild.flow.packaging import package
from modelbuild.serving.inputs import Input, RecordField, RecordInput, TensorInput, TextInput
from modelbuild.serving.model import Model, load
from modelbuild.serving.outputs import LabelOutput, Output, VectorOutput

WORDS = ("good", "bad", "day", "very")
LABELS = ("negative", "neutral", "positive")
VECTOR = TensorInput(shape=(3,))
FLAT = RecordInput(
    fields=(RecordField(name="area", type="number"), RecordField(name="district", type="text"))
)


def files(
    graph: onnx.ModelProto | bytes,
    takes: Input = VECTOR,
    answers: Output | None = None,
    tokenizer: bytes = b"",
    **options: Any,
) -> dict[str, bytes]:
    """The files of a model with this graph."""
    content = graph if isinstance(graph, bytes) else graph.SerializeToString()
    return package(
        kind="onnx",
        takes=takes,
        answers=answers or VectorOutput(length=2),
        options={"output": "y", **options},
        files={"model.onnx": content, **({"tokenizer.json": tokenizer} if tokenizer else {})},
        parameters={},
    )


def text_model(**options: Any) -> Model:
    """A classifier of texts."""
    return load(
        files(
            graphs.text_classifier(len(WORDS) + 4, len(LABELS)),
            TextInput(),
            LabelOutput(labels=LABELS),
            graphs.tokenizer(WORDS),
            output="logits",
            activation="softmax",
            **options,
        )
    )
