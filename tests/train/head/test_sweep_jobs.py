"""The jobs in which a sweep's candidates are trained: how many at the same time, and their names."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sweeps
from memory import MemoryObjects
from modelbuild.aws.batch.jobs import Batch
from modelbuild.contract import HeadEnvironment, TrainingRequest
from modelbuild.errors import TrainingFailed
from modelbuild.store.model import ModelStore
from modelbuild.train.head.progress import ProgressPage
from modelbuild.train.head.sweep import SweepHead
from modelbuild.train.head.sweep_jobs import run_of, share_out
from modelbuild.train.head.watch import Watch
from samples import build, request_for
from sweep_workers import PREFIX, workers

SMALL = {"cpu": 1, "memory": 2048, "gpu": 0}


@pytest.mark.parametrize(
    ("size", "most", "children", "processes"),
    [
        (SMALL, 1, 1, 1),
        (SMALL, 4, 1, 4),
        (SMALL, 5, 2, 2),
        (SMALL, 6, 2, 3),
        (SMALL, 8, 2, 4),
        (SMALL, 10, 3, 3),
        ({"cpu": 2, "memory": 2048, "gpu": 0}, 8, 4, 2),
        ({"cpu": 8, "memory": 30_720, "gpu": 0}, 3, 3, 1),
        ({"cpu": 1, "memory": 2048, "gpu": 1}, 3, 3, 1),
    ],
)
def test_children_are_as_full_as_may_be(
    size: dict[str, int], most: int, children: int, processes: int
) -> None:
    """As few children as hold so many candidates, each with as many as the others."""
    assert share_out(size, most) == (children, processes)


@given(st.integers(1, 8), st.integers(256, 16_384), st.integers(0, 1), st.integers(1, 1000))
def test_no_more_candidates_run_at_the_same_time_than_asked_for(
    cpu: int, memory: int, gpu: int, most: int
) -> None:
    """Whatever fits into a child: max-parallel is a limit, of which at least half is used."""
    children, processes = share_out({"cpu": cpu, "memory": memory, "gpu": gpu}, most)
    assert most / 2 < children * processes <= most
    assert processes == 1 or (processes * cpu <= 4 and processes * memory <= 15_360)


def request_of(pipeline: str, model: str, number: int) -> TrainingRequest:
    """The request of a build."""
    artifacts = f"s3://bucket/models/{pipeline}/{model}/{number}"
    return request_for(artifacts, build=build(number, pipeline), sweep=sweeps.sweep())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("shop", "resnet", 50), ("shop", "resnet-50", 57)),
        (("nlp", "bert-base", 7), ("nlp-bert", "base", 7)),
    ],
)
def test_the_jobs_of_a_sweep_are_not_those_of_another_one(
    one: tuple[str, str, int], other: tuple[str, str, int]
) -> None:
    """A head that goes on ends the jobs whose names begin as its own did."""
    ours, theirs = (run_of(request_of(*which)).run_id for which in (one, other))
    assert not fnmatchcase(f"{theirs}-round-1", f"{ours}-*")
    assert not fnmatchcase(f"{ours}-round-1", f"{theirs}-*")


class Page:
    """Keeps what a build's page says of a sweep."""

    def __init__(self) -> None:
        self.said = ""

    def show_sweep(self, sentence: str) -> None:
        """Keep a sentence."""
        self.said = sentence


def head(page: Any = None, **variables: str) -> SweepHead:
    """A head whose flow has taken no snapshot."""
    own = HeadEnvironment.read({"ARTIFACTS": PREFIX, **variables})
    store = ModelStore(MemoryObjects(), PREFIX)
    return SweepHead(own, {}, store, cast(Batch, None), cast(ProgressPage, page), Watch(None, None))


def test_the_page_counts_candidates_and_not_rungs() -> None:
    """With early stopping a candidate is trained several times; what an earlier attempt trained is over."""
    page = Page()
    show = head(page)._progress(2)
    show(
        {
            "search-1-rung-1-attempt-2",
            "search-1-attempt-2",
            "search-2-rung-1-attempt-2",
            "search-3",
            "final-1",
        }
    )
    assert re.search(r": 2 candidates have been trained, and 1 of the best on all rows\.$", page.said)


def test_a_flow_that_takes_no_snapshot_at_its_start_is_a_sentence() -> None:
    """No candidate could be trained, and each would say so by itself."""
    request = request_for(PREFIX, sweep=sweeps.sweep())
    made, batch = workers()
    assert request.sweep is not None
    with pytest.raises(TrainingFailed, match=r"step start of the flow has taken no snapshot.*: call"):
        head()._run(request, request.sweep, made)
    assert [work.tasks for work in batch.works] == [()]
