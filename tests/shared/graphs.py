"""Small ONNX graphs and tokenizers, for tests that serve some."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

OPSET = 17


def graph(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    weights: Sequence[onnx.TensorProto] = (),
    opsets: Sequence[onnx.OperatorSetIdProto] = (),
) -> onnx.ModelProto:
    """A model of some nodes."""
    return helper.make_model(
        helper.make_graph(list(nodes), "test", list(inputs), list(outputs), list(weights)),
        opset_imports=[helper.make_opsetid("", OPSET), *opsets],
        ir_version=8,
    )


def floats(name: str, *shape: Any) -> onnx.ValueInfoProto:
    """An input or output of float32."""
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))


def weight(name: str, values: Any) -> onnx.TensorProto:
    """Weights of float32."""
    return numpy_helper.from_array(np.asarray(values, dtype=np.float32), name)


def linear(inputs: int = 3, outputs: int = 2) -> onnx.ModelProto:
    """``y = x · w`` with weights 0, 1, 2, … for vectors."""
    values = np.arange(inputs * outputs, dtype=np.float32).reshape(inputs, outputs)
    return graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [floats("x", "batch", inputs)],
        [floats("y", "batch", outputs)],
        [weight("w", values)],
    )


def text_classifier(vocabulary: int, labels: int) -> onnx.ModelProto:
    """Logits of a text: the masked sum of the rows of its tokens in a table of fixed random weights."""
    table = np.random.default_rng(1).normal(size=(vocabulary, labels)).astype(np.float32)
    tokens = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"])
        for name in ("input_ids", "attention_mask")
    ]
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["column"]),
        helper.make_node("Mul", ["rows", "column"], ["masked"]),
        helper.make_node("ReduceSum", ["masked", "middle"], ["logits"], keepdims=0),
    ]
    constants = [
        weight("table", table),
        helper.make_tensor("last", TensorProto.INT64, [1], [-1]),
        helper.make_tensor("middle", TensorProto.INT64, [1], [1]),
    ]
    return graph(nodes, tokens, [floats("logits", "batch", labels)], constants)


def tokenizer(words: Sequence[str], unknown: str = "[UNK]", **changes: Any) -> bytes:
    """The ``tokenizer.json`` of some words, with BERT's special tokens, and with changes of its parts."""
    vocabulary = {word: at for at, word in enumerate(("[PAD]", "[UNK]", "[CLS]", "[SEP]", *words))}
    made = Tokenizer(models.WordPiece(vocabulary, unk_token=unknown))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return json.dumps({**json.loads(made.to_str()), **changes}).encode()
