"""Turns texts into hashed word n-grams. Training and serving share this one function.

It hashes the UTF-8 bytes of normalised texts with unsigned 64-bit arithmetic that wraps around, so a text has
the same buckets on every machine. numpy handles the whole batch at once, without a loop over tokens.

Every published model depends on the exact results of this module and of :mod:`modelbuild.serving.text`: a
change to either needs another version of :class:`modelbuild.serving.description.ModelDescription`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from modelbuild.serving.text import normalize

FEATURES_VERSION: Final = 2
"""The version of this module and :mod:`modelbuild.serving.text`. Since 2, a text is normalised before it is
hashed."""

Hashes = npt.NDArray[np.uint64]
Integers = npt.NDArray[np.int64]

_BASE = np.uint64(0x9E3779B97F4A7C15)
_SPACE, _WORD, _SIGN = 0, 1, 2


def _byte_classes() -> npt.NDArray[np.uint8]:
    classes = np.full(256, _SIGN, dtype=np.uint8)
    classes[: ord(" ") + 1] = _SPACE
    classes[0x7F] = _SPACE
    for first, last in ("09", "AZ", "az"):
        classes[ord(first) : ord(last) + 1] = _WORD
    classes[0x80:] = _WORD
    return classes


def _powers(count: int) -> Hashes:
    return np.cumprod(np.full(count, _BASE, dtype=np.uint64), dtype=np.uint64)


_CLASSES = _byte_classes()
_POWERS = _powers(64)
_SHIFTS = tuple(np.array(bits, dtype=np.uint64) for bits in (30, 27, 31))
_FACTORS = tuple(np.array(factor, dtype=np.uint64) for factor in (0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def features(texts: Sequence[str], *, buckets: int, ngrams: int) -> tuple[Integers, Integers]:
    """The bucket of every n-gram of 1 to ``ngrams`` tokens, text after text.

    The text is normalised first (:func:`~modelbuild.serving.text.normalize`). A token is the longest run of
    letters, digits and characters beyond ASCII, or of other visible ASCII characters (``:)``, ``!!``).

    Args:
        texts: any strings; one without tokens has no buckets.
        buckets: how many buckets there are, at least 1.
        ngrams: the longest n-gram, in tokens, at least 1.

    Returns:
        ``ids``, the buckets from 0 to ``buckets`` - 1, and ``offsets``, with one element more than ``texts``.
        The buckets of text ``i`` are ``ids[offsets[i]:offsets[i + 1]]``.
    """
    tokens, text_of_token = _tokens(texts)
    hashes, indices = [tokens], [text_of_token]
    ngram_hashes = tokens
    for size in range(2, ngrams + 1):
        # N-grams across two texts stay in ``ngram_hashes``, which must stay aligned with the tokens.
        ngram_hashes = _mix(ngram_hashes[: max(0, len(tokens) - size + 1)] * _BASE + tokens[size - 1 :])
        first = text_of_token[: len(ngram_hashes)]
        inside = first == text_of_token[size - 1 :]
        hashes.append(ngram_hashes[inside])
        indices.append(first[inside])
    text_indices = np.concatenate(indices)
    offsets = np.zeros(len(texts) + 1, dtype=np.int64)
    np.cumsum(np.bincount(text_indices, minlength=len(texts)), out=offsets[1:])
    ordered = np.concatenate(hashes)[text_indices.argsort(kind="stable")]
    return (ordered % np.uint64(buckets)).astype(np.int64), offsets


def _tokens(texts: Sequence[str]) -> tuple[Hashes, Integers]:
    """One 64-bit hash for each token, and the index of the text that holds it."""
    # No normalised text contains NUL.
    joined = "\0".join(map(normalize, texts)).encode(errors="replace")
    data = np.frombuffer(joined, dtype=np.uint8)
    if not len(data):
        return np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.int64)
    classes = _CLASSES[data]
    changes = np.flatnonzero(classes[1:] != classes[:-1])
    bounds = np.empty(len(changes) + 2, dtype=np.int64)
    bounds[0], bounds[-1] = 0, len(data)
    np.add(changes, 1, out=bounds[1:-1])
    starts, lengths = bounds[:-1], bounds[1:] - bounds[:-1]
    # A polynomial over the bytes of each run: the power depends only on the position in the run.
    longest = int(lengths.max())
    powers = _POWERS if longest <= len(_POWERS) else _powers(longest)
    position = np.arange(len(data)) - starts.repeat(lengths)
    sums = np.add.reduceat(powers[position] * data, starts)
    visible = np.flatnonzero(classes[starts] != _SPACE)
    ends = np.flatnonzero(data == 0)
    return _mix(sums[visible]), ends.searchsorted(starts[visible])


def _mix(values: Hashes) -> Hashes:
    """Spread every bit over all 64 (the finaliser of SplitMix64): the bucket then depends on all of them."""
    values = (values ^ (values >> _SHIFTS[0])) * _FACTORS[0]
    values = (values ^ (values >> _SHIFTS[1])) * _FACTORS[1]
    return np.asarray(values ^ (values >> _SHIFTS[2]))
