from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from modelbuild.flow.models import shuffle
from modelbuild.flow.models.shuffle import Rows, Shuffle, concatenate, sort_by_bin


def numbered(start: int, end: int) -> Rows:
    """Rows that can be told apart: row n has n % 4 buckets, each of them n."""
    numbers = np.arange(start, end, dtype=np.int32)
    counts = numbers % 4
    return Rows(numbers, counts, numbers.repeat(counts))


def add(made: Shuffle, rows: Rows) -> None:
    """Add rows as a training does."""
    bins = made.draw_bins(len(rows.targets))
    made.add(sort_by_bin(rows, bins), bins)


def orders(seed: int) -> list[Rows]:
    """Two epochs of 5,000 rows that were added in three parts."""
    with Shuffle(seed) as made:
        for start, end in ((0, 1_000), (1_000, 1_000), (1_000, 5_000)):
            rows = numbered(start, end)
            add(made, rows)
        return [concatenate(made.epoch()) for _ in range(2)]


@pytest.mark.parametrize(("in_memory", "mixed"), [(2**22, 2**22), (64, 100)], ids=["memory", "files"])
def test_each_row_is_there_once_in_a_new_order(
    monkeypatch: pytest.MonkeyPatch, in_memory: int, mixed: int
) -> None:
    """Each epoch has all rows with their own buckets; its order differs by epoch and seed, and repeats."""
    monkeypatch.setattr(shuffle, "_IN_MEMORY", in_memory)
    monkeypatch.setattr(shuffle, "_MIXED", mixed)
    first, second = orders(1)
    for epoch in (first, second):
        assert sorted(epoch.targets) == list(range(5_000))
        assert (epoch.counts == epoch.targets % 4).all()
        assert (epoch.ids == epoch.targets.repeat(epoch.counts)).all()
    assert (first.targets != second.targets).any()
    assert (orders(1)[0].targets == first.targets).all()
    assert (orders(2)[0].targets != first.targets).any()


def test_rows_that_came_together_are_far_apart() -> None:
    """The first tenth of the rows is spread evenly over an order, as rows in a table are often sorted."""
    first, _ = orders(1)
    places = np.flatnonzero(first.targets < 500)
    assert np.histogram(places, bins=5, range=(0, 5_000))[0] == pytest.approx([100] * 5, abs=40)


def test_memory_does_not_grow_with_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """64 MB of n-grams are added and read with at most 32 MB in memory."""
    monkeypatch.setattr(shuffle, "_IN_MEMORY", 2**14)
    monkeypatch.setattr(shuffle, "_MIXED", 2**19)
    part = Rows(*(np.full(size, value, np.int32) for size, value in ((1_000, 0), (1_000, 500), (500_000, 1))))
    tracemalloc.start()
    try:
        with Shuffle(1) as made:
            for _ in range(32):
                add(made, part)
            rows = sum(len(some.targets) for some in made.epoch())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert rows == 32_000
    assert peak < 32 * 2**20
