"""Kind ``onnx``: what its models answer."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, RuntimeException

import graphs
from modelbuild.errors import VerificationFailed
from modelbuild.flow.packaging import golden
from modelbuild.serving.inputs import RecordField, RecordInput, TensorInput, TextInput
from modelbuild.serving.model import Model, load
from modelbuild.serving.outputs import NumberOutput, VectorOutput
from onnx_models import FLAT, WORDS, files, text_model

TEXTS = st.lists(st.sampled_from(WORDS), min_size=1, max_size=40).map(" ".join)


@pytest.fixture(scope="module")
def classifier() -> Model:
    """A classifier of texts."""
    return text_model()


def test_the_library_for_texts_is_imported_for_models_of_texts_only() -> None:
    """It takes 9 MB of a server's memory."""
    code = "import sys, modelbuild.serving.kinds.onnx; print('tokenizers' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"


def test_a_vector_is_the_output_of_the_graph() -> None:
    """Each instance gets its row, also of more instances than one batch has."""
    model = load(files(graphs.linear()))
    assert model.predict_json([[1, 0, 0], [0, 1, 1]]) == [{"vector": [0.0, 1.0]}, {"vector": [6.0, 8.0]}]


def test_a_number_is_a_column_or_a_list() -> None:
    """A regression of one output column, with the dimension of the column or without."""
    assert load(files(graphs.linear(outputs=1), answers=NumberOutput())).predict_json([[1, 2, 3]]) == [
        {"value": 8.0}
    ]
    squeezed = graphs.graph(
        [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Squeeze", ["m", "one"], ["y"])],
        [graphs.floats("x", "batch", 3)],
        [graphs.floats("y", "batch")],
        [graphs.weight("w", [[0], [1], [2]]), helper.make_tensor("one", TensorProto.INT64, [1], [1])],
    )
    assert load(files(squeezed, answers=NumberOutput())).predict_json([[1, 2, 3]]) == [{"value": 8.0}]


def test_a_text_is_tokens_and_its_answer_probabilities(classifier: Model) -> None:
    """The most probable label, with scores that sum to 1."""
    (answer,) = classifier.predict_json(["A very good day"])
    assert answer["label"] == max(answer["scores"], key=answer["scores"].__getitem__)
    assert sum(answer["scores"].values()) == pytest.approx(1)


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=40).map(" ".join), min_size=1, max_size=8)
)
def test_a_text_gets_the_same_answer_in_any_company(classifier: Model, texts: list[str]) -> None:
    """Texts of other lengths in the same request do not change an answer, nor the order of the answers."""
    together = classifier.predict_json(texts)
    for text, answer in zip(texts, together, strict=True):
        (alone,) = classifier.predict_json([text])
        assert answer["scores"] == pytest.approx(alone["scores"], abs=1e-6)


def test_a_text_of_a_graph_without_mask_gets_the_same_answer_in_any_company() -> None:
    """A graph that takes only ``input_ids`` cannot tell what fills up a shorter text, so nothing does."""
    mean = graphs.graph(
        [
            helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
            helper.make_node("ReduceMean", ["rows"], ["y"], axes=[1], keepdims=0),
        ],
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "tokens"])],
        [graphs.floats("y", "batch", 1)],
        [graphs.weight("table", [[100 - token] for token in range(len(WORDS) + 4)])],
    )
    model = load(files(mean, TextInput(), NumberOutput(), graphs.tokenizer(WORDS)))
    texts = ["good", "good bad day very good", "day", "bad bad very"]
    assert model.predict_json(texts) == [answer for text in texts for answer in model.predict_json([text])]


def test_a_long_text_is_cut_at_max_tokens() -> None:
    """What comes after the last token has no part in the answer."""
    model = text_model(max_tokens=8)
    first, second = model.predict_json(["good " * 6 + "bad " * 100, "good " * 6])
    assert first == second


NO_MEMORY = [
    RuntimeException("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : ... Status Message: std::bad_alloc"),
    RuntimeException("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : ... Status Message: bad allocation"),
    Fail("[ONNXRuntimeError] : 1 : FAIL : ... Failed to allocate memory for requested buffer of size 4096"),
]


