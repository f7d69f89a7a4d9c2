"""Kind ``hashed-ngrams-linear``: for each label a sum of weights of n-grams, in numpy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import safetensors
from pydantic import Field
from safetensors import SafetensorError

from modelbuild.contract import DESCRIPTION_FILE, Record
from modelbuild.errors import ConfigurationError, VerificationFailed
from modelbuild.serving.description import ModelDescription
from modelbuild.serving.features import FEATURES_VERSION, chunks, features
from modelbuild.serving.inputs import TextInput
from modelbuild.serving.kinds import read_file, read_options, require_types
from modelbuild.serving.outputs import Answer, LabelOutput

NAME = "hashed-ngrams-linear"
WEIGHTS_FILE = "model.safetensors"

Layout = Mapping[str, tuple[str, list[int]]]
"""Type and shape of tensors by name, as safetensors writes them."""

_CHUNK = 32_768
"""Characters that are scored at once, at most: so many use numpy well."""
_WEIGHTS = 1 << 20
"""Weights that are added up at once, at most: they take 12 MB."""


class HashedNgramsOptions(Record):
    """The options of this kind in ``model.json``."""

    features: Literal[3] = FEATURES_VERSION
    """The version of the features that the weights were trained with. Weights of another version would be
    looked up in the wrong buckets."""
    buckets: int = Field(ge=1)
    ngrams: int = Field(ge=1, le=5)
    characters: Literal[0, 3, 4, 5, 6, 7, 8] = 0
    """The bytes of the longest n-gram of characters; 0 for none."""


@dataclass(frozen=True)
class HashedNgramsModel:
    """A log-linear classifier over hashed n-grams: one row of weights a bucket, one column a label."""

    labels: tuple[str, ...]
    options: HashedNgramsOptions
    weight: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]

    def scores(self, texts: Sequence[str]) -> npt.NDArray[np.float64]:
        """Probabilities: one row for each text, one column for each label; each row sums to 1."""
        if not texts:
            return np.empty((0, len(self.bias)))
        # A character begins at most one n-gram of each length, and each has a weight for each label.
        ngrams = self.options.ngrams + max(0, self.options.characters - 2)
        size = min(_CHUNK, max(1, _WEIGHTS // (ngrams * len(self.bias))))
        parts = [self._scores(chunk) for chunk in chunks(texts, size)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _scores(self, texts: Sequence[str]) -> npt.NDArray[np.float64]:
        options = self.options
        ids, offsets = features(
            texts, buckets=options.buckets, ngrams=options.ngrams, characters=options.characters
        )
        logits = np.empty((len(texts), len(self.bias)))
        logits[:] = self.bias
        with_tokens = (offsets[1:] - offsets[:-1]).nonzero()[0]
        if len(with_tokens):
            # One long text may need more weights than are added up at once.
            labels = max(1, _WEIGHTS // len(ids))
            for first in range(0, len(self.bias), labels):
                some = slice(first, first + labels)
                weights = self.weight[:, some][ids].astype(np.float64)
                logits[:, some][with_tokens] += np.add.reduceat(weights, offsets[with_tokens], axis=0)
        logits -= logits.max(axis=1, keepdims=True)
        powers = np.exp(logits, out=logits)
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))

    def predict(self, instances: Sequence[str]) -> list[Answer]:
        """For each text its most probable label, and the probability of every label."""
        scores = self.scores(instances)
        return [
            {"label": self.labels[best], "scores": dict(zip(self.labels, row, strict=True))}
            for best, row in zip(scores.argmax(axis=1).tolist(), scores.tolist(), strict=True)
        ]


class HashedNgramsLinear:
    """Reads the models of this kind."""

    tolerance = 1e-4

    def load(self, description: ModelDescription, files: Mapping[str, bytes]) -> HashedNgramsModel:
        """The model with these weights and this description.

        Raises:
            ConfigurationError: the weights are not safetensors, or an option is missing or wrong.
            VerificationFailed: the weights do not fit the description, or are not finite.
        """
        _, output = require_types(description, TextInput, LabelOutput)
        options = read_options(description, HashedNgramsOptions)
        try:
            tensors = dict(safetensors.deserialize(read_file(files, WEIGHTS_FILE)))  # type: ignore[no-untyped-call]
        except SafetensorError as error:
            raise ConfigurationError(f"{WEIGHTS_FILE} is not a safetensors file: {error}") from error
        labels = len(output.labels)
        expected: Layout = {"bias": ("F32", [labels]), "weight": ("F32", [options.buckets, labels])}
        actual: Layout = {name: (tensor["dtype"], tensor["shape"]) for name, tensor in tensors.items()}
        if actual != expected:
            raise VerificationFailed(
                f"{WEIGHTS_FILE} holds {_describe_layout(actual)}, but {DESCRIPTION_FILE} describes "
                f"{_describe_layout(expected)}; the training must save these two tensors as float32 in these "
                "shapes"
            )
        weight, bias = (
            np.frombuffer(tensors[name]["data"], dtype="<f4").reshape(tensors[name]["shape"])
            for name in ("weight", "bias")
        )
        if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
            raise VerificationFailed(
                f"{WEIGHTS_FILE} holds weights that are infinite or NaN: the training diverged, so lower its "
                "learning rate and train again"
            )
        return HashedNgramsModel(output.labels, options, weight, bias)


KIND = HashedNgramsLinear()


def _describe_layout(layout: Layout) -> str:
    """The first tensors with their types and shapes, such as ``'bias' F32 [3] and 'weight' F32 [64, 3]``."""
    tensors = [f"{name!r} {dtype} {shape}" for name, (dtype, shape) in sorted(layout.items())]
    if len(tensors) > 4:
        tensors[3:] = [f"{len(tensors) - 3} more"]
    return " and ".join(tensors) or "no tensors"
