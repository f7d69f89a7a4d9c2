"""Rows of n-grams in a new random order for each epoch, most of them in temporary files.

The memory holds at most 256 MB of bins, and three times the rows that are mixed at once: those have 16 MB of
n-grams, or, if that is more, the n-grams of one bin, a 64th of all.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int32]
Bins = npt.NDArray[np.uint8]

_BINS = 64
_MOST_BUCKETS = np.iinfo(np.int32).max
_IN_MEMORY = 4 * 2**20
"""Bytes of a bin beyond which it is written to a temporary file: 256 MB for all bins together."""

_MIXED = 4 * 2**20
"""Bins are read until they have so many n-grams, 16 MB, and these are mixed at once."""


@dataclass(frozen=True)
class Rows:
    """Some texts: the number of the label of each, how many n-grams it has, and the buckets of all these."""

    targets: Numbers
    counts: Numbers
    ids: Numbers

    def split(self, ends: npt.NDArray[np.int64]) -> Iterator[Rows]:
        """The rows before the first of these numbers, those from there to the second one, and so on."""
        ids_before = np.concatenate([[0], self.counts.cumsum(dtype=np.int64)])
        for first, last in pairwise([0, *ends.tolist(), len(self.targets)]):
            ids = self.ids[ids_before[first] : ids_before[last]]
            yield Rows(self.targets[first:last], self.counts[first:last], ids)

    def to_block(self) -> memoryview:
        """One block of a bin's file."""
        head = np.array([len(self.targets), len(self.ids)], dtype=np.int32)
        return np.concatenate([head, self.targets, self.counts, self.ids]).data.cast("B")


def concatenate(parts: Iterable[Rows]) -> Rows:
    """All rows, one part after the other."""
    columns = zip(*((part.targets, part.counts, part.ids) for part in parts), strict=True)
    return Rows(*map(np.concatenate, columns))


def sort_by_bin(rows: Rows, bins: Bins) -> Rows:
    """The rows in the order of their bins; those of one bin stay in their order.

    Args:
        rows: some rows.
        bins: the bin of each, by :meth:`Shuffle.draw_bins`.
    """
    # By numpy alone: a process that hashes texts would import scipy for nothing else.
    order = bins.argsort(kind="stable")
    counts = rows.counts[order]
    moved = (rows.counts.cumsum(dtype=np.int64)[order] - counts.cumsum(dtype=np.int64)).repeat(counts)
    moved += np.arange(len(moved))
    return Rows(rows.targets[order], counts, rows.ids.take(moved))


def _reorder(rows: Rows, order: npt.NDArray[np.int64]) -> Rows:
    """The rows in this order."""
    # Imported here, because each process of a flow imports this module.
    from scipy.sparse import csr_array

    # A matrix without values: scipy copies each row as a whole, six times faster than numpy's indexing.
    values = np.empty(len(rows.ids), dtype=np.bool_)
    ends = np.concatenate([[0], rows.counts.cumsum(dtype=np.int64)])
    matrix = csr_array((values, rows.ids, ends), shape=(len(rows.counts), _MOST_BUCKETS))
    ids = matrix[order].indices.astype(np.int32, copy=False)
    return Rows(rows.targets[order], rows.counts[order], ids)


class Shuffle:
    """Rows that are added once and read in one random order after the other.

    Each row goes to a bin that is drawn for it. An epoch draws the order of the bins, reads some at a time,
    and mixes their rows: an external shuffle, which also mixes rows that came sorted. Large bins are
    temporary files. The same rows and seed give the same orders.

    Bins are drawn and filled in the order of the rows; in between, the caller sorts the rows by bin, in
    several processes.
    """

    def __init__(self, seed: int):
        self._random = np.random.default_rng(seed)
        self._files = ExitStack()
        self._bins = [self._files.enter_context(_bin()) for _ in range(_BINS)]

    def __enter__(self) -> Shuffle:
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    def draw_bins(self, rows: int) -> Bins:
        """Draw a bin for each of the next rows; call it in the order of the rows."""
        return self._random.integers(_BINS, size=rows).astype(np.uint8)

    def add(self, rows: Rows, bins: Bins) -> None:
        """Add rows that :func:`sort_by_bin` has sorted; call it in the order of the rows."""
        ends = np.bincount(bins, minlength=_BINS).cumsum()
        for file, part in zip(self._bins, rows.split(ends[:-1]), strict=True):
            if len(part.targets):
                file.write(part.to_block())

    def epoch(self) -> Iterator[Rows]:
        """All rows in a new order, many thousands at a time; a thread mixes the next ones meanwhile."""
        mixed = self._epoch()
        with ThreadPoolExecutor(1) as thread:
            coming = thread.submit(next, mixed, None)
            while (rows := coming.result()) is not None:
                coming = thread.submit(next, mixed, None)
                yield rows

    def _epoch(self) -> Iterator[Rows]:
        some: list[Rows] = []
        for number in self._random.permutation(_BINS):
            some += self._read(number)
            if sum(len(part.ids) for part in some) >= _MIXED:
                yield self._mixed(some)
                some = []
        if some:
            yield self._mixed(some)

    def _read(self, number: int) -> Iterator[Rows]:
        file = self._bins[number]
        file.seek(0)
        data = np.frombuffer(file.read(), dtype=np.int32)
        while len(data):
            rows, ids = data[:2]
            ends = np.array([2, 2 + rows, 2 + 2 * rows, 2 + 2 * rows + ids])
            yield Rows(*(data[start:end] for start, end in pairwise(ends)))
            data = data[ends[-1] :]

    def _mixed(self, parts: list[Rows]) -> Rows:
        rows = concatenate(parts)
        return _reorder(rows, self._random.permutation(len(rows.targets)))


def _bin() -> tempfile.SpooledTemporaryFile[bytes]:
    return tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)
