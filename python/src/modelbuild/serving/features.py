"""Text to hashed word n-grams, as one function that training and serving share.

The arithmetic is unsigned 64-bit with wrap-around over the UTF-8 bytes of normalised texts, so a text has the
same buckets on every machine. A whole batch goes through numpy at once, without a loop over tokens.

What this module and :mod:`modelbuild.serving.text` make of a text is part of every published model: a change
to it is another version of :class:`modelbuild.serving.description.ModelDescription`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from modelbuild.serving.text import normalize

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

    A token is the longest run of letters, digits and characters beyond ASCII, or of other visible
    signs (``:)``, ``!!``), of the text as :func:`~modelbuild.serving.text.normalize` writes it.

    Args:
        texts: any strings; one without tokens has no buckets.
        buckets: how many buckets there are, at least 1.
        ngrams: the longest n-gram, in tokens, at least 1.

    Returns:
        ``ids``, the buckets from 0 to ``buckets`` - 1, and ``offsets``, of one element more than
        ``texts``: those of text ``i`` are ``ids[offsets[i]:offsets[i + 1]]``.
    """
    tokens, text_of_token = _tokens(texts)
    hashes, owners = [tokens], [text_of_token]
    grams = tokens
    for size in range(2, ngrams + 1):
        # Those across two texts stay in ``grams``, so that it stays aligned with the tokens.
        grams = _mix(grams[: max(0, len(tokens) - size + 1)] * _BASE + tokens[size - 1 :])
        first = text_of_token[: len(grams)]
        inside = first == text_of_token[size - 1 :]
        hashes.append(grams[inside])
        owners.append(first[inside])
    owner = np.concatenate(owners)
    offsets = np.zeros(len(texts) + 1, dtype=np.int64)
    np.cumsum(np.bincount(owner, minlength=len(texts)), out=offsets[1:])
    ordered = np.concatenate(hashes)[owner.argsort(kind="stable")]
    return (ordered % np.uint64(buckets)).astype(np.int64), offsets


def _tokens(texts: Sequence[str]) -> tuple[Hashes, Integers]:
    """One 64-bit hash for each token, and the index of the text that it stands in."""
    # NUL stands in no normalised text.
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
    # A polynomial over the bytes of each run: the power depends on the place in the run alone.
    longest = int(lengths.max())
    powers = _POWERS if longest <= len(_POWERS) else _powers(longest)
    place = np.arange(len(data)) - starts.repeat(lengths)
    sums = np.add.reduceat(powers[place] * data, starts)
    visible = np.flatnonzero(classes[starts] != _SPACE)
    ends = np.flatnonzero(data == 0)
    return _mix(sums[visible]), ends.searchsorted(starts[visible])


def _mix(values: Hashes) -> Hashes:
    """Spread every bit over all 64 (the finaliser of SplitMix64), for the remainder that follows."""
    values = (values ^ (values >> _SHIFTS[0])) * _FACTORS[0]
    values = (values ^ (values >> _SHIFTS[1])) * _FACTORS[1]
    return np.asarray(values ^ (values >> _SHIFTS[2]))