@pytest.mark.parametrize("error", NO_MEMORY)
def test_a_machine_without_memory_is_no_defect_of_the_model(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where onnxruntime gets no memory, to load or to run, Python's own error is raised."""

    def fail(*_: Any, **__: Any) -> Any:
        raise error

    model = load(files(graphs.linear()))
    monkeypatch.setattr(onnxruntime.InferenceSession, "run", fail)
    with pytest.raises(MemoryError):
        model.predict_json([[1, 0, 0]])
    with pytest.raises(MemoryError):
        load(files(graphs.linear()))
    monkeypatch.setattr(onnxruntime, "InferenceSession", fail)
    with pytest.raises(MemoryError):
        load(files(graphs.linear()))


def test_a_graph_that_needs_more_than_the_arena_has_no_answer() -> None:
    """That is the model's own, on any machine: no error of the machine's memory."""
    expand = graphs.graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["m"]),
            helper.make_node("Expand", ["m", "huge"], ["e"]),
            helper.make_node("ReduceMax", ["e"], ["y"], axes=[1], keepdims=0),
        ],
        [graphs.floats("x", "batch", 3)],
        [graphs.floats("y", "batch", 2)],
        [
            graphs.weight("w", [[0, 1], [1, 1], [2, 1]]),
            helper.make_tensor("huge", TensorProto.INT64, [3], [1 << 29, 1, 1]),
        ],
    )
    with pytest.raises(VerificationFailed, match=r"Available memory of \d+ is smaller than"):
        load(files(expand))


def test_many_long_texts_are_run_in_batches(classifier: Model) -> None:
    """1,000 texts of 10,000 characters are answered within the memory of the arena."""
    answers = classifier.predict_json(["good bad " * 1_111] * 200)
    assert len({answer["label"] for answer in answers}) == 1


def columns(*, rooms: int = TensorProto.FLOAT) -> onnx.ModelProto:
    """A regression with a column for each field: the area, and 10 for a district "north"."""
    nodes = [
        helper.make_node("LabelEncoder", ["district"], ["bonus"], domain="ai.onnx.ml", keys_strings=["north"],
                         values_floats=[10.0], default_float=0.0),
        helper.make_node("Cast", ["area"], ["float_area"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["float_area", "bonus"], ["y"]),
    ]  # fmt: skip
    inputs = [
        helper.make_tensor_value_info("area", rooms, ["batch", 1]),
        helper.make_tensor_value_info("district", TensorProto.STRING, ["batch", 1]),
    ]
    outputs = [graphs.floats("y", "batch", 1)]
    return graphs.graph(nodes, inputs, outputs, opsets=[helper.make_opsetid("ai.onnx.ml", 3)])


@pytest.mark.parametrize("dtype", [TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT64])
def test_a_record_is_a_column_for_each_field(dtype: int) -> None:
    """Numbers and texts of a table, as scikit-learn's models are exported."""
    model = load(files(columns(rooms=dtype), FLAT, NumberOutput()))
    records: list[Any] = [{"area": 70, "district": "north"}, {"district": "south", "area": 80}]
    assert model.predict_json(records) == [{"value": 80.0}, {"value": 80.0}]


@pytest.mark.parametrize("dtype", [TensorProto.INT32, TensorProto.INT64])
@pytest.mark.parametrize("area", [1e38, -1e38, 2.0**63, 2.0**31])
def test_a_number_beyond_the_whole_numbers_of_a_graph_has_an_answer(dtype: int, area: float) -> None:
    """A request with a large number is no error of the server: the graph gets the nearest number it takes."""
    model = load(files(columns(rooms=dtype), FLAT, NumberOutput()))
    limit = 2.0**31 if dtype == TensorProto.INT32 else 2.0**63
    (answer,) = model.predict_json([{"area": area, "district": "south"}])
    assert answer["value"] == pytest.approx(max(-limit, min(area, limit)))


@pytest.mark.parametrize("dtype", [TensorProto.DOUBLE, TensorProto.INT64])
def test_a_tensor_has_the_precision_of_its_graph(dtype: int) -> None:
    """A whole number beyond those of float32, such as an id, reaches a graph of doubles or whole numbers."""
    graph = graphs.graph(
        [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.DOUBLE)],
        [helper.make_tensor_value_info("x", dtype, ["batch", 1])],
        [helper.make_tensor_value_info("y", TensorProto.DOUBLE, ["batch", 1])],
    )
    model = load(files(graph, TensorInput(shape=(1,)), NumberOutput()))
    assert model.predict_json([[16777217]]) == [{"value": 16777217.0}]


