"""Finds evaluation inputs that are among those of the training: the same ones, and texts that are almost so.

Two texts are almost the same if they differ only in case, punctuation or what else
:func:`~modelbuild.serving.text.normalize` makes equal, or if the Jaccard similarity of their words and pairs
of words is at least :data:`SIMILARITY`.

Similar texts are found by prefix filtering (Chaudhuri, Ganti, Kaushik 2006): in any common order of the
n-grams, two sets that are so similar share one of the first few of each. With the rarest n-grams first, few
other texts share one, so few pairs are compared. The training texts are read some at a time.
"""

from __future__ import annotations

import json
import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue
from scipy import sparse

from modelbuild.serving.features import features
from modelbuild.serving.text import normalize

SIMILARITY = 0.8

Integers = npt.NDArray[np.int64]

_PUNCTUATION = str.maketrans(string.punctuation, " " * len(string.punctuation))
_BUCKETS = 2**22
_ROUNDING = 1e-9
_CHARACTERS = 1_000
"""Of a longer text, only so many characters are compared."""
_TEXTS = 2_000
"""Training texts that are compared at a time."""
_SAME_NGRAM = 50
"""By each of the rarest n-grams, at most so many evaluation texts are compared, which bounds the time."""
_PAIRS = 20_000
"""Pairs that are compared at a time."""


@dataclass(frozen=True)
class Duplicates:
    """How many evaluation inputs are among the training's.

    Attributes:
        exact: inputs that are the same.
        near: further texts that are almost the same; None for inputs that are no texts.
    """

    exact: int
    near: int | None


def find(training: Sequence[JsonValue], evaluation: Sequence[JsonValue]) -> Duplicates:
    """Count the evaluation inputs that are the same as one of the training's, or almost."""
    present = {_key(one) for one in training}
    others = [one for one in evaluation if _key(one) not in present]
    exact = len(evaluation) - len(others)
    train_texts = [one for one in training if isinstance(one, str)]
    other_texts = [one for one in others if isinstance(one, str)]
    if len(train_texts) + len(other_texts) < len(training) + len(others):
        return Duplicates(exact, None)
    return Duplicates(exact, _near(train_texts, other_texts))


def _near(training: Sequence[str], evaluation: Sequence[str]) -> int:
    present = {_words(text) for text in training}
    compared = [words for text in evaluation if (words := _words(text))]
    others = [words for words in compared if words not in present]
    return len(compared) - len(others) + int(_similar([*present], others).sum())


def _key(value: JsonValue) -> str:
    return value if isinstance(value, str) else f"\0{json.dumps(value, sort_keys=True)}"


def _words(text: str) -> str:
    return " ".join(normalize(text[:_CHARACTERS]).translate(_PUNCTUATION).split())


@dataclass(frozen=True)
class _Sets:
    """Sets of n-grams.

    Attributes:
        matrix: which n-grams each text has, of those that an evaluation text has: a row for each text, a
            column for each n-gram, the rarest first.
        sizes: how many n-grams each text has, with those that no evaluation text has.
    """

    matrix: sparse.csr_array
    sizes: Integers

    @classmethod
    def of(cls, ids: Integers, offsets: Integers, column: npt.NDArray[np.int32]) -> _Sets:
        """The sets of these n-grams; ``column`` is -1 for one that no evaluation text has."""
        columns = column[ids]
        present = columns >= 0
        starts = np.concatenate([[0], present.cumsum()])[offsets]
        ones = np.ones(int(present.sum()), np.int32)
        shape = (len(offsets) - 1, int(column.max(initial=0)) + 1)
        matrix = sparse.csr_array((ones, columns[present], starts), shape)
        matrix.sort_indices()
        return cls(matrix, np.diff(offsets))

    def prefixes(self) -> sparse.csr_array:
        """The rarest n-grams of each set, of which each similar set shares one."""
        counts = np.diff(self.matrix.indptr)
        # Those that no evaluation text has are the rarest.
        unknown = self.sizes - counts
        length = self.sizes - np.ceil(SIMILARITY * self.sizes - _ROUNDING) + 1 - unknown
        chosen = self.matrix.copy()
        chosen.data = (_places(chosen.indptr) < np.repeat(length, counts)).astype(np.int32)
        chosen.eliminate_zeros()
        return chosen


def _similar(training: Sequence[str], evaluation: Sequence[str]) -> npt.NDArray[np.bool_]:
    """For each evaluation text whether a training text is similar."""
    found = np.zeros(len(evaluation), dtype=bool)
    ids, offsets = _ngrams(evaluation)
    frequency = np.bincount(ids, minlength=_BUCKETS)
    names = np.flatnonzero(frequency)
    column = np.full(_BUCKETS, -1, dtype=np.int32)
    column[names[np.argsort(frequency[names], kind="stable")]] = np.arange(len(names))
    wanted = _Sets.of(ids, offsets, column)
    index = sparse.csc_array(wanted.prefixes())
    index.data = (_places(index.indptr) < _SAME_NGRAM).astype(np.int32)
    index.eliminate_zeros()
    for start in range(0, len(training), _TEXTS):
        batch = _Sets.of(*_ngrams(training[start : start + _TEXTS]), column)
        pairs = sparse.coo_array(batch.prefixes() @ index.T)
        for chosen in np.array_split(np.arange(pairs.nnz), pairs.nnz // _PAIRS + 1):
            one, other = pairs.row[chosen], pairs.col[chosen]
            shared = batch.matrix[one].multiply(wanted.matrix[other]).sum(axis=1)
            union = batch.sizes[one] + wanted.sizes[other] - shared
            found[other[shared >= SIMILARITY * union - _ROUNDING]] = True
    return found


def _ngrams(texts: Sequence[str]) -> tuple[Integers, Integers]:
    """The different n-grams of each text, and where those of each text begin, with the end of the last."""
    ids, offsets = features(texts, buckets=_BUCKETS, ngrams=2)
    both = np.sort(np.repeat(np.arange(len(texts)), np.diff(offsets)) * _BUCKETS + ids)
    both = both[np.diff(both, prepend=-1) > 0]
    return both % _BUCKETS, both.searchsorted(np.arange(len(texts) + 1) * _BUCKETS)


def _places(offsets: npt.NDArray[Any]) -> Integers:
    """The number of each element in its part, from 0."""
    return np.asarray(np.arange(offsets[-1]) - np.repeat(offsets[:-1], np.diff(offsets)))
