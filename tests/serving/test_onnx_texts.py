"""Kind ``onnx``: which tokenizers and graphs of texts are refused when they are loaded."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import pytest
from onnx import TensorProto, helper

import graphs
from modelbuild.errors import ConfigurationError, VerificationFailed
from modelbuild.serving.inputs import TextInput
from modelbuild.serving.outputs import LabelOutput, NumberOutput
from onnx_models import LABELS, WORDS, files


class Loader:
    """Fails the test where it is unpickled."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return pytest.fail, ("unpickled",)


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
        (
            graphs.tokenizer(WORDS, normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA"}),
            "tokenizer.json is not a tokenizer",
        ),
        (
            graphs.tokenizer((*WORDS, "an", "example", "."), unknown="[MISSING]"),
            r"cannot encode a text with an unknown word \(WordPiece error",
        ),
    ],
)
def test_a_broken_tokenizer_is_refused(content: bytes, message: str) -> None:
    """A tokenizer that the library cannot read, or that does not take every text, is a sentence."""
    graph = graphs.text_classifier(len(WORDS) + 4, len(LABELS))
    with pytest.raises(ConfigurationError, match=message):
        files(graph, TextInput(), LabelOutput(labels=LABELS), content or b" ", output="logits")


def test_a_tokenizer_of_another_model_is_refused() -> None:
    """Token ids beyond the table of the graph are found when the model is loaded."""
    graph = graphs.text_classifier(2, len(LABELS))
    with pytest.raises(VerificationFailed, match="cannot answer"):
        files(graph, TextInput(), LabelOutput(labels=LABELS), graphs.tokenizer(WORDS), output="logits")
    # The example of the input has none of the last tokens.
    graph = graphs.text_classifier(len(WORDS), len(LABELS))
    with pytest.raises(VerificationFailed, match="with the last one of the vocabulary"):
        files(graph, TextInput(), LabelOutput(labels=LABELS), graphs.tokenizer(WORDS), output="logits")


def test_a_graph_that_does_not_take_the_longest_text_is_refused() -> None:
    """A model of fewer positions than ``max_tokens`` answers the short example, and no long text."""
    table = graphs.weight("table", [[float(token)] for token in range(len(WORDS) + 4)])
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
        helper.make_node("Shape", ["input_ids"], ["shape"]),
        helper.make_node("Slice", ["shape", "one", "two"], ["tokens"]),
        helper.make_node("Slice", ["positions", "zero", "tokens", "zero"], ["offsets"]),
        helper.make_node("Add", ["rows", "offsets"], ["moved"]),
        helper.make_node("ReduceMean", ["moved"], ["y"], axes=[1], keepdims=0),
    ]
    numbers = [
        helper.make_tensor(name, TensorProto.INT64, [1], [value])
        for name, value in (("zero", 0), ("one", 1), ("two", 2))
    ]
    graph = graphs.graph(
        nodes,
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "tokens"])],
        [graphs.floats("y", "batch", 1)],
        [table, graphs.weight("positions", [[float(place)] for place in range(128)]), *numbers],
    )
    made = (graph, TextInput(), NumberOutput(), graphs.tokenizer(WORDS))
    assert files(*made, max_tokens=128)
    with pytest.raises(VerificationFailed, match=r"a text of 256 tokens.*lower option max_tokens"):
        files(*made)
