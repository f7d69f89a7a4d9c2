"""Turns texts into hashed n-grams of words and characters. Training and serving share this one function.

It hashes the UTF-8 bytes of normalised texts with unsigned 64-bit arithmetic that wraps around, so a text has
the same buckets on every machine. numpy handles many texts at once, without a loop over tokens.

Every published model depends on the exact results of this module and of :mod:`modelbuild.serving.text`: a
change to either needs another :data:`FEATURES_VERSION`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from modelbuild.serving.text import normalized_bytes

FEATURES_VERSION: Final = 3
"""The version of this module and :mod:`modelbuild.serving.text`. Since 2, a text is normalised before it is
hashed; since 3, it is hashed eight bytes at a time."""

Hashes = npt.NDArray[np.uint64]
Integers = npt.NDArray[np.int64]

_CHUNK = 2**18
"""How many characters are hashed together: numpy's arrays of these take some megabytes, and of two threads
one rarely waits for the other."""

_BASE = np.uint64(0x9E3779B97F4A7C15)
_CHARACTER_BASE = np.uint64(0xD1B54A32D192ED03)
"""Another factor, so that a word and the same characters within a word are two features."""
_SHIFTS = tuple(np.uint64(bits) for bits in (30, 27, 31))
_FACTORS = tuple(np.uint64(factor) for factor in (0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
_HALF = np.uint64(32)
_WORD = 8
"""Bytes of a token that are read as one number."""

_MASKS = np.array([(1 << 8 * count) - 1 for count in range(_WORD + 1)], dtype=np.uint64)
"""The mask that keeps the first bytes of a word, by how many of them belong to the token."""

_SPACE = 0

SHORTEST_CHARACTERS: Final = 3
"""The bytes of the shortest n-gram of characters."""


def _byte_classes() -> bytes:
    signs, letters = 1, 2
    classes = bytearray([signs]) * 256
    classes[: ord(" ") + 1] = bytes([_SPACE]) * (ord(" ") + 1)
    classes[0x7F] = _SPACE
    for first, last in ("09", "AZ", "az", "\x80\xff"):
        classes[ord(first) : ord(last) + 1] = bytes([letters]) * (ord(last) + 1 - ord(first))
    return bytes(classes)


def _powers(count: int) -> Hashes:
    return np.cumprod(np.full(count, _BASE, dtype=np.uint64), dtype=np.uint64)


_CLASSES = _byte_classes()
_BLANKS = bytes(ord(" ") if kind == _SPACE else byte for byte, kind in enumerate(_CLASSES))
"""Each byte itself, or a space in place of white space, control characters and the end of a text."""
_POWERS = _powers(64)


def features(
    texts: Sequence[str], *, buckets: int, ngrams: int, characters: int = 0
) -> tuple[Integers, Integers]:
    """The bucket of every n-gram of 1 to ``ngrams`` tokens, and of 3 to ``characters`` characters.

    The text is normalised first (:func:`~modelbuild.serving.text.normalize`). A token is the longest run of
    letters, digits and characters beyond ASCII, or of other visible ASCII characters (``:)``, ``!!``).

    An n-gram of characters lies in a run of visible characters, which has one space before and one after it:
    those of three in ``so ok`` are ``" so"``, ``"so "``, ``" ok"`` and ``"ok "``. It is counted in bytes of
    UTF-8.

    Args:
        texts: any strings; one without tokens has no buckets.
        buckets: how many buckets there are, from 1 to 2**32.
        ngrams: the longest n-gram of tokens, at least 1.
        characters: the longest n-gram of characters, from 3 to 8, or 0 for none.

    Returns:
        ``ids``, the buckets from 0 to ``buckets`` - 1, and ``offsets``, of one element more than
        ``texts``: those of text ``i`` are ``ids[offsets[i]:offsets[i + 1]]``, the n-grams of tokens first.
    """
    offsets = np.zeros(len(texts) + 1, dtype=np.int64)
    ids, done = [np.empty(0, dtype=np.int64)], 0
    for chunk in chunks(texts, _CHUNK):
        joined = b"\0" + normalized_bytes(chunk) + b"\0"
        hashes, counts = _ngrams(joined, ngrams)
        if characters:
            hashes, counts = _merge(hashes, counts, *_character_ngrams(joined, characters))
        # The upper half of a hash as a fraction of all hashes: an even spread without a division.
        ids.append(((hashes >> _HALF) * np.uint64(buckets) >> _HALF).view(np.int64))
        offsets[done + 1 : done + 1 + len(chunk)] = counts
        done += len(chunk)
    return np.concatenate(ids), offsets.cumsum()


def chunks(texts: Sequence[str], characters: int) -> Iterator[Sequence[str]]:
    """The texts in order, in groups of at most so many characters; a longer text is a group of its own."""
    start = size = 0
    for index, text in enumerate(texts):
        size += len(text)
        if size > characters and index > start:
            yield texts[start:index]
            start, size = index, len(text)
    if texts:
        yield texts[start:]


def _merge(
    first: Hashes, first_counts: Integers, second: Hashes, second_counts: Integers
) -> tuple[Hashes, Integers]:
    """The hashes of both, for each text those of the first before those of the second."""
    merged = np.empty(len(first) + len(second), dtype=np.uint64)
    before_first = np.repeat(second_counts.cumsum() - second_counts, first_counts)
    merged[np.arange(len(first)) + before_first] = first
    merged[np.arange(len(second)) + np.repeat(first_counts.cumsum(), second_counts)] = second
    return merged, first_counts + second_counts


def _character_ngrams(joined: bytes, longest: int) -> tuple[Hashes, Integers]:
    """The hash of each n-gram of characters, and how many each text has.

    Args:
        joined: the normalised texts, with NUL before and after each.
        longest: the bytes of the longest n-gram, at most those of a word of :func:`_read`.
    """
    blanks = (np.frombuffer(joined.translate(_CLASSES), dtype=np.uint8) == _SPACE).cumsum()
    words = _words(joined.translate(_BLANKS))
    hashes, starts = [], []
    for size in range(SHORTEST_CHARACTERS, longest + 1):
        # Between the first and the last byte there is no space.
        first = np.flatnonzero(blanks[size - 2 : -1] == blanks[: -size + 1])
        hashes.append(_mix(_read(words, first, np.full(len(first), size)) * _CHARACTER_BASE))
        # The first byte may be the NUL before the text; the next one is in the text.
        starts.append(first + 1)
    begins = np.concatenate(starts)
    order = begins.argsort(kind="stable")
    texts = np.flatnonzero(np.frombuffer(joined, dtype=np.uint8) == 0)
    return np.concatenate(hashes)[order], np.diff(begins[order].searchsorted(texts))


def _ngrams(joined: bytes, ngrams: int) -> tuple[Hashes, Integers]:
    """The hash of each n-gram of tokens, and how many each text has."""
    tokens, offsets = _tokens(joined)
    tokens_of_text = offsets[1:] - offsets[:-1]
    left = offsets[1:].repeat(tokens_of_text) - np.arange(len(tokens))
    hashes = np.empty((len(tokens), ngrams), dtype=np.uint64)
    inside = np.empty(hashes.shape, dtype=bool)
    hashes[:, 0], inside[:, 0] = tokens, True
    counts = tokens_of_text
    for size in range(2, ngrams + 1):
        starts = slice(max(0, len(tokens) - size + 1))
        hashes[starts, size - 1] = hashes[starts, size - 2] * _BASE + tokens[size - 1 :]
        np.greater_equal(left, size, out=inside[:, size - 1])
        counts = counts + np.maximum(tokens_of_text - size + 1, 0)
    return hashes[inside], counts


def _tokens(joined: bytes) -> tuple[Hashes, Integers]:
    """One hash for each token, and where the tokens of each text begin, with the end of the last."""
    data = np.frombuffer(joined, dtype=np.uint8)
    classes = np.frombuffer(joined.translate(_CLASSES), dtype=np.uint8)
    before, after = classes[:-1], classes[1:]
    changes = before != after
    starts = (changes & (after != _SPACE)).nonzero()[0] + 1
    lengths = (changes & (before != _SPACE)).nonzero()[0] + 1 - starts
    words = _words(joined)
    sums = _read(words, starts, lengths) * _BASE
    longer = (lengths > _WORD).nonzero()[0]
    if len(longer):
        sums[longer] += _rest(words, starts[longer], lengths[longer])
    return _mix(sums), starts.searchsorted((data == 0).nonzero()[0])


def _rest(words: Hashes, starts: Integers, lengths: Integers) -> Hashes:
    """A polynomial over the words of tokens from the second word on."""
    counts = (lengths - 1) // _WORD
    ends = counts.cumsum()
    place = np.arange(1, ends[-1] + 1) - (ends - counts).repeat(counts)
    powers = _POWERS if counts.max() < len(_POWERS) else _powers(int(counts.max()) + 1)
    skipped = place * _WORD
    values = _read(words, starts.repeat(counts) + skipped, lengths.repeat(counts) - skipped)
    return np.asarray(np.add.reduceat(values * powers[place], ends - counts))


def _words(data: bytes) -> Hashes:
    """The word of eight bytes at each position; after the last byte there are zeros."""
    words: Hashes = np.ndarray(len(data), "<u8", data + bytes(_WORD), strides=(1,))
    return words


def _read(words: Hashes, starts: Integers, lengths: Integers) -> Hashes:
    """The word of up to eight bytes at each start, of which those beyond the length are zero."""
    return np.asarray(words[starts] & _MASKS[np.minimum(lengths, _WORD)])


def _mix(values: Hashes) -> Hashes:
    """Spread every bit over all 64 (the finaliser of SplitMix64)."""
    values = (values ^ (values >> _SHIFTS[0])) * _FACTORS[0]
    values = (values ^ (values >> _SHIFTS[1])) * _FACTORS[1]
    return np.asarray(values ^ (values >> _SHIFTS[2]))
