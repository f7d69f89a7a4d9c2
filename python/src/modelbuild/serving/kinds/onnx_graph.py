"""Which ONNX graphs are run: read with the library ``onnx`` before onnxruntime sees them.

onnxruntime itself refuses most graphs that are broken. This module refuses what onnxruntime would run: loops
without end, weights in other files, operators of other libraries, operators in the mode of training, and
weights that are infinite or NaN.
"""

from __future__ import annotations

from collections.abc import Iterator, Set

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto

from modelbuild.errors import ConfigurationError, VerificationFailed

GRAPH_FILE = "model.onnx"

DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})
"""The operators of ONNX itself, those for classical models, and those that onnxruntime brings."""

REFUSED_OPERATORS = {
    "Loop": "it can run without end",
    "Scan": "it can run without end",
    "RandomNormal": "its answers cannot be repeated",
    "RandomNormalLike": "its answers cannot be repeated",
    "RandomUniform": "its answers cannot be repeated",
    "RandomUniformLike": "its answers cannot be repeated",
    "Multinomial": "its answers cannot be repeated",
    "Bernoulli": "its answers cannot be repeated",
    "PythonOp": "it calls Python",
    "PyOp": "it calls Python",
}

_FLOATS = {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16}


def read_safe(content: bytes) -> ModelProto:
    """The graph, checked before onnxruntime loads it.

    Raises:
        ConfigurationError: the bytes are no ONNX model.
        VerificationFailed: the graph needs something that is not run, or has weights that are no numbers.
    """
    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:
        # Protobuf raises a class of its own.
        raise ConfigurationError(
            f"{GRAPH_FILE} is not an ONNX model: export the model to ONNX and save the bytes of that file"
        ) from error
    if not model.HasField("graph") or not model.graph.node:
        raise ConfigurationError(f"{GRAPH_FILE} is not an ONNX model: it has no graph with nodes")
    for domain in sorted({opset.domain for opset in model.opset_import} - DOMAINS):
        raise VerificationFailed(
            f"{GRAPH_FILE} needs the operators of {domain[:100]!r}: export it with those of ONNX and "
            "onnxruntime alone"
        )
    off = _false_constants(model)
    for node in _nodes(model):
        _require_node(node)
        _require_inference(node, off)
    for tensor in _tensors(model):
        _require_tensor(tensor)
    return model


def rounds_by_batch(model: ModelProto) -> bool:
    """Whether the graph rounds numbers by the range that they have in the whole batch, as int8 does that is
    quantized dynamically: the answer to an instance then depends on the others.
    """
    return any(node.op_type.startswith("DynamicQuantize") for node in _nodes(model))


def _require_node(node: NodeProto) -> None:
    if node.domain not in DOMAINS:
        raise VerificationFailed(
            f"{GRAPH_FILE} has the operator {node.op_type[:100]!r} of {node.domain[:100]!r}: export it with "
            "those of ONNX and onnxruntime alone"
        )
    if reason := REFUSED_OPERATORS.get(node.op_type):
        raise VerificationFailed(
            f"{GRAPH_FILE} has the operator {node.op_type}, which is not served because {reason}: export the "
            "model without it"
        )


def _require_inference(node: NodeProto, off: Set[str]) -> None:
    """Refuse a node that does what it does in training: drop at random, or scale by the mean of a batch."""
    trains = any(attribute.name == "training_mode" and attribute.i for attribute in node.attribute)
    # The third input of Dropout is whether it is in training.
    if node.op_type == "Dropout" and len(node.input) > 2 and node.input[2]:
        trains = node.input[2] not in off
    if trains:
        raise VerificationFailed(
            f"{GRAPH_FILE} has the operator {node.op_type} in the mode of training, in which its answers are "
            "random or depend on other instances: export the model for inference, in PyTorch after "
            "model.eval()"
        )


def _false_constants(model: ModelProto) -> set[str]:
    """The names of the constants that are false."""
    named = [(tensor.name, tensor) for graph in _graphs(model) for tensor in graph.initializer]
    for node in _nodes(model):
        if node.op_type == "Constant":
            named += [(node.output[0], one.t) for one in node.attribute if one.name == "value"]
    return {name for name, tensor in named if _is_false(tensor)}


def _is_false(tensor: TensorProto) -> bool:
    return tensor.data_type == TensorProto.BOOL and not any(tensor.raw_data) and not any(tensor.int32_data)


def _require_tensor(tensor: TensorProto) -> None:
    if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
        raise VerificationFailed(
            f"{GRAPH_FILE} keeps the weights {tensor.name[:100]!r} in another file: export the model into "
            "one file"
        )
    if tensor.data_type not in _FLOATS:
        return
    try:
        values = onnx.numpy_helper.to_array(tensor)
        finite = bool(np.isfinite(values).all())
    except (ValueError, TypeError, OverflowError) as error:
        raise VerificationFailed(
            f"{GRAPH_FILE} has the weights {tensor.name[:100]!r} of shape {list(tensor.dims)}, which do not "
            "fit the numbers that are there: export the model again"
        ) from error
    if not finite and tensor.name:
        raise VerificationFailed(
            f"{GRAPH_FILE} has weights {tensor.name[:100]!r} that are infinite or NaN: the training "
            "diverged, so lower its learning rate and train again; or, where they are a mask, export it with "
            "the lowest finite number in place of infinity"
        )


def _graphs(model: ModelProto) -> Iterator[GraphProto]:
    """The graph, and those within its nodes and within the nodes of its functions."""
    waiting = [model.graph, *(graph for function in model.functions for graph in _within(function.node))]
    while waiting:
        graph = waiting.pop()
        yield graph
        waiting += _within(graph.node)


def _within(nodes: Iterator[NodeProto]) -> list[GraphProto]:
    attributes = [attribute for node in nodes for attribute in node.attribute]
    return [
        graph
        for attribute in attributes
        for graph in ([attribute.g] if attribute.type == AttributeProto.GRAPH else attribute.graphs)
    ]


def _nodes(model: ModelProto) -> Iterator[NodeProto]:
    for function in model.functions:
        yield from function.node
    for graph in _graphs(model):
        yield from graph.node


def _tensors(model: ModelProto) -> Iterator[TensorProto]:
    for graph in _graphs(model):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
    for node in _nodes(model):
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for sparse in [attribute.sparse_tensor, *attribute.sparse_tensors]:
                yield from (sparse.values, sparse.indices)
