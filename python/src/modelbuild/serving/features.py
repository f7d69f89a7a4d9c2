"""Text to hashed word n-grams, as one function that training and serving share.

The arithmetic is unsigned 64-bit with wrap-around over UTF-8 bytes, so a text has the same buckets
on every machine, and the whole batch goes through numpy at once, without a loop over tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

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


_CLASSES = _byte_classes()


def features(
    texts: Sequence[str], *, buckets: int, ngrams: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The bucket of every n-gram of 1 to ``ngrams`` tokens, text after text.

    A token is the longest run of letters, digits and characters beyond ASCII, or of other visible
    signs (``:)``, ``!!``); case is folded and apostrophes are dropped, so *Don't* is *dont*.

    Args:
        texts: any strings; one without tokens has no buckets.
        buckets: how many buckets there are, at least 1.
        ngrams: the longest n-gram, in tokens, at least 1.

    Returns:
        ``ids``, the buckets from 0 to ``buckets`` - 1, and ``offsets``, of one element more than
        ``texts``: those of text ``i`` are ``ids[offsets[i]:offsets[i + 1]]``.
    """
    tokens, text_of_token = _token_hashes(texts)
    grams, owners = [tokens], [text_of_token]
    for size in range(2, ngrams + 1):
        heads = grams[-1][: max(0, len(tokens) - size + 1)]
        inside = text_of_token[: len(heads)] == text_of_token[size - 1 :]
        # The mask comes after the arithmetic, so that grams[-1] stays aligned with the tokens.
        grams.append(_mix(heads * _BASE + tokens[size - 1 :]))
        owners.append(np.where(inside, text_of_token[: len(heads)], len(texts)))
    owner = np.concatenate(owners)
    order = np.argsort(owner, kind="stable")
    counts = np.bincount(owner, minlength=len(texts) + 1)[: len(texts)]
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    hashes = np.concatenate(grams)[order[: offsets[-1]]]
    return (hashes % np.uint64(buckets)).astype(np.int64), offsets


def _token_hashes(texts: Sequence[str]) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """One 64-bit hash for each token, and the index of the text that it stands in."""
    encoded = [
        text.casefold().replace("'", "").replace("\u2019", "").encode(errors="replace") for text in texts
    ]
    data = np.frombuffer(b"".join(encoded), dtype=np.uint8)
    text_of_byte = np.repeat(np.arange(len(texts)), [len(part) for part in encoded])
    if not len(data):
        return np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.int64)
    classes = _CLASSES[data]
    changes = (np.diff(classes) != 0) | (np.diff(text_of_byte) != 0)
    starts = np.concatenate([[0], np.flatnonzero(changes) + 1])
    lengths = np.diff(np.append(starts, len(data)))
    # A polynomial over the bytes of each run: the power depends on the place in the run alone.
    place = np.arange(len(data)) - np.repeat(starts, lengths)
    powers = np.cumprod(np.full(lengths.max(), _BASE, dtype=np.uint64))
    sums = np.add.reduceat(data.astype(np.uint64) * powers[place], starts)
    visible = classes[starts] != _SPACE
    return _mix(sums[visible]), text_of_byte[starts[visible]]


def _mix(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Spread every bit over all 64 (the finaliser of SplitMix64), for the remainder that follows."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(values ^ (values >> np.uint64(31)))
