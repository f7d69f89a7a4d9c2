"""What a graph is given: instances of each input type as tensors, in batches of bounded size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from modelbuild.errors import ConfigurationError, VerificationFailed
from modelbuild.serving.inputs import RecordInput, TensorInput
from modelbuild.serving.kinds.onnx_graph import GRAPH_FILE

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Batch: TypeAlias = tuple[Sequence[int], Mapping[str, npt.NDArray[Any]]]
"""Which instances are in a batch, and the tensors of the graph's inputs."""
GraphInputs: TypeAlias = Mapping[str, tuple[str, list[Any]]]
"""Type and shape of the graph's inputs by name, as onnxruntime tells them."""

BATCH_TOKENS = 4096
"""Tokens in a batch, those that fill up shorter texts included."""
BATCH_NUMBERS = 1 << 20
"""Numbers and texts in a batch of records or tensors."""

_RARE_LETTER = "\U00012000"
"""A letter of cuneiform, which hardly any vocabulary has."""

_TOKEN_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_NUMBERS = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
}


class Feeds(Protocol):
    """Makes the inputs of a graph."""

    def batches(self, instances: Sequence[Any]) -> Iterator[Batch]:
        """The instances in batches; each instance is in one of them."""
        ...


class TextFeeds:
    """Texts as token ids, mask and token types, each int64 of shape (texts, tokens).

    Zeros fill up a text that is shorter than others of its batch. A graph without ``attention_mask`` would
    take them for tokens, so it gets texts of one length in a batch.
    """

    def __init__(self, tokenizer: bytes, max_tokens: int, inputs: GraphInputs):
        if "input_ids" not in inputs or not inputs.keys() <= set(_TOKEN_INPUTS):
            raise VerificationFailed(
                f"{GRAPH_FILE} takes {_names(inputs)}; the graph of a text model takes input_ids, and "
                "attention_mask and token_type_ids where it needs them"
            )
        for name, (kind, shape) in inputs.items():
            if kind != "tensor(int64)" or len(shape) != 2:
                raise VerificationFailed(
                    f"input {name} of {GRAPH_FILE} is {kind} {shape}; it must be tensor(int64) with the "
                    "dimensions batch and tokens"
                )
        self._names = list(inputs)
        self._fills_up = "attention_mask" in inputs
        self._max_tokens = max_tokens
        self._tokenizer = _tokenizer(tokenizer)
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_tokens)

    def batches(self, instances: Sequence[str]) -> Iterator[Batch]:
        """The texts, those of similar length together, so that few tokens only fill up."""
        encodings = self._tokenizer.encode_batch(list(instances))
        lengths = [max(1, len(encoding.ids)) for encoding in encodings]
        order = sorted(range(len(instances)), key=lengths.__getitem__)
        start = 0
        while start < len(order):
            end = start + 1
            while (
                end < len(order)
                and (end + 1 - start) * lengths[order[end]] <= BATCH_TOKENS
                and (self._fills_up or lengths[order[end]] == lengths[order[start]])
            ):
                end += 1
            chosen = order[start:end]
            yield chosen, self._tensors([encodings[index] for index in chosen], lengths[chosen[-1]])
            start = end

    def longest(self) -> Mapping[str, npt.NDArray[np.int64]]:
        """A text of the most tokens, each the last one of the vocabulary."""
        last = max(self._tokenizer.get_vocab(with_added_tokens=False).values(), default=0)
        values = {"input_ids": last, "attention_mask": 1, "token_type_ids": 0}
        return {name: np.full((1, self._max_tokens), values[name], dtype=np.int64) for name in self._names}

    def _tensors(self, encodings: Sequence[Any], length: int) -> dict[str, npt.NDArray[np.int64]]:
        tensors = {name: np.zeros((len(encodings), length), dtype=np.int64) for name in self._names}
        for row, encoding in enumerate(encodings):
            parts = {
                "input_ids": encoding.ids,
                "attention_mask": encoding.attention_mask,
                "token_type_ids": encoding.type_ids,
            }
            for name, tensor in tensors.items():
                tensor[row, : len(encoding.ids)] = parts[name]
        return tensors


