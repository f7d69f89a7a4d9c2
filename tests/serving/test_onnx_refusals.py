"""Kind ``onnx``: which graphs and descriptions are refused."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import graphs
from modelbuild.errors import ModelbuildError, VerificationFailed
from modelbuild.serving.inputs import Input, TextInput
from modelbuild.serving.outputs import LabelOutput, NumberOutput, Output, VectorOutput
from onnx_models import FLAT, VECTOR, WORDS, files


class Loader:
    """Loads whatever is written to a file as it is unpickled: a model that does so runs this."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return _explode, ("unpickled",)


def _explode(reason: str) -> None:
    raise AssertionError(reason)


def node(kind: str, **attributes: Any) -> onnx.ModelProto:
    """A graph with one node of an operator between input and output."""
    made = graphs.linear()
    made.graph.node[0].output[0] = "m"
    made.graph.node.append(helper.make_node(kind, ["m"], ["y"], **attributes))
    return made


def external(location: str) -> onnx.ModelProto:
    """A graph whose weights are in another file."""
    made = graphs.linear()
    tensor = made.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return made


def loop() -> onnx.ModelProto:
    """A graph with a loop that never ends."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go_on"], ["still"]),
            helper.make_node("Identity", ["value"], ["next"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("number", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            graphs.floats("value", "batch", 2),
        ],
        [
            helper.make_tensor_value_info("still", TensorProto.BOOL, []),
            graphs.floats("next", "batch", 2),
        ],
    )
    made = graphs.linear()
    made.graph.node[0].output[0] = "m"
    made.graph.initializer.append(helper.make_tensor("true", TensorProto.BOOL, [], [True]))
    made.graph.node.append(helper.make_node("Loop", ["", "true", "m"], ["y"], body=body))
    return made


def within_if(inner: onnx.ModelProto) -> onnx.ModelProto:
    """A graph that has the nodes of another one in a branch of an If."""
    branch = helper.make_graph(
        inner.graph.node, "branch", [], [graphs.floats("y", "batch", 2)], inner.graph.initializer
    )
    made = graphs.linear()
    made.graph.ClearField("node")
    made.graph.initializer.append(helper.make_tensor("true", TensorProto.BOOL, [], [True]))
    made.graph.node.append(helper.make_node("If", ["true"], ["y"], then_branch=branch, else_branch=branch))
    return made


def dropout() -> onnx.ModelProto:
    """A graph that sets numbers to zero at random."""
    made = node("Dropout")
    made.graph.initializer.extend(
        [graphs.weight("ratio", 0.5), helper.make_tensor("on", TensorProto.BOOL, [], [True])]
    )
    made.graph.node[-1].input.extend(["ratio", "on"])
    return made


def normalization() -> onnx.ModelProto:
    """A graph that scales by mean and variance of the batch."""
    made = node("BatchNormalization", training_mode=1)
    made.graph.initializer.extend([graphs.weight(name, [1, 1]) for name in ("s", "b", "m0", "v")])
    made.graph.node[-1].input.extend(["s", "b", "m0", "v"])
    made.graph.node[-1].output.extend(["mean", "variance"])
    return made


def bomb() -> onnx.ModelProto:
    """A graph of some bytes that takes 400 TB when it is run, more than the addresses of a process."""
    made = graphs.linear()
    made.graph.node[0].output[0] = "m"
    made.graph.initializer.append(helper.make_tensor("huge", TensorProto.INT64, [1], [10**14]))
    made.graph.node.extend(
        [
            helper.make_node("ConstantOfShape", ["huge"], ["zeros"]),
            helper.make_node("ReduceSum", ["zeros"], ["sum"], keepdims=0),
            helper.make_node("Add", ["m", "sum"], ["y"]),
        ]
    )
    return made


def changed(change: Callable[[onnx.ModelProto], Any]) -> onnx.ModelProto:
    """A linear graph with a change."""
    made = graphs.linear()
    change(made)
    return made


def with_dimension(size: int) -> onnx.ModelProto:
    """A linear graph whose weights say that they have another shape."""
    return changed(lambda made: made.graph.initializer[0].dims.__setitem__(0, size))


def with_weights(value: float) -> onnx.ModelProto:
    """A linear graph with one other weight."""
    values = graphs.weight("w", [[value, 0], [0, 0], [0, 0]])
    return changed(lambda made: made.graph.initializer[0].CopyFrom(values))


EVIL = helper.make_opsetid("evil", 1)


def zipped() -> bytes:
    """A zip file, as torch.save writes it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Loader()))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (b"", "model.onnx is not an ONNX model: it has no graph with nodes"),
        (b"<!doctype html><title>404</title>", "model.onnx is not an ONNX model"),
        (pickle.dumps(Loader()), "model.onnx is not an ONNX model"),
        (zipped(), "model.onnx is not an ONNX model"),
        (graphs.linear().SerializeToString()[:-30], "model.onnx is not an ONNX model"),
        (b"\x0a" * 100_000, "model.onnx is not an ONNX model"),
        (changed(lambda made: made.graph.ClearField("node")), "it has no graph with nodes"),
        (changed(lambda made: made.opset_import.append(EVIL)), "needs the operators of 'evil'"),
        (node("PyOp", domain="com.microsoft", module="os"), "has the operator PyOp, which is not served"),
        (node("Evil", domain="evil"), "has the operator 'Evil' of 'evil'"),
        (node("NoSuchOperator"), "onnxruntime cannot load model.onnx: "),
        (node("RandomUniformLike"), "not served because its answers cannot be repeated"),
        (external("/etc/passwd"), "keeps the weights 'w' in another file: export the model into one file"),
        (external("../../../etc/passwd"), "keeps the weights 'w' in another file"),
        (external("weights.bin"), "keeps the weights 'w' in another file"),
        (within_if(external("weights.bin")), "keeps the weights 'w' in another file"),
        (loop(), "has the operator Loop, which is not served because it can run without end"),
        (within_if(node("RandomNormalLike")), "has the operator RandomNormalLike"),
        (with_dimension(10**12), "do not fit the numbers that are there: export the model again"),
        (with_dimension(-3), "onnxruntime cannot load model.onnx: "),
        (changed(lambda made: setattr(made.opset_import[0], "version", 99)), "onnxruntime cannot load"),
        (changed(lambda made: setattr(made, "ir_version", 99)), "onnxruntime cannot load model.onnx: "),
        (dropout(), "has the operator Dropout in the mode of training"),
        (normalization(), "has the operator BatchNormalization in the mode of training"),
        (within_if(dropout()), "has the operator Dropout in the mode of training"),
        (node("Softmax", axis=0), "answers an instance differently alone and beside another one"),
        (with_weights(np.nan), "weights 'w' that are infinite or NaN: the training diverged"),
        (with_weights(-np.inf), "weights 'w' that are infinite or NaN: the training diverged"),
        (changed(lambda made: setattr(made.graph.output[0], "name", "z")), "onnxruntime cannot load"),
        (graphs.linear(inputs=4), "takes 'x' tensor(float) ['batch', 4]; the graph of a"),
        (graphs.linear(outputs=3), "has shape [2, 3] for 2 instances; it must be [2, 2]"),
        (
            changed(lambda made: made.graph.input[0].CopyFrom(graphs.floats("x", 1, 3))),
            "cannot answer two instances at once",
        ),
    ],
)  # fmt: skip
def test_a_broken_or_malicious_graph_is_refused_when_it_is_loaded(
    graph: onnx.ModelProto | bytes, message: str
) -> None:
    """One sentence says what is wrong; nothing is run, unpickled, or read from another file."""
    with pytest.raises(ModelbuildError) as refusal:
        files(graph)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 600


