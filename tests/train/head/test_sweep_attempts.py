"""A sweep that failed, and goes on when its train step is retried."""

from __future__ import annotations

from collections.abc import Set
from typing import Any, cast

import pytest

import sweeps
from memory import MemoryObjects
from modelbuild.aws.batch.jobs import Batch
from modelbuild.contract import CandidateOutcome, CandidateTask, DataSnapshot, HeadEnvironment
from modelbuild.errors import TrainingFailed
from modelbuild.store.model import ModelStore
from modelbuild.store.sweep import SweepStore
from modelbuild.sweep.workers import Workers
from modelbuild.train.head.sweep import SweepHead
from modelbuild.train.head.watch import Watch
from samples import request_for
from sweep_workers import PREFIX, BatchTwin, workers

KILLED, DIVERGED = "its process was killed", "it diverged"


class Sweeping:
    """A sweep of four candidates, whose heads come one after another."""

    def __init__(self, **options: Any) -> None:
        objects = MemoryObjects()
        self.store, self.files = ModelStore(objects, PREFIX), SweepStore(objects, PREFIX)
        self.store.write_snapshot_once(DataSnapshot(source="rows", objects=(), rows=1, sha256="d" * 64))
        space = {"epochs": {"minimum": 1, "maximum": 90}}
        asked = sweeps.sweep(**{"candidates": 4, "space": space, "constraints": [], **options})
        self.request, self.asked = request_for(PREFIX, sweep=asked), asked

    def head(self, attempt: int, reason: str, well: Set[int]) -> tuple[SweepHead, Workers, BatchTwin]:
        """The head of an attempt, in which candidates fail for a reason, and its workers."""

        def outcome(task: CandidateTask) -> CandidateOutcome:
            if task.candidate.number in well:
                return CandidateOutcome(task=task, status="succeeded")
            return CandidateOutcome(task=task, status="failed", reason=reason)

        made, batch = workers(outcome=outcome)
        made.store = batch.store = self.files
        own = HeadEnvironment.read({"ARTIFACTS": PREFIX, "ATTEMPT": str(attempt)})
        head = SweepHead(own, {}, self.store, cast(Batch, batch), None, Watch(None, None))
        return head, made, batch

    def search(self, attempt: int, reason: str, well: Set[int] = frozenset()) -> tuple[str, list[str]]:
        """Run the sweep until it fails; why, and the names of what was trained."""
        head, made, batch = self.head(attempt, reason, well)
        with pytest.raises(TrainingFailed) as caught:
            head._run(self.request, self.asked, made)
        return str(caught.value), batch.trained

    def offer(self, attempt: int, reason: str, well: Set[int] = frozenset()) -> tuple[str, list[str]]:
        """The same with the training of the best candidates on all rows."""
        head, made, batch = self.head(attempt, reason, well)
        leaderboard = sweeps.leaderboard(self.request, offered=0)
        with pytest.raises(TrainingFailed) as caught:
            head._offer(self.request, self.asked, leaderboard, made, lambda row: row.model_id.encode())
        return str(caught.value), batch.trained


def names(attempt: int, stage: str = "search") -> set[str]:
    """The tasks of all four candidates in a later attempt."""
    return {f"{stage}-{number}-attempt-{attempt}" for number in range(1, 5)}


def test_a_retry_trains_anew_where_all_candidates_failed() -> None:
    """It may have more memory or another permission, so no failure of an earlier attempt stands."""
    sweeping = Sweeping()
    assert KILLED in sweeping.search(1, KILLED)[0]
    reason, trained = sweeping.search(2, DIVERGED)
    assert DIVERGED in reason
    assert set(trained) == names(2)


def test_a_head_that_batch_starts_again_trains_nothing_twice() -> None:
    """In the same attempt the failures of its own stand, and those of earlier attempts do not come back."""
    sweeping = Sweeping()
    sweeping.search(1, KILLED)
    first, _ = sweeping.search(2, DIVERGED)
    again, trained = sweeping.search(2, KILLED)
    assert (again, trained) == (first, [])


def test_a_retry_goes_on_with_a_search_in_which_a_candidate_succeeded() -> None:
    """Method TPE chooses by how the earlier candidates did, so none of them may change."""
    sweeping = Sweeping()
    sweeping.search(1, KILLED)
    sweeping.search(2, DIVERGED, well={3})
    assert sweeping.search(3, KILLED)[1] == []


def test_a_retry_trains_anew_what_failed_on_all_rows() -> None:
    """Of the best candidates those that succeeded in any attempt keep their models."""
    sweeping = Sweeping()
    assert KILLED in sweeping.offer(1, KILLED)[0]
    _, trained = sweeping.offer(2, KILLED, well={2})
    assert set(trained) == names(2, "final")
    assert sweeping.offer(2, KILLED)[1] == []
    _, trained = sweeping.offer(3, DIVERGED)
    assert set(trained) == names(3, "final") - {"final-2-attempt-3"}


def test_a_candidate_that_was_stopped_is_no_reason() -> None:
    """With early stopping, why no candidate can be offered is what those say that went on and failed."""
    sweeping = Sweeping()
    head, made, _ = sweeping.head(1, KILLED, frozenset())
    ended = [("stopped", "others of its rung were better"), ("failed", DIVERGED), ("failed", KILLED)]
    board = sweeps.leaderboard(sweeping.request, offered=0)
    rows = (
        row.model_copy(update={"rank": None, "status": status, "reason": reason})
        for row, (status, reason) in zip(board.rows, ended, strict=False)
    )
    board = board.model_copy(update={"rows": tuple(rows)})
    with pytest.raises(TrainingFailed, match=f"none of 3 candidates can be offered; the first: {DIVERGED}$"):
        head._offer(sweeping.request, sweeping.asked, board, made, lambda row: row.model_id.encode())


def test_minutes_count_from_the_attempt_that_began_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """A retry on the next day has its rounds; one that goes on with a search has what is left of its time."""
    ages = {f"{PREFIX}/attempts/1.head": 86_400.0, f"{PREFIX}/attempts/2.head": 0.0}
    monkeypatch.setattr(MemoryObjects, "age", lambda _, uri: ages.get(uri))
    late = Sweeping(minutes=5, round=2)
    assert set(late.search(1, KILLED)[1]) == {"search-1", "search-2"}
    assert set(late.search(2, DIVERGED)[1]) == names(2)
    goes_on = Sweeping(minutes=5, round=2)
    goes_on.search(1, KILLED, well={1})
    assert goes_on.search(2, DIVERGED)[1] == []
