"""Kind ``onnx``: an ONNX graph that onnxruntime runs on the CPU; for texts with a tokenizer."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import onnxruntime
from pydantic import Field, StringConstraints

from modelbuild.contract import DESCRIPTION_FILE, Record
from modelbuild.errors import ConfigurationError, VerificationFailed
from modelbuild.serving.description import ModelDescription
from modelbuild.serving.inputs import RecordInput, TensorInput, TextInput
from modelbuild.serving.kinds import read_file, read_options
from modelbuild.serving.kinds.onnx_feeds import Feeds, RecordFeeds, TensorFeeds, TextFeeds
from modelbuild.serving.kinds.onnx_graph import GRAPH_FILE, read_safe, rounds_by_batch
from modelbuild.serving.outputs import Answer, LabelOutput, NumberOutput, Output, VectorOutput

NAME = "onnx"
TOKENIZER_FILE = "tokenizer.json"
ACTIVATION_BYTES = 1 << 30
"""How much memory onnxruntime may take beside the weights; a graph that needs more gets no answer."""
# onnxruntime's messages if the machine has no memory; it has another one if ACTIVATION_BYTES are too few.
_NO_MEMORY = re.compile(r"std::bad_alloc|bad allocation|Failed to allocate memory")

Floats: TypeAlias = npt.NDArray[np.float64]


class OnnxOptions(Record):
    """The options of this kind in ``model.json``."""

    output: Annotated[str, StringConstraints(min_length=1)]
    """The output of the graph that is the answer: float, one row for each instance."""
    activation: Literal["none", "softmax"] = "none"
    """``softmax`` makes probabilities of the logits of a model with labels."""
    max_tokens: int = Field(default=256, ge=8, le=8192)
    """Where the tokenizer cuts a text."""


@dataclass(frozen=True)
class OnnxModel:
    """A session of onnxruntime, with what makes its input and reads its output.

    Attributes:
        alone: whether each instance is run alone, because its answer would depend on the others of a batch.
    """

    session: onnxruntime.InferenceSession
    feeds: Feeds
    output: Output
    options: OnnxOptions
    alone: bool

    def predict(self, instances: Sequence[Any]) -> list[Answer]:
        """An answer for each instance. As many are run at once as :class:`Feeds` puts into one batch.

        Raises:
            MemoryError: the machine has not enough memory.
        """
        if self.alone:
            return [answer for instance in instances for answer in self._predict([instance])]
        return self._predict(instances)

    def _predict(self, instances: Sequence[Any]) -> list[Answer]:
        answers: list[Answer | None] = [None] * len(instances)
        for indices, feed in self.feeds.batches(instances):
            for index, answer in zip(
                indices, _answers(self.output, self.run(feed, len(indices))), strict=True
            ):
                answers[index] = answer
        return [answer for answer in answers if answer is not None]

    def run(self, feed: Mapping[str, npt.NDArray[Any]], rows: int) -> Floats:
        """The output of the graph in float64, one row for each instance."""
        with _memory_errors():
            found = np.asarray(self.session.run([self.options.output], dict(feed))[0])
        columns = _columns(self.output)
        if found.shape not in {(rows, columns)} | ({(rows,)} if columns == 1 else set()):
            raise VerificationFailed(
                f"output {self.options.output!r} of {GRAPH_FILE} has shape {list(found.shape)} for {rows} "
                f"instances; it must be [{rows}, {columns}], with the dimension of the batch first"
            )
        table = found.reshape(rows, columns).astype(np.float64)
        if self.options.activation == "none":
            return table
        powers = np.exp(table - table.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))


class Onnx:
    """Reads the models of this kind."""

    # Another CPU has other instructions, and so adds up in another order.
    tolerance = 1e-3

    def load(self, description: ModelDescription, files: Mapping[str, bytes]) -> OnnxModel:
        """The model of a graph, and of a tokenizer where the input is a text.

        Raises:
            ConfigurationError: a file cannot be read as what it should be, or an option is missing or wrong.
            VerificationFailed: the graph does not fit the description, or needs something that is not run.
            MemoryError: the machine has not enough memory.
        """
        options = read_options(description, OnnxOptions)
        if options.activation == "softmax" and not isinstance(description.output, LabelOutput):
            raise ConfigurationError(
                f"{DESCRIPTION_FILE} has the activation softmax for an output of type "
                f"{description.output.type}: it is for output label"
            )
        content = read_file(files, GRAPH_FILE)
        # The parsed graph is released before onnxruntime makes its own.
        alone = rounds_by_batch(read_safe(content))
        session = _session(content)
        _require_output(session, options.output)
        feeds = _feeds(description, options, files, session)
        model = OnnxModel(session, feeds, description.output, options, alone)
        _require_batches(model, description)
        if isinstance(feeds, TextFeeds):
            _require_longest(model, feeds)
        _require_independence(model, description, self.tolerance)
        return model


KIND = Onnx()


def _session(content: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    # Threads that wait in a loop would take the CPU from the event loop.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # The memory of activations comes from the bounded arena; the weights have their own.
    memory = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    onnxruntime.create_and_register_allocator(memory, onnxruntime.OrtArenaCfg(ACTIVATION_BYTES, -1, -1, -1))
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
    try:
        with _memory_errors():
            return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except MemoryError:
        raise
    except Exception as error:
        # onnxruntime raises a class of its own for each of its status codes, which have no common base.
        raise VerificationFailed(f"onnxruntime cannot load {GRAPH_FILE}: {_reason(error)}") from error


def _require_output(session: onnxruntime.InferenceSession, name: str) -> None:
    outputs = {output.name: output.type for output in session.get_outputs()}
    if name not in outputs:
        raise VerificationFailed(
            f"{GRAPH_FILE} has no output {name!r}: its outputs are {', '.join(sorted(outputs))[:300]}; name "
            "one of them as option output"
        )
    if outputs[name] not in ("tensor(float)", "tensor(double)", "tensor(float16)"):
        fix = ": export the classifier with option zipmap off" if outputs[name].startswith("seq(map(") else ""
        raise VerificationFailed(
            f"output {name!r} of {GRAPH_FILE} is of type {outputs[name]}; it must be a tensor of floats{fix}"
        )


def _feeds(
    description: ModelDescription,
    options: OnnxOptions,
    files: Mapping[str, bytes],
    session: onnxruntime.InferenceSession,
) -> Feeds:
    inputs = {one.name: (one.type, one.shape) for one in session.get_inputs()}
    declared = description.input
    if isinstance(declared, TextInput):
        return TextFeeds(read_file(files, TOKENIZER_FILE), options.max_tokens, inputs)
    if isinstance(declared, RecordInput):
        return RecordFeeds(declared, inputs)
    assert isinstance(declared, TensorInput)
    return TensorFeeds(declared, inputs)


def _require_batches(model: OnnxModel, description: ModelDescription) -> None:
    """Two instances at once must be answered, as one is."""
    instance = description.input.from_json(description.input.example())
    try:
        model.predict([instance, instance])
    except (VerificationFailed, MemoryError):
        raise
    except Exception as error:
        raise VerificationFailed(
            f"{GRAPH_FILE} cannot answer two instances at once: {_reason(error)}: export it with a first "
            "dimension of any size for its inputs and outputs"
        ) from error


def _require_longest(model: OnnxModel, feeds: TextFeeds) -> None:
    """The longest text must be answered, also where its tokens are the last ones of the vocabulary."""
    try:
        model.run(feeds.longest(), 1)
    except (VerificationFailed, MemoryError):
        raise
    except Exception as error:
        raise VerificationFailed(
            f"{GRAPH_FILE} cannot answer a text of {model.options.max_tokens:,} tokens, with the last one of "
            f"the vocabulary of {TOKENIZER_FILE}: {_reason(error)}: lower option max_tokens, or package the "
            "tokenizer that the model was trained with"
        ) from error


def _require_independence(model: OnnxModel, description: ModelDescription, tolerance: float) -> None:
    """Each of two different instances must be answered as it is alone."""
    declared = description.input
    pair = [declared.from_json(declared.example()), declared.from_json(declared.other_example())]
    try:
        alone = [answer for instance in pair for answer in model.predict([instance])]
        together = model.predict(pair)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 -- a model must answer the first example, and may refuse the other
        return
    if any(description.output.problem(answer) for answer in alone):
        # The loader of the model refuses it, and says what is wrong.
        return
    if not np.allclose(_numbers(alone), _numbers(together), rtol=tolerance, atol=tolerance):
        raise VerificationFailed(
            f"{GRAPH_FILE} answers an instance differently alone and beside another one: export it for "
            "inference, without operators that are random or that mix the instances of a batch"
        )


@contextmanager
def _memory_errors() -> Iterator[None]:
    """Raise ``MemoryError`` where the machine has no memory: onnxruntime raises classes of its own."""
    try:
        yield
    except Exception as error:
        if _NO_MEMORY.search(str(error)):
            raise MemoryError("onnxruntime gets no memory from the machine") from error
        raise


def _reason(error: Exception) -> str:
    """What onnxruntime says, without the code of its status and in one line."""
    message = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", str(error))
    return " ".join(message.split())[:300]


def _columns(output: Output) -> int:
    if isinstance(output, LabelOutput):
        return len(output.labels)
    return output.length if isinstance(output, VectorOutput) else 1


def _answers(output: Output, table: Floats) -> Iterator[Answer]:
    if isinstance(output, LabelOutput):
        for best, row in zip(table.argmax(axis=1).tolist(), table.tolist(), strict=True):
            yield {"label": output.labels[best], "scores": dict(zip(output.labels, row, strict=True))}
    elif isinstance(output, NumberOutput):
        for value in table[:, 0].tolist():
            yield {"value": value}
    else:
        for row in table.tolist():
            yield {"vector": row}


def _numbers(answers: Sequence[Answer]) -> Floats:
    """The numbers of some answers, which :func:`_answers` made."""
    return np.array([list(one["scores"].values()) if "scores" in one else [*one.values()] for one in answers])
