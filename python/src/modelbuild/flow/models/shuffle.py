"""Rows of n-grams in a new random order for each epoch, most of them in temporary files.

In memory are at most 256 MB of bins, and three times the rows that are mixed at once: 16 MB of n-grams, or
one bin, which has a 64th of all.
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

_BINS = 64
_IN_MEMORY = 4 * 2**20
"""Bytes of a bin beyond which it is written to a temporary file: 256 MB for all bins together."""

_MIXED = 4 * 2**20
"""N-grams that are mixed at once: bins are read together until they have so many, which are 16 MB."""


@dataclass(frozen=True)
class Rows:
    """Some texts: the number of the label of each, how many n-grams it has, and the buckets of all these."""

    targets: Numbers
    counts: Numbers
    ids: Numbers

    def select(self, chosen: npt.NDArray[np.int64]) -> Rows:
        """The rows with these numbers, in this order."""
        ends = self.counts.cumsum(dtype=np.int64)
        counts = self.counts[chosen]
        new_ends = counts.cumsum(dtype=np.int64)
        moved = (ends[chosen] - new_ends).repeat(counts)
        moved += np.arange(len(moved))
        return Rows(self.targets[chosen], counts, self.ids.take(moved))

    def split(self, ends: npt.NDArray[np.int64]) -> Iterator[Rows]:
        """The rows before the first of these numbers, those from there to the second one, and so on."""
        ids_before = np.concatenate([[0], self.counts.cumsum(dtype=np.int64)])
        for first, last in pairwise([0, *ends.tolist(), len(self.targets)]):
            ids = self.ids[ids_before[first] : ids_before[last]]
            yield Rows(self.targets[first:last], self.counts[first:last], ids)

    def to_bytes(self) -> bytes:
        """One block of a bin's file."""
        head = np.array([len(self.targets), len(self.ids)], dtype=np.int32)
        return np.concatenate([head, self.targets, self.counts, self.ids]).tobytes()


def concatenate(parts: Iterable[Rows]) -> Rows:
    """All rows, one part after the other."""
    columns = zip(*((part.targets, part.counts, part.ids) for part in parts), strict=True)
    return Rows(*map(np.concatenate, columns))


class Shuffle:
    """Rows that are added once and read in one random order after the other.

    Each row goes to a bin that is drawn for it. An epoch draws the order of the bins, reads some at a time,
    and mixes their rows: an external shuffle, which also mixes rows that came sorted. Large bins are
    temporary files. The same rows and seed give the same orders.
    """

    def __init__(self, seed: int):
        self._random = np.random.default_rng(seed)
        self._files = ExitStack()
        self._bins = [self._files.enter_context(_bin()) for _ in range(_BINS)]

    def __enter__(self) -> Shuffle:
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    def add(self, rows: Rows) -> None:
        """Put each row into a bin."""
        drawn = self._random.integers(_BINS, size=len(rows.targets))
        by_bin = rows.select(drawn.argsort(kind="stable"))
        ends = np.bincount(drawn, minlength=_BINS).cumsum()
        for file, part in zip(self._bins, by_bin.split(ends[:-1]), strict=True):
            if len(part.targets):
                file.write(part.to_bytes())

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
        return rows.select(self._random.permutation(len(rows.targets)))


def _bin() -> tempfile.SpooledTemporaryFile[bytes]:
    return tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)