@pytest.mark.parametrize(
    "nodes",
    [
        [helper.make_node("Log", ["x"], ["y"])],
        [helper.make_node("Reciprocal", ["x"], ["y"])],
        [
            helper.make_node("ReduceMean", ["x"], ["mean"], axes=[1]),
            helper.make_node("Sub", ["x", "mean"], ["centred"]),
            helper.make_node("ReduceL2", ["centred"], ["deviation"], axes=[1]),
            helper.make_node("Div", ["centred", "deviation"], ["y"]),
        ],
    ],
)
def test_a_graph_that_does_not_take_zeros_is_served(nodes: list[onnx.NodeProto]) -> None:
    """The example of an input has a logarithm, a quotient and a deviation, as what is measured mostly has."""
    shape = ("batch", 3)
    graph = graphs.graph(nodes, [graphs.floats("x", *shape)], [graphs.floats("y", *shape)])
    assert load(files(graph, answers=VectorOutput(length=3))).predict_json([[1, 2, 3]])


def test_a_record_of_numbers_can_be_one_matrix() -> None:
    """A graph with one input takes the fields in their order."""
    fields = RecordInput(fields=tuple(RecordField(name=name, type="number") for name in "cab"))
    model = load(files(graphs.linear(), fields))
    assert model.predict_json([{"a": 1, "b": 0, "c": 0}]) == [{"vector": [2.0, 3.0]}]


def test_rounding_by_the_range_of_a_batch_changes_no_answer() -> None:
    """A graph that rounds numbers by their range, as dynamic quantization does, answers each instance alone:
    a large number in another instance does not round small ones away.
    """
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
    ]
    inputs, outputs = [graphs.floats("x", "batch", 3)], [graphs.floats("y", "batch", 3)]
    model = load(files(graphs.graph(nodes, inputs, outputs), answers=VectorOutput(length=3)))
    small, large = model.predict_json([[0.1, 0.2, 0.3], [1000, 0, 0]])
    assert small["vector"] == pytest.approx([0.1, 0.2, 0.3], abs=0.001)
    assert large["vector"] == pytest.approx([1000, 0, 0], abs=1)


def test_a_double_beyond_float32_is_a_weight() -> None:
    """A weight is finite in its own type: 1e300 is, as the bound of a double."""
    bound = onnx.numpy_helper.from_array(np.array([1e300]), "bound")
    nodes = [
        helper.make_node("Cast", ["x"], ["wide"], to=TensorProto.DOUBLE),
        helper.make_node("Min", ["wide", "bound"], ["y"]),
    ]
    outputs = [helper.make_tensor_value_info("y", TensorProto.DOUBLE, ["batch", 3])]
    graph = graphs.graph(nodes, [graphs.floats("x", "batch", 3)], outputs, [bound])
    assert load(files(graph, answers=VectorOutput(length=3))).predict_json([[1, 2, 3]]) == [
        {"vector": [1.0, 2.0, 3.0]}
    ]


def test_a_machine_without_memory_for_weights_is_no_defect_of_the_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where the weights cannot be read for lack of memory, Python's own error is raised."""

    def fail(_: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(onnx.numpy_helper, "to_array", fail)
    with pytest.raises(MemoryError):
        files(graphs.linear())


def test_a_dropout_that_is_switched_off_is_served() -> None:
    """A graph may say that its Dropout is not in training."""
    nodes = [
        helper.make_node("Dropout", ["x", "ratio", "off"], ["d"]),
        helper.make_node("MatMul", ["d", "w"], ["y"]),
    ]
    weights = [
        graphs.weight("w", [[0, 1], [1, 1], [2, 1]]),
        graphs.weight("ratio", 0.5),
        helper.make_tensor("off", TensorProto.BOOL, [], [False]),
    ]
    graph = graphs.graph(nodes, [graphs.floats("x", "batch", 3)], [graphs.floats("y", "batch", 2)], weights)
    assert load(files(graph)).predict_json([[1, 0, 0]]) == [{"vector": [0.0, 1.0]}]


def test_golden_predictions_have_the_tolerance_of_the_kind(classifier: Model) -> None:
    """The instances that the server refuses are not among them."""
    found = golden(classifier, ["good", " ", "bad day"])
    assert [(one.input, one.tolerance) for one in found] == [("good", 1e-3), ("bad day", 1e-3)]
