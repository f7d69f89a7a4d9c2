"""A fine-tuned model as an ONNX graph, which kind ``onnx`` of modelbuild.serving runs without torch."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from tokenizers import Tokenizer
from transformers import PreTrainedModel

from modelbuild.errors import ConfigurationError
from modelbuild.flow.models.transformer.batches import Encoded
from modelbuild.flow.packaging import package
from modelbuild.serving.inputs import TextInput
from modelbuild.serving.kinds import onnx as onnx_kind
from modelbuild.serving.kinds.onnx_graph import GRAPH_FILE
from modelbuild.serving.outputs import LabelOutput

OUTPUT = "logits"
"""The name of the graph's output, float32 of shape (batch, labels)."""

_INPUTS = ("input_ids", "attention_mask")
_LARGEST_BYTES = 2_000_000_000
"""A graph is one message of protobuf, which has at most 2 GiB."""


def to_onnx(model: PreTrainedModel) -> bytes:
    """The graph of a classifier of texts.

    Its inputs are ``input_ids`` and ``attention_mask``, int64 of shape (batch, tokens), where both dimensions
    have any size; the output is :data:`OUTPUT`.

    Raises:
        ConfigurationError: the model is larger than a graph can be.
    """
    size = sum(value.numel() * value.element_size() for value in model.parameters())
    if size > _LARGEST_BYTES:
        raise ConfigurationError(
            f"the model has {size:,} bytes of weights, but an ONNX graph can have {_LARGEST_BYTES:,}: "
            "choose a smaller pretrained model"
        )
    # Two texts of different lengths, so that neither dimension is 1, which the exporter would keep.
    example = Encoded(np.array([1, 2, 3, 1, 2], np.int64), np.array([0, 3, 5], np.int64))
    sizes = {0: "batch", 1: "tokens"}
    model.eval().to("cpu")
    with warnings.catch_warnings():
        # The exporter says that both inputs have one dimension "tokens", which is meant.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            model,
            kwargs=example.batch(np.array([0, 1]), torch.device("cpu")),
            input_names=list(_INPUTS),
            output_names=[OUTPUT],
            dynamic_shapes=dict.fromkeys(_INPUTS, sizes),
            verbose=False,
        )
    assert program is not None
    content: bytes = without_notes(program.model_proto).SerializeToString(deterministic=True)
    return content


def to_files(
    graph: bytes,
    tokenizer: Tokenizer,
    *,
    labels: Sequence[str],
    max_tokens: int,
    parameters: Mapping[str, Any],
) -> dict[str, bytes]:
    """The files of the model's archive, by name.

    Args:
        graph: what :func:`to_onnx` gave.
        tokenizer: what the model was trained with.
        labels: the label of each logit.
        max_tokens: a text is cut after so many tokens.
        parameters: what the model was trained with.

    Raises:
        ModelbuildError: the files are no model that can be served.
    """
    return package(
        kind=onnx_kind.NAME,
        takes=TextInput(),
        answers=LabelOutput(labels=tuple(labels)),
        options={"output": OUTPUT, "activation": "softmax", "max_tokens": max_tokens},
        files={GRAPH_FILE: graph, onnx_kind.TOKENIZER_FILE: tokenizer.to_str().encode()},
        parameters=parameters,
    )


def without_notes(graph: onnx.ModelProto) -> onnx.ModelProto:
    """The graph without the exporter's notes, which name files of this machine and take half a megabyte."""
    for part in (graph, graph.graph, *graph.graph.node, *graph.graph.value_info, *graph.graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    return graph


def quantized(graph: bytes) -> bytes:
    """The graph with weights of matrices and embeddings in int8: a quarter of the size.

    The inputs of matrices are rounded while the model answers, each by its own range, so no examples are
    needed. The flow has to measure what this costs in quality.
    """
    with TemporaryDirectory() as folder:
        full, small = Path(folder) / "model.onnx", Path(folder) / "model.int8.onnx"
        model = onnx.load_from_string(graph)
        # quantize_dynamic of onnxruntime 1.23, the newest for Python 3.10, transposes weights, then refuses
        # the shapes that the exporter recorded for them. It infers all shapes itself.
        model.graph.ClearField("value_info")
        onnx.save(model, full)
        quantize_dynamic(full, small, weight_type=QuantType.QInt8, per_channel=True)
        return small.read_bytes()
