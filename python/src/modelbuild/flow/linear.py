"""Models of kind ``hashed-ngrams-linear``: classifiers of texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.numpy

from modelbuild.flow.packaging import package
from modelbuild.serving.features import FEATURES_VERSION, features
from modelbuild.serving.inputs import TextInput
from modelbuild.serving.kinds.hashed_ngrams import WEIGHTS_FILE
from modelbuild.serving.outputs import LabelOutput

# Numbers that are held in memory at one time besides ids, weights, and one number for each text and label.
_CHUNK_NUMBERS = 1 << 20


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

    Memory holds eight bytes for each n-gram, and some numbers for each label of a text and of a used bucket.
    The same rows give the same bytes, however they are divided into chunks.

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
    # Only the rows of n-grams that are there change; all others stay zero.
    used = np.unique(ids)
    row_of = np.zeros(buckets, np.int64)
    row_of[used] = np.arange(len(used))
    chunks = _chunks(offsets, _CHUNK_NUMBERS // len(labels))
    goal = np.eye(len(labels))[[labels.index(label) for label in truth]]
    weight, bias = np.zeros((len(used), len(labels))), np.zeros(len(labels))
    for _ in range(epochs):
        logits = np.tile(bias, (len(texts), 1))
        for start, end in chunks:
            texts_of = np.repeat(np.arange(start, end), np.diff(offsets[start : end + 1]))
            np.add.at(logits, texts_of, weight[row_of[ids[offsets[start] : offsets[end]]]])
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        error = (powers / powers.sum(axis=1, keepdims=True) - goal) / len(texts)
        for start, end in chunks:
            steps = np.repeat(learning_rate * error[start:end], np.diff(offsets[start : end + 1]), axis=0)
            np.subtract.at(weight, row_of[ids[offsets[start] : offsets[end]]], steps)
        bias -= learning_rate * error.sum(axis=0)
    whole = np.zeros((buckets, len(labels)), np.float32)
    whole[used] = weight
    return safetensors.numpy.save({"weight": whole, "bias": bias.astype(np.float32)})


def _chunks(offsets: npt.NDArray[np.int64], most: int) -> list[tuple[int, int]]:
    """First and last text (exclusive) of each chunk: at most ``most`` n-grams, or one text that has more."""
    found, start = [], 0
    while start < len(offsets) - 1:
        end = int(np.searchsorted(offsets, offsets[start] + most, "right")) - 1
        found.append((start, max(end, start + 1)))
        start = found[-1][1]
    return found


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
