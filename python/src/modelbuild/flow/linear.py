"""Models of kind ``hashed-ngrams-linear``: classifiers of texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import safetensors.numpy

from modelbuild.flow.packaging import package
from modelbuild.serving.features import FEATURES_VERSION, features
from modelbuild.serving.inputs import TextInput
from modelbuild.serving.kinds.hashed_ngrams import WEIGHTS_FILE
from modelbuild.serving.outputs import LabelOutput


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
    return package(
        kind="hashed-ngrams-linear",
        takes=TextInput(),
        answers=LabelOutput(labels=tuple(labels)),
        options={"features": FEATURES_VERSION, "buckets": buckets, "ngrams": ngrams},
        files={WEIGHTS_FILE: weights},
        parameters=parameters,
    )
