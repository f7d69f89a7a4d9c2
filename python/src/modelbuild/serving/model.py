"""The served model: verified weights, and the predictions computed from them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import safetensors
from pydantic import ValidationError
from safetensors import SafetensorError

from modelbuild.contract import DESCRIPTION_FILE
from modelbuild.errors import ConfigurationError, VerificationFailed
from modelbuild.serving.description import WEIGHTS_FILE, ModelDescription
from modelbuild.serving.features import features

Answer = tuple[str, dict[str, float]]
"""The most probable label of a text, and the probability of every label."""

Layout = Mapping[str, tuple[str, list[int]]]
"""Type and shape of tensors by name, as safetensors writes them."""

_CHUNK = 32_768
"""How many characters are scored at once: enough to use numpy well, with 5 MB of memory while it computes."""


@dataclass(frozen=True)
class Model:
    """A log-linear classifier over hashed n-grams: a row of weights per bucket, a column per label."""

    description: ModelDescription
    weight: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]

    def scores(self, texts: Sequence[str]) -> npt.NDArray[np.float64]:
        """Probabilities: one row for each text, one column for each label; each row sums to 1."""
        if not texts:
            return np.empty((0, len(self.bias)))
        parts = [self._scores(chunk) for chunk in _chunks(texts)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _scores(self, texts: Sequence[str]) -> npt.NDArray[np.float64]:
        ids, offsets = features(texts, buckets=self.description.buckets, ngrams=self.description.ngrams)
        logits = np.empty((len(texts), len(self.bias)))
        logits[:] = self.bias
        with_tokens = np.flatnonzero(offsets[1:] - offsets[:-1])
        if len(with_tokens):
            rows = self.weight[ids].astype(np.float64)
            logits[with_tokens] += np.add.reduceat(rows, offsets[with_tokens], axis=0)
        logits -= logits.max(axis=1, keepdims=True)
        powers = np.exp(logits, out=logits)
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))

    def predict(self, texts: Sequence[str]) -> list[Answer]:
        """For each text, its most probable label and the probability of every label."""
        labels = self.description.labels
        scores = self.scores(texts)
        return [
            (labels[best], dict(zip(labels, row, strict=True)))
            for best, row in zip(scores.argmax(axis=1).tolist(), scores.tolist(), strict=True)
        ]


def _chunks(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """The texts in order, in groups of at most :data:`_CHUNK` characters, with at least one text each."""
    start = characters = 0
    for index, text in enumerate(texts):
        characters += len(text)
        if characters > _CHUNK and index > start:
            yield texts[start:index]
            start, characters = index, len(text)
    yield texts[start:]


def load(directory: Path, description_sha256: str) -> Model:
    """Read a model from the unpacked ``model.tar.gz`` and verify its files.

    Args:
        directory: where ``model.json`` and ``model.safetensors`` lie.
        description_sha256: the SHA-256 of the approved ``model.json``, which holds that of the weights.

    Raises:
        ConfigurationError: a file is missing, or not in its format.
        VerificationFailed: the files are not the approved ones, or do not fit together.
    """
    path = directory / DESCRIPTION_FILE
    content = _read(path)
    _require(path, content, "MODEL_DESCRIPTION_SHA256", description_sha256)
    description = _description(path, content)
    weights = _read(directory / WEIGHTS_FILE)
    _require(directory / WEIGHTS_FILE, weights, DESCRIPTION_FILE, description.weights_sha256)
    return decode(description, weights)


def _require(path: Path, content: bytes, source: str, expected: str) -> None:
    actual = hashlib.sha256(content).hexdigest()
    if actual != expected:
        raise VerificationFailed(
            f"{path} has SHA-256 {actual}, but {source} says {expected}; deploy the model from its own "
            "artifacts again."
        )


def decode(description: ModelDescription, weights: bytes) -> Model:
    """The model with these weights (``model.safetensors``) and this description.

    Raises:
        ConfigurationError: the weights are not safetensors.
        VerificationFailed: the weights do not fit the description, or are not finite.
    """
    try:
        tensors = dict(safetensors.deserialize(weights))  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        raise ConfigurationError(f"{WEIGHTS_FILE} is not a safetensors file: {error}.") from error
    labels = len(description.labels)
    expected: Layout = {"bias": ("F32", [labels]), "weight": ("F32", [description.buckets, labels])}
    actual: Layout = {name: (tensor["dtype"], tensor["shape"]) for name, tensor in tensors.items()}
    if actual != expected:
        raise VerificationFailed(
            f"{WEIGHTS_FILE} holds {_describe_layout(actual)}, but {DESCRIPTION_FILE} describes "
            f"{_describe_layout(expected)}; the training must save these two tensors as float32 in these "
            "shapes."
        )
    weight, bias = (
        np.frombuffer(tensors[name]["data"], dtype="<f4").reshape(tensors[name]["shape"])
        for name in ("weight", "bias")
    )
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        raise VerificationFailed(
            f"{WEIGHTS_FILE} holds weights that are infinite or NaN: the training diverged, so lower its "
            "learning rate and train again."
        )
    return Model(description, weight, bias)


def _describe_layout(layout: Layout) -> str:
    """The first tensors with their types and shapes, such as ``'bias' F32 [3] and 'weight' F32 [64, 3]``."""
    tensors = [f"{name!r} {dtype} {shape}" for name, (dtype, shape) in sorted(layout.items())]
    if len(tensors) > 4:
        tensors[3:] = [f"{len(tensors) - 3} more"]
    return " and ".join(tensors) or "no tensors"


def _description(path: Path, content: bytes) -> ModelDescription:
    try:
        return ModelDescription.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        if field == "version":
            raise ConfigurationError(
                f"{path} has version {first['input']!r}, and this server reads version "
                f"{ModelDescription.model_fields['version'].default}: serve the model with the image of its "
                "own build, or train it again."
            ) from error
        raise ConfigurationError(
            f"{path} does not describe a model: {field + ': ' if field else ''}{first['msg']}."
        ) from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"Cannot read the model file {path}: {error.strerror}.") from error
