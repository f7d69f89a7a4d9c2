"""The jobs in which the candidates of a sweep are trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from modelbuild.aws.batch import BatchJob
from modelbuild.contract import Candidate, CandidateOutcome, CandidateTask
from modelbuild.errors import AwsError, TrainingFailed
from sweep_workers import workers


def tasks(count: int) -> list[CandidateTask]:
    """Tasks of the candidates from 1 on."""
    candidates = (Candidate(number=number, values={"rate": number}) for number in range(1, count + 1))
    return [CandidateTask(candidate=candidate, stage="search") for candidate in candidates]


def down(numbers: set[int]) -> Callable[[Sequence[CandidateTask]], bool]:
    """Workers go down while they train one of these."""
    return lambda at_once: any(task.candidate.number in numbers for task in at_once)


def statuses(outcomes: Sequence[CandidateOutcome]) -> list[tuple[int, str]]:
    """The number and status of each candidate."""
    return [(outcome.task.candidate.number, outcome.status) for outcome in outcomes]


def test_one_array_job_trains_all() -> None:
    """One request for all: the children share the candidates, and have room for two at the same time."""
    made, batch = workers()
    assert statuses(made.train("round-1", tasks(9))) == [(number, "succeeded") for number in range(1, 10)]
    ((name, how),) = batch.submitted
    assert name == "modelbuild-sweep-shop-mail-12-round-1"
    assert how["children"] == 4
    assert how["resources"] == {"VCPU": 2, "MEMORY": 4096, "GPU": 0}
    assert [len(batch.works[0].tasks[index::4]) for index in range(4)] == [3, 2, 2, 2]


def test_few_candidates_need_few_children() -> None:
    """A child without a candidate would only start a machine."""
    made, batch = workers()
    made.train("final", tasks(3))
    assert batch.submitted[0][1]["children"] == 2


def test_what_has_ended_is_not_trained_again() -> None:
    """A head that goes on trains what is left; with nothing left it submits nothing."""
    made, batch = workers()
    made.train("round-1", tasks(4))
    assert len(made.train("round-1", tasks(6))) == 6
    assert [task.candidate.number for task in batch.works[1].tasks] == [5, 6]
    made.train("round-1", tasks(6))
    assert len(batch.submitted) == 2


def test_a_candidate_whose_worker_dies_is_tried_once_more_alone() -> None:
    """Those that a dead worker had left are trained by others; what kills a worker twice counts as failed."""
    made, batch = workers(down({2}))
    outcomes = made.train("round-1", tasks(9))
    assert [number for number, status in statuses(outcomes) if status == "failed"] == [2]
    assert "twice" in outcomes[1].reason
    # The second child had the candidates 2 and 6.
    assert [task.candidate.number for task in batch.works[1].tasks] == [2, 6]
    assert (batch.works[1].processes, batch.works[1].workers) == (1, 2)


@pytest.mark.parametrize("processes", [1, 2])
def test_only_candidates_that_take_workers_down_are_lost(processes: int) -> None:
    """What stood behind them in the share of a dead worker is trained, however long that share was."""
    killers = {1, 2, 50}
    made, batch = workers(down(killers), children=2, processes=processes)
    outcomes = made.train("round-1", tasks(100))
    assert {number for number, status in statuses(outcomes) if status == "failed"} == killers
    assert all("twice" in outcomes[number - 1].reason for number in killers)
    # Each had its second training in a worker that trains one candidate at a time.
    for number in killers:
        found = [work for work in batch.works if number in {task.candidate.number for task in work.tasks}]
        assert found[-1].processes == 1


def test_jobs_in_which_nothing_ends_are_not_repeated_for_ever() -> None:
    """Where no worker starts at all, candidates are tried alone three times, and then all count as failed."""
    made, batch = workers(lambda _: True)
    outcomes = made.train("round-1", tasks(100))
    assert [work.processes for work in batch.works] == [2, 1, 1, 2, 1]
    assert {status for _, status in statuses(outcomes)} == {"failed"}
    assert outcomes[99].reason == (
        "no candidate ended any more, also alone in its worker: Array Child Job failed"
    )


def test_workers_that_stop_starting_are_not_tried_for_ever() -> None:
    """Once candidates have ended, ten jobs in a row without an end are what ends the sweep."""
    made, batch = workers(down({*range(9, 101)}), children=1)
    outcomes = made.train("round-1", tasks(100))
    assert [status for _, status in statuses(outcomes)].count("succeeded") == 8
    assert sum(work.processes == 1 for work in batch.works) == 10


def test_jobs_are_terminated_with_the_sweep() -> None:
    """Whatever has been submitted is terminated, and Batch ignores what has ended."""
    made, batch = workers()
    made.train("round-1", tasks(2))
    made.train("round-2", tasks(4))
    made.terminate("the build was cancelled")
    assert batch.terminated == ["job-1", "job-2"]


def test_a_refused_termination_does_not_hide_why_the_sweep_ends() -> None:
    """The head goes on to deliver the result; the recovery finds the job by its name."""
    made, batch = workers()
    made.train("round-1", tasks(2))
    made.train("round-2", tasks(4))

    def refuse(job_id: str, reason: str) -> None:
        batch.terminated.append(f"{job_id} {reason}")
        raise AwsError("terminate job: ThrottlingException")

    batch.terminate = refuse  # type: ignore[method-assign]
    made.terminate("cancelled")
    assert batch.terminated == ["job-1 cancelled", "job-2 cancelled"]


def test_a_sweep_without_a_snapshot_fails() -> None:
    """The first job has no candidates; if it fails, no candidate could be trained."""
    made, batch = workers()
    made.prepare()
    assert batch.works[0].tasks == ()
    batch.describe = lambda job_id: BatchJob(job_id, "FAILED", "no rows", "", {})  # type: ignore[method-assign]
    with pytest.raises(TrainingFailed, match="no rows"):
        made.prepare()
