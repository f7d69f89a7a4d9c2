"""The served model: verified weights, and the answers they give."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import safetensors.numpy
from pydantic import ValidationError
from safetensors import SafetensorError

from modelbuild.contract import DESCRIPTION_FILE, WEIGHTS_FILE, ModelDescription
from modelbuild.errors import ConfigurationError, VerificationFailed
from modelbuild.serving.features import features


@dataclass(frozen=True)
class Model:
    """A log-linear classifier over hashed n-grams: one row of weights a bucket, one column a label."""

    description: ModelDescription
    weight: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]

    def scores(self, texts: Sequence[str]) -> npt.NDArray[np.float64]:
        """Probabilities, one row a text in the order given and one column a label; each row sums to 1."""
        ids, offsets = features(texts, buckets=self.description.buckets, ngrams=self.description.ngrams)
        owner = np.repeat(np.arange(len(texts)), np.diff(offsets))
        rows = self.weight[ids]
        sums = [np.bincount(owner, rows[:, label], len(texts)) for label in range(len(self.bias))]
        logits = np.stack(sums, axis=1) + self.bias.astype(np.float64)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))

    def predict(self, texts: Sequence[str]) -> list[tuple[str, dict[str, float]]]:
        """For each text its most probable label, and the probability of every label."""
        labels = self.description.labels
        return [
            (labels[int(np.argmax(row))], dict(zip(labels, row.tolist(), strict=True)))
            for row in self.scores(texts)
        ]


def load(directory: Path, weights_sha256: str) -> Model:
    """Read a model from the unpacked ``model.tar.gz`` and verify its weights.

    Args:
        directory: where ``model.json`` and ``model.safetensors`` lie.
        weights_sha256: the SHA-256 of the weights that were approved.

    Raises:
        ConfigurationError: a file is missing or cannot be read as what it should be.
        VerificationFailed: the weights are not the approved ones, or do not fit their description.
    """
    weights = _read(directory / WEIGHTS_FILE)
    try:
        description = ModelDescription.model_validate_json(_read(directory / DESCRIPTION_FILE))
    except ValidationError as error:
        raise ConfigurationError(
            f"{directory / DESCRIPTION_FILE} does not describe a model: {error.errors()[0]['msg']}."
        ) from error
    actual = hashlib.sha256(weights).hexdigest()
    expectations = {DESCRIPTION_FILE: description.weights_sha256, "MODEL_WEIGHTS_SHA256": weights_sha256}
    for source, expected in expectations.items():
        if actual != expected:
            raise VerificationFailed(
                f"The weights in {directory / WEIGHTS_FILE} have SHA-256 {actual}, but {source} says "
                f"{expected}; deploy the model from its own artifacts again."
            )
    return decode(description, weights)


def decode(description: ModelDescription, weights: bytes) -> Model:
    """The model of a ``model.safetensors`` with its description.

    Raises:
        ConfigurationError: the weights are not safetensors.
        VerificationFailed: the weights do not fit the description, or are no numbers to predict with.
    """
    try:
        tensors = safetensors.numpy.load(weights)
    except SafetensorError as error:
        raise ConfigurationError(f"{WEIGHTS_FILE} is not a safetensors file: {error}.") from error
    labels = len(description.labels)
    shapes = {"weight": ("float32", (description.buckets, labels)), "bias": ("float32", (labels,))}
    found = {name: (tensor.dtype.name, tensor.shape) for name, tensor in tensors.items()}
    if found != shapes:
        raise VerificationFailed(
            f"{WEIGHTS_FILE} holds tensors of shapes {found}, but {DESCRIPTION_FILE} describes {shapes}."
        )
    if not all(np.isfinite(tensor).all() for tensor in tensors.values()):
        raise VerificationFailed(
            f"{WEIGHTS_FILE} holds weights that are infinite or no numbers: the training diverged, so "
            "lower its learning rate and train again."
        )
    return Model(description, tensors["weight"], tensors["bias"])


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"Cannot read the model file {path}: {error.strerror}.") from error
