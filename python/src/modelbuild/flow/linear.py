"""Models of kind ``hashed-ngrams-linear``: classifiers of texts."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import safetensors.numpy

from modelbuild.contract import DESCRIPTION_FILE, GoldenPrediction, sha256_of_json
from modelbuild.serving.description import WEIGHTS_FILE, ModelDescription
from modelbuild.serving.features import features
from modelbuild.serving.limits import MAX_CHARACTERS
from modelbuild.serving.model import Model, decode
from modelbuild.serving.text import has_tokens

_GOLDEN = 8


def fit(
    rows: Sequence[tuple[str, str]],
    *,
    labels: Sequence[str],
    buckets: int,
    ngrams: int,
    epochs: int,
    learning_rate: float,
) -> bytes:
    """Softmax regression over hashed n-grams by plain gradient descent, in numpy; for thousands of texts.

    Args:
        rows: the texts to train on, each with its label.
        labels: every label; the columns of the weights have their order.
        buckets: how many rows the n-grams are hashed to.
        ngrams: how many words the longest n-gram has.
        epochs: how often all texts are looked at.
        learning_rate: how far each step goes.

    Returns:
        The content of ``model.safetensors``, see :func:`files`.
    """
    texts, truth = zip(*rows, strict=True)
    ids, offsets = features(texts, buckets=buckets, ngrams=ngrams)
    owner = np.repeat(np.arange(len(texts)), np.diff(offsets))
    # Only the rows of n-grams that are there change; all others stay zero.
    used, at = np.unique(ids, return_inverse=True)
    goal = np.eye(len(labels))[[labels.index(label) for label in truth]]
    weight, bias = np.zeros((len(used), len(labels))), np.zeros(len(labels))
    for _ in range(epochs):
        logits = np.tile(bias, (len(texts), 1))
        np.add.at(logits, owner, weight[at])
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        error = (powers / powers.sum(axis=1, keepdims=True) - goal) / len(texts)
        np.subtract.at(weight, at, learning_rate * error[owner])
        bias -= learning_rate * error.sum(axis=0)
    whole = np.zeros((buckets, len(labels)), np.float32)
    whole[used] = weight
    return safetensors.numpy.save({"weight": whole, "bias": bias.astype(np.float32)})


def files(
    weights: bytes, *, labels: Sequence[str], buckets: int, ngrams: int, parameters: Mapping[str, Any]
) -> dict[str, bytes]:
    """The files of the model's archive, by name.

    Args:
        weights: the content of ``model.safetensors``: ``weight``, float32 of shape (buckets, labels), and
            ``bias``, float32 of shape (labels).
        labels: the label of each column.
        buckets: how many rows the n-grams are hashed to.
        ngrams: how many words the longest n-gram has.
        parameters: what the model was trained with.

    Raises:
        VerificationFailed: the weights are not of that shape.
    """
    description = ModelDescription(
        kind="hashed-ngrams-linear",
        labels=tuple(labels),
        buckets=buckets,
        ngrams=ngrams,
        parameters_sha256=sha256_of_json(dict(parameters)),
        weights_sha256=hashlib.sha256(weights).hexdigest(),
    )
    decode(description, weights)
    return {WEIGHTS_FILE: weights, DESCRIPTION_FILE: description.to_json().encode()}


def read(files: Mapping[str, bytes]) -> Model:
    """The model as it will be served, from the files of its archive."""
    description = ModelDescription.model_validate_json(files[DESCRIPTION_FILE])
    return decode(description, files[WEIGHTS_FILE])


def golden(model: Model, texts: Sequence[str]) -> list[GoldenPrediction]:
    """Up to eight of the texts, evenly chosen, with the answers that the endpoint must give.

    Texts that the server refuses are not chosen.
    """
    served = [text for text in texts if len(text) <= MAX_CHARACTERS and has_tokens(text)]
    chosen = served[:: max(1, len(served) // _GOLDEN)][:_GOLDEN]
    return [
        GoldenPrediction(input=text, output={"label": label, "scores": {**scores}})
        for text, (label, scores) in zip(chosen, model.predict(chosen), strict=True)
    ]