class RecordFeeds:
    """Records as one column for each field, or, where all are numbers, as one matrix."""

    def __init__(self, declared: RecordInput, inputs: GraphInputs):
        self._fields = declared.fields
        names = [field.name for field in declared.fields]
        self._dtypes: dict[str, Any] = {}
        self._matrix = ""
        if inputs.keys() == set(names):
            for field in declared.fields:
                kind, shape = inputs[field.name]
                expected = _NUMBERS if field.type == "number" else {"tensor(string)": object}
                if kind not in expected or len(shape) != 2:
                    raise VerificationFailed(
                        f"input {field.name!r} of {GRAPH_FILE} is {kind} {shape}; a field of type "
                        f"{field.type} needs {' or '.join(expected)} with the dimensions batch and 1"
                    )
                self._dtypes[field.name] = expected[kind]
            return
        only, (kind, shape) = next(iter(inputs.items()), ("", ("", [])))
        numbers = all(field.type == "number" for field in declared.fields)
        if len(inputs) != 1 or not numbers or kind not in _NUMBERS or shape[1:] != [len(names)]:
            raise VerificationFailed(
                f"{GRAPH_FILE} takes {_names(inputs)}; the graph of a model with the fields "
                f"{', '.join(names)[:200]} takes one input for each of them, or one of numbers with "
                f"{len(names)} columns"
            )
        self._matrix, self._dtypes[only] = only, _NUMBERS[kind]

    def batches(self, instances: Sequence[Mapping[str, float | str]]) -> Iterator[Batch]:
        """The records in their order."""
        for chosen in _slices(len(instances), BATCH_NUMBERS // len(self._fields)):
            rows = [instances[index] for index in chosen]
            if self._matrix:
                values: Any = [list(row.values()) for row in rows]
                yield chosen, {self._matrix: _as_type(values, self._dtypes[self._matrix])}
            else:
                yield (
                    chosen,
                    {
                        name: _as_type([[row[name]] for row in rows], dtype)
                        for name, dtype in self._dtypes.items()
                    },
                )


class TensorFeeds:
    """Tensors, with a dimension for the batch in front."""

    def __init__(self, declared: TensorInput, inputs: GraphInputs):
        name, (kind, shape) = next(iter(inputs.items()), ("", ("", [])))
        fits = len(shape) == len(declared.shape) + 1 and all(
            not isinstance(found, int) or found == size
            for found, size in zip(shape[1:], declared.shape, strict=False)
        )
        if len(inputs) != 1 or kind not in _NUMBERS or not fits:
            raise VerificationFailed(
                f"{GRAPH_FILE} takes {_names(inputs)}; the graph of a model of tensors takes one input of "
                f"shape [batch, {', '.join(map(str, declared.shape))}], which is {' or '.join(_NUMBERS)}"
            )
        self._name, self._dtype, self._numbers = name, _NUMBERS[kind], int(np.prod(declared.shape))

    def batches(self, instances: Sequence[npt.NDArray[np.float64]]) -> Iterator[Batch]:
        """The tensors in their order."""
        for chosen in _slices(len(instances), BATCH_NUMBERS // self._numbers):
            stacked = np.stack([instances[index] for index in chosen])
            yield chosen, {self._name: _as_type(stacked, self._dtype)}


def _as_type(values: Any, dtype: Any) -> npt.NDArray[Any]:
    """Values as a graph takes them. A number beyond the range of a whole-number type becomes the nearest one
    in it.
    """
    if not np.issubdtype(dtype, np.integer):
        return np.asarray(values, dtype=dtype)
    lowest, highest = float(np.iinfo(dtype).min), float(np.iinfo(dtype).max)
    if int(highest) > np.iinfo(dtype).max:
        # The largest whole number of 64 bits has no float of its own.
        highest = float(np.nextafter(highest, 0))
    return np.clip(np.asarray(values, dtype=np.float64), lowest, highest).astype(dtype)


def _slices(count: int, size: int) -> Iterator[range]:
    size = max(1, size)
    return (range(start, min(count, start + size)) for start in range(0, count, size))


def _tokenizer(content: bytes) -> Tokenizer:
    # Imported only here: models of records and tensors do not need its 9 MB.
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_buffer(content)
    except (KeyboardInterrupt, MemoryError):
        raise
    except BaseException as error:
        # The library raises plain Exception, or for some files a panic, which is none.
        raise ConfigurationError(
            f"tokenizer.json is not a tokenizer of the library tokenizers: {str(error)[:200]}"
        ) from error
    try:
        tokenizer.encode(_RARE_LETTER)
    except Exception as error:
        raise ConfigurationError(
            f"tokenizer.json cannot encode a text with an unknown word ({str(error)[:200]}): give its model "
            "an unknown token that is in the vocabulary"
        ) from error
    return tokenizer


def _names(inputs: GraphInputs) -> str:
    shown = [f"{name!r} {kind} {shape}" for name, (kind, shape) in inputs.items()]
    return (", ".join(shown) or "no input")[:300]