def test_a_graph_that_takes_too_much_memory_is_refused_when_it_is_loaded() -> None:
    """What it may take while it answers is bounded; the onnxruntime of Python 3.10 computes its constants
    before that, for which the machine has no memory.
    """
    with pytest.raises((VerificationFailed, MemoryError), match=r"cannot answer|no memory from the machine"):
        files(bomb())


@pytest.mark.parametrize(
    ("takes", "answers", "options", "message"),
    [
        (VECTOR, VectorOutput(length=2), {"output": "z"}, "has no output 'z': its outputs are y"),
        (VECTOR, VectorOutput(length=3), {}, "has shape [2, 2] for 2 instances; it must be [2, 3]"),
        (VECTOR, LabelOutput(labels=("a", "b", "c")), {}, "it must be [2, 3]"),
        (VECTOR, NumberOutput(), {}, "it must be [2, 1]"),
        (
            VECTOR,
            NumberOutput(),
            {"activation": "softmax"},
            "has the activation softmax for an output",
        ),
        (VECTOR, NumberOutput(), {"more": 1}, "has a wrong options.more for kind onnx"),
        (
            TextInput(),
            LabelOutput(labels=("a", "b")),
            {},
            "['batch', 3]; the graph of a text",
        ),
        (
            FLAT,
            VectorOutput(length=2),
            {},
            "the graph of a model with the fields area",
        ),
    ],
)
def test_a_description_that_does_not_fit_the_graph_is_refused(
    takes: Input, answers: Output, options: dict[str, Any], message: str
) -> None:
    """Inputs, outputs and options are held against the graph when the model is loaded."""
    with pytest.raises(ModelbuildError) as refusal:
        files(graphs.linear(), takes, answers, graphs.tokenizer(WORDS), **options)
    assert message in str(refusal.value)


def test_how_a_common_export_is_corrected_is_said() -> None:
    """scikit-learn's converter makes maps of probabilities, and a model of images may take bytes."""
    zipped = graphs.graph(
        [helper.make_node("ZipMap", ["x"], ["y"], domain="ai.onnx.ml", classlabels_strings=["a", "b", "c"])],
        [graphs.floats("x", "batch", 3)],
        [
            helper.make_value_info(
                "y",
                helper.make_sequence_type_proto(
                    helper.make_map_type_proto(
                        TensorProto.STRING, helper.make_tensor_type_proto(TensorProto.FLOAT, [])
                    )
                ),
            )
        ],
        opsets=[helper.make_opsetid("ai.onnx.ml", 3)],
    )
    with pytest.raises(
        VerificationFailed, match=r"must be a tensor of floats: export .* with option zipmap off"
    ):
        files(zipped, answers=LabelOutput(labels=("a", "b", "c")))
    image = graphs.graph(
        [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)],
        [helper.make_tensor_value_info("x", TensorProto.UINT8, ["batch", 3])],
        [graphs.floats("y", "batch", 3)],
    )
    with pytest.raises(
        VerificationFailed, match=r"of shape \[batch, 3\], which is tensor\(float\) or tensor"
    ):
        files(image, answers=VectorOutput(length=3))


def test_nothing_beside_the_graph_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights in a file of the working directory are not found, even where it is there."""
    (tmp_path / "weights.bin").write_bytes(np.zeros((3, 2), np.float32).tobytes())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(VerificationFailed, match="in another file"):
        files(external("weights.bin"))
