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

_SMALL = 1e-3
"""What the sums of squared gradients begin with, so that no first step is endless."""


def fit(
    rows: Sequence[tuple[str, str]],
    *,
    labels: Sequence[str],
    buckets: int,
    ngrams: int,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
) -> bytes:
    """Softmax regression over hashed n-grams, by AdaGrad on batches, in numpy on one core.

    The step size of a bucket's weights falls with the gradients that the bucket has had (Duchi, Hazan and
    Singer, 2011), so that rare words learn fast, and all step sizes fall linearly to zero. A batch changes
    only the buckets that it has. Texts without a token are left out. The same arguments give the same bytes.

    Memory holds eight bytes for each n-gram, and some numbers for each label of a text and of a bucket.

    Args:
        rows: the texts to train on, each with its label.
        labels: every label; the columns of the weights have their order.
        buckets: how many rows the n-grams are hashed to.
        ngrams: how many words the longest n-gram has.
        epochs: how often each text is used.
        batch_size: how many texts one step uses.
        learning_rate: how far the first step goes.
        seed: decides the order of the texts.

    Returns:
        The content of ``model.safetensors``, see :func:`files`.
    """
    texts, truth = zip(*rows, strict=True)
    ids, offsets = features(texts, buckets=buckets, ngrams=ngrams)
    counts = np.diff(offsets)
    goal = np.eye(len(labels))[[labels.index(label) for label in truth]]
    weight, bias = np.zeros((buckets, len(labels))), np.zeros(len(labels))
    weight_squares, bias_squares = np.full((buckets, 1), _SMALL), np.full(len(labels), _SMALL)
    random, known = np.random.default_rng(seed), np.flatnonzero(counts)
    batches = [
        order[start : start + batch_size]
        for order in (random.permutation(known) for _ in range(epochs))
        for start in range(0, len(order), batch_size)
    ]
    for number, chosen in enumerate(batches):
        ends = np.cumsum(counts[chosen])
        starts = ends - counts[chosen]
        owner = np.repeat(np.arange(len(chosen)), counts[chosen])
        found = ids[np.arange(ends[-1]) + (offsets[chosen] - starts)[owner]]
        logits = np.add.reduceat(weight[found], starts, axis=0) + bias
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        error = (powers / powers.sum(axis=1, keepdims=True) - goal[chosen]) / np.sqrt(len(chosen))
        by_bucket = found.argsort(kind="stable")
        changed, firsts = np.unique(found[by_bucket], return_index=True)
        gradient = np.add.reduceat(error[owner[by_bucket]], firsts, axis=0)
        rate = learning_rate * (1 - number / len(batches))
        weight_squares[changed] += np.square(gradient).mean(axis=1, keepdims=True)
        weight[changed] -= rate * gradient / np.sqrt(weight_squares[changed])
        bias_squares += np.square(error.sum(axis=0))
        bias -= rate * error.sum(axis=0) / np.sqrt(bias_squares)
    return safetensors.numpy.save({"weight": weight.astype(np.float32), "bias": bias.astype(np.float32)})


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
