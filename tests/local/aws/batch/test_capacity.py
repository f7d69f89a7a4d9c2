"""The order in which jobs get machines."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from modelbuild_local.aws.batch.capacity import Capacity, Share
from waiting import SECONDS


def never() -> bool:
    """A job that keeps waiting."""
    return False


def test_first_come_first_served(wait: Callable[..., Any]) -> None:
    """A small job does not overtake a large one that waits: the large one would starve."""
    capacity = Capacity(2, 0)
    first = capacity.take(1, 0, never)
    assert first
    with ThreadPoolExecutor() as pool:
        large = pool.submit(capacity.take, 2, 0, never)
        wait(lambda: capacity._line)
        small = pool.submit(capacity.take, 1, 0, never)
        wait(lambda: len(capacity._line) == 2)
        assert not small.done()
        capacity.release(first)
        share = large.result(SECONDS)
        assert share == Share(2, ())
        assert not small.done()
        capacity.release(share)
        assert small.result(SECONDS) == Share(1, ())


def test_terminated_job_leaves_the_queue() -> None:
    """A terminated job leaves the line, and the next one gets its place."""
    capacity = Capacity(1, 0)
    assert capacity.take(1, 0, never)
    assert capacity.take(1, 0, lambda: True) is None
    assert not capacity._line


@given(st.lists(st.tuples(st.floats(0.25, 64), st.integers(0, 8)), max_size=8))
def test_a_job_larger_than_the_machine_gets_all_of_it(wishes: list[tuple[float, int]]) -> None:
    """No job waits for what does not exist, and everything given back is whole again."""
    capacity = Capacity(4, 2)
    for vcpus, gpus in wishes:
        share = capacity.take(vcpus, gpus, never)
        assert share
        assert share.vcpus == min(vcpus, 4)
        assert share.gpus == tuple(range(min(gpus, 2)))
        capacity.release(share)
