"""Fits the models of kind ``hashed-ngrams-linear``: softmax regression over hashed n-grams."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from operator import itemgetter

import numpy as np
import numpy.typing as npt
import safetensors.numpy

from modelbuild.flow.models.hashing import Hashing, Piece
from modelbuild.flow.models.shuffle import Shuffle
from modelbuild.flow.progress import RecordProgress

Floats = npt.NDArray[np.float32]
Labelled = tuple[str, str]

_SMALLEST = np.finfo(np.float32).tiny

_SMALLEST_SCALE = 1e-3
"""A smaller scale is multiplied into the weights, because what is added to them is divided by it."""

_CHARACTERS = 2**20
"""Texts of about so many characters are hashed at a time."""

_ROWS = 16
"""So many rows are read at a time, because counting the characters of each row alone would be slow."""

_TEXT = itemgetter(0)


def fit(
    rows: Iterable[Labelled],
    *,
    labels: Sequence[str],
    buckets: int,
    ngrams: int,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    balance: float = 0.0,
    characters: int = 0,
    weight_decay: float = 0.0,
    record: RecordProgress | None = None,
) -> bytes:
    """Train by stochastic gradient descent; the same arguments give the same bytes on the same processor.

    The rows are read once and may be more than fit into memory: beyond some hundred megabytes their n-grams
    are kept in temporary files. Processes hash many texts, and their number changes nothing.

    A step adds up the gradients of its texts; the bias takes their mean. The gradient of a text is divided by
    the square root of the number of its n-grams, so that long texts do not count more than short ones, and
    that of a bucket by the square root of how often the bucket occurs, so that rare words learn fast. Steps
    get shorter linearly, down to zero.

    Args:
        rows: the texts to train on, each with its label.
        labels: every label; the columns of the weights have their order.
        buckets: how many rows the n-grams are hashed to.
        ngrams: how many words the longest n-gram has.
        epochs: how often each text is used.
        batch_size: how many texts one step uses.
        learning_rate: how far the first step goes.
        seed: decides the order of the texts.
        balance: the weight of a label is this power of its rarity: with 0 all texts weigh the same, with 1
            all labels.
        characters: how many bytes the longest n-gram of characters has, from 3 to 8; 0 for none.
        weight_decay: before a step, all weights but the bias are multiplied by exp(-rate * weight_decay).
        record: is called after each epoch, with the mean loss of the texts, each measured just before its
            step, and the learning rate.

    Returns:
        The content of ``model.safetensors``, see :func:`modelbuild.flow.models.linear.files`.
    """
    weight, bias = np.zeros((buckets, len(labels)), np.float32), np.zeros(len(labels), np.float32)
    counts, frequency = np.zeros(len(labels), dtype=np.int64), np.zeros(buckets, dtype=np.int64)
    with Shuffle(seed) as shuffle:
        pieces = _pieces(rows, labels, shuffle)
        for bins, some in Hashing(buckets, ngrams, characters).hash_all(pieces):
            counts += np.bincount(some.targets, minlength=len(labels))
            np.add.at(frequency, some.ids, np.int64(1))
            shuffle.add(some, bins)
        speed = (np.maximum(frequency, 1) ** -0.5).astype(np.float32)
        importance = _importance(counts, balance)
        texts, rate = int(counts.sum()), np.float32(learning_rate)
        total, done, scale = epochs * texts, 0, 1.0
        for epoch in range(epochs):
            loss = 0.0
            for some in shuffle.epoch():
                starts = np.concatenate([[0], some.counts.cumsum()]).astype(np.int32)
                sizes = importance[some.targets] / np.sqrt(np.maximum(some.counts, 1), dtype=np.float32)
                speeds, scores = speed[some.ids], np.empty(len(some.targets), np.float32)
                for first in range(0, len(some.targets), batch_size):
                    chosen = slice(first, first + batch_size)
                    rate = np.float32(learning_rate * (1 - done / total))
                    ends = starts[first : first + batch_size + 1]
                    grams = slice(ends[0], ends[-1])
                    scale *= math.exp(-float(rate) * weight_decay)
                    if scale < _SMALLEST_SCALE:
                        weight *= np.float32(scale)
                        scale = 1.0
                    rates = rate * sizes[chosen]
                    scores[chosen] = _step(
                        *(weight, scale, bias, some.ids[grams], speeds[grams]),
                        *(ends - ends[0], some.targets[chosen], rates),
                    )
                    done += len(rates)
                loss -= float(np.log(np.maximum(scores, _SMALLEST)).sum(dtype=np.float64))
            if record is not None:
                record(epoch + 1, {"loss": loss / max(texts, 1), "learning_rate": float(rate)})
    weight *= np.float32(scale)
    return safetensors.numpy.save({"weight": weight, "bias": bias})


def _step(
    weight: Floats,
    scale: float,
    bias: Floats,
    ids: npt.NDArray[np.int32],
    speeds: Floats,
    offsets: npt.NDArray[np.int32],
    targets: npt.NDArray[np.int32],
    rates: Floats,
) -> Floats:
    """Change the weights by the gradient of some texts; each text has a rate, and each n-gram a speed.

    The model's weights are ``scale * weight``, so that weight decay changes one number only.

    Returns:
        The score that each text's label had before.
    """
    # These loops are what scipy's products of sparse matrices call. The public products cannot add to a
    # matrix that is there: for each batch they would make and fill one of the size of all weights. Imported
    # here, because each process of a flow imports this module, and one fits.
    from scipy.sparse._sparsetools import csc_matvecs, csr_matvecs

    rows, (buckets, labels) = len(targets), weight.shape
    ones = np.ones(len(ids), np.float32)
    logits = np.empty((rows, labels), np.float32)
    logits[:] = bias / np.float32(scale)
    csr_matvecs(rows, buckets, labels, offsets, ids, ones, weight.ravel(), logits.ravel())
    logits *= np.float32(scale)
    logits -= np.maximum.reduce(logits, axis=1, keepdims=True)
    error = np.exp(logits, out=logits)
    error /= np.add.reduce(error, axis=1, keepdims=True)
    of_targets = np.arange(0, rows * labels, labels) + targets
    scores = error.ravel().take(of_targets)
    error.ravel()[of_targets] = scores - 1
    change = error * -rates[:, None]
    unscaled = change / np.float32(scale)
    csc_matvecs(buckets, rows, labels, offsets, ids, speeds, unscaled.ravel(), weight.ravel())
    bias += np.add.reduce(change, axis=0) / np.float32(rows)
    return scores


def _importance(counts: npt.NDArray[np.int64], balance: float) -> Floats:
    """The weight of a text of each label; the sum over all texts is the same as without weights."""
    rarity = (1 / np.maximum(counts, 1)) ** balance
    return np.asarray(rarity * (counts.sum() / max((rarity * counts).sum(), 1)), dtype=np.float32)


def _pieces(rows: Iterable[Labelled], labels: Sequence[str], shuffle: Shuffle) -> Iterator[Piece]:
    """The rows in order, some thousand at a time."""
    number = {label: index for index, label in enumerate(labels)}
    for some in _by_size(rows):
        texts, labels_of_texts = zip(*some, strict=True)
        targets = np.fromiter(map(number.__getitem__, labels_of_texts), np.int32, len(some))
        yield Piece(texts, targets, shuffle.draw_bins(len(some)))


def _by_size(rows: Iterable[Labelled]) -> Iterator[list[Labelled]]:
    left = iter(rows)
    piece: list[Labelled] = []
    characters = 0
    while some := list(islice(left, _ROWS)):
        piece += some
        characters += sum(map(len, map(_TEXT, some)))
        if characters >= _CHARACTERS:
            yield piece
            piece, characters = [], 0
    if piece:
        yield piece
