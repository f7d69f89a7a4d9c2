"""The graph of a fine-tuned model."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from modelbuild.flow.models.transformer import export


def test_recorded_shapes_take_no_part_in_quantization() -> None:
    """The onnxruntime of Python 3.10 transposes weights and leaves the shape that the exporter recorded for
    them; this graph has one that no version can agree with.
    """
    weights = np.arange(96, dtype=np.float32).reshape(3, 32)
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "weights"], [export.OUTPUT], transB=1)],
        "classifier",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 32])],
        [helper.make_tensor_value_info(export.OUTPUT, TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(weights, "weights")],
        value_info=[helper.make_tensor_value_info("weights", TensorProto.FLOAT, [5, 32])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    small = onnx.load_from_string(export.quantized(model.SerializeToString()))
    assert TensorProto.INT8 in {one.data_type for one in small.graph.initializer}
