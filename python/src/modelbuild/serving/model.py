"""The served model: verified weights, and the answers they give."""

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
"""Characters that are scored at once: so many use numpy well, and take 5 MB while they are scored."""


@dataclass(frozen=True)
class Model:
    """A log-linear classifier over hashed n-grams: one row of weights a bucket, one column a label."""

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
        known = np.flatnonzero(offsets[1:] - offsets[:-1])
        if len(known):
            logits[known] += np.add.reduceat(self.weight[ids].astype(np.float64), offsets[known], axis=0)
        logits -= logits.max(axis=1, keepdims=True)
        powers = np.exp(logits, out=logits)
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))

    def predict(self, texts: Sequence[str]) -> list[Answer]:
        """For each text its most probable label, and the probability of every label."""
        labels = self.description.labels
        scores = self.scores(texts)
        return [
            (labels[best], dict(zip(labels, row, strict=True)))
            for best, row in zip(scores.argmax(axis=1).tolist(), scores.tolist(), strict=True)
        ]


def _chunks(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """The texts in order, as many together as have :data:`_CHUNK` characters, and at least one."""
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
        description_sha256: the SHA-256 of the approved ``model.json``, which has that of the weights.

    Raises:
        ConfigurationError: a file is missing or cannot be read as what it should be.
        VerificationFailed: the files are not the approved ones, or do not fit each other.
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
    """The model of a ``model.safetensors`` with its description.

    Raises:
        ConfigurationError: the weights are not safetensors.
        VerificationFailed: the weights do not fit the description, or are no numbers to predict with.
    """
    try:
        stored = dict(safetensors.deserialize(weights))  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        raise ConfigurationError(f"{WEIGHTS_FILE} is not a safetensors file: {error}.") from error
    labels = len(description.labels)
    wanted: Layout = {"bias": ("F32", [labels]), "weight": ("F32", [description.buckets, labels])}
    found: Layout = {name: (tensor["dtype"], tensor["shape"]) for name, tensor in stored.items()}
    if found != wanted:
        raise VerificationFailed(
            f"{WEIGHTS_FILE} holds {_shown(found)}, but {DESCRIPTION_FILE} describes {_shown(wanted)}; the "
            "training must save these two tensors as float32 in these shapes."
        )
    weight, bias = (
        np.frombuffer(stored[name]["data"], dtype="<f4").reshape(stored[name]["shape"])
        for name in ("weight", "bias")
    )
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        raise VerificationFailed(
            f"{WEIGHTS_FILE} holds weights that are infinite or no numbers: the training diverged, so "
            "lower its learning rate and train again."
        )
    return Model(description, weight, bias)


def _shown(layout: Layout) -> str:
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
        place = ".".join(map(str, first["loc"]))
        if place == "version":
            raise ConfigurationError(
                f"{path} has version {first['input']!r}, and this server reads version "
                f"{ModelDescription.model_fields['version'].default}: serve the model with the image of its "
                "own build, or train it again."
            ) from error
        raise ConfigurationError(
            f"{path} does not describe a model: {place + ': ' if place else ''}{first['msg']}."
        ) from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"Cannot read the model file {path}: {error.strerror}.") from error
