"""Kind ``onnx``: which graphs are served, and what they answer."""

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
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

import graphs
from modelbuild.errors import ConfigurationError, ModelbuildError, VerificationFailed
from modelbuild.flow.packaging import golden, package
from modelbuild.serving.inputs import Input, RecordField, RecordInput, TensorInput, TextInput
from modelbuild.serving.model import Model, load
from modelbuild.serving.outputs import LabelOutput, NumberOutput, Output, VectorOutput

WORDS = ("good", "bad", "day", "very")
LABELS = ("negative", "neutral", "positive")
VECTOR = TensorInput(shape=(3,))
TEXTS = st.lists(st.sampled_from(WORDS), min_size=1, max_size=40).map(" ".join)


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


@pytest.fixture(scope="module")
def classifier() -> Model:
    """A classifier of texts."""
    return text_model()


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


def test_a_long_text_is_cut_at_max_tokens() -> None:
    """What comes after the last token has no part in the answer."""
    model = text_model(max_tokens=8)
    first, second = model.predict_json(["good " * 6 + "bad " * 100, "good " * 6])
    assert first == second


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


FLAT = RecordInput(
    fields=(RecordField(name="area", type="number"), RecordField(name="district", type="text"))
)


@pytest.mark.parametrize("dtype", [TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT64])
def test_a_record_is_a_column_for_each_field(dtype: int) -> None:
    """Numbers and texts of a table, as scikit-learn's models are exported."""
    model = load(files(columns(rooms=dtype), FLAT, NumberOutput()))
    records: list[Any] = [{"area": 70, "district": "north"}, {"district": "south", "area": 80}]
    assert model.predict_json(records) == [{"value": 80.0}, {"value": 80.0}]


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


def test_golden_predictions_have_the_tolerance_of_the_kind(classifier: Model) -> None:
    """The instances that the server refuses are not among them."""
    found = golden(classifier, ["good", " ", "bad day"])
    assert [(one.input, one.tolerance) for one in found] == [("good", 1e-3), ("bad day", 1e-3)]


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


def bomb() -> onnx.ModelProto:
    """A graph of some bytes that takes 40 GB when it is run."""
    made = graphs.linear()
    made.graph.node[0].output[0] = "m"
    made.graph.initializer.append(helper.make_tensor("huge", TensorProto.INT64, [1], [10**10]))
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
        (bomb(), "cannot answer"),
        (with_dimension(10**12), "do not fit the numbers that are there: export the model again"),
        (with_dimension(-3), "onnxruntime cannot load model.onnx: "),
        (changed(lambda made: setattr(made.opset_import[0], "version", 99)), "onnxruntime cannot load"),
        (changed(lambda made: setattr(made, "ir_version", 99)), "onnxruntime cannot load model.onnx: "),
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


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "tokenizer.json is not a tokenizer"),
        (b"{}", "tokenizer.json is not a tokenizer"),
        (b"[" * 100_000, "tokenizer.json is not a tokenizer"),
        (pickle.dumps(Loader()), "tokenizer.json is not a tokenizer"),
        (
            b'{"version": "1.0", "model": {"type": "Evil"}}',
            "tokenizer.json is not a tokenizer",
        ),
    ],
)
def test_a_broken_tokenizer_is_refused(content: bytes, message: str) -> None:
    """A tokenizer that the library cannot read is a sentence."""
    graph = graphs.text_classifier(len(WORDS) + 4, len(LABELS))
    with pytest.raises(ConfigurationError, match=message):
        files(graph, TextInput(), LabelOutput(labels=LABELS), content or b" ", output="logits")


def test_a_tokenizer_of_another_model_is_refused() -> None:
    """Token ids beyond the table of the graph are found when the model is loaded."""
    graph = graphs.text_classifier(2, len(LABELS))
    with pytest.raises(VerificationFailed, match="cannot answer"):
        files(graph, TextInput(), LabelOutput(labels=LABELS), graphs.tokenizer(WORDS), output="logits")


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


def test_nothing_beside_the_graph_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights in a file of the working directory are not found, even where it is there."""
    (tmp_path / "weights.bin").write_bytes(np.zeros((3, 2), np.float32).tobytes())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(VerificationFailed, match="in another file"):
        files(external("weights.bin"))
