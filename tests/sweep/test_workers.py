"""The jobs in which the candidates of a sweep are trained."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from botocore.exceptions import ClientError

from modelbuild.aws.batch.jobs import BatchJob
from modelbuild.aws.failures import NotFound, translated
from modelbuild.contract import Candidate, CandidateOutcome, CandidateTask
from modelbuild.errors import AwsError, TrainingFailed
from modelbuild.store.sweep import SweepStore
from modelbuild.sweep.workers import Workers
from sweep_workers import BatchTwin, workers


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
    assert re.fullmatch(r"modelbuild-sweep-shop-mail-12-[0-9a-f]{8}-round-1", name)
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
        "no candidate ended any more, also alone in its worker: exit code 137; its log is log/job-5:0 of "
        "/aws/batch/modelbuild"
    )


def test_workers_that_stop_starting_are_not_tried_for_ever() -> None:
    """Once candidates have ended, ten jobs in a row without an end are what ends the sweep."""
    made, batch = workers(down({*range(9, 101)}), children=1)
    outcomes = made.train("round-1", tasks(100))
    assert [status for _, status in statuses(outcomes)].count("succeeded") == 8
    assert sum(work.processes == 1 for work in batch.works) == 10


def three_rounds(**statuses: str) -> tuple[Workers, BatchTwin]:
    """Workers that were submitted as three jobs, which have ended if no other status is given."""
    made, batch = workers()
    for count in (2, 4, 6):
        made.train(f"round-{count}", tasks(count))
    batch.statuses.update({name.replace("_", "-"): status for name, status in statuses.items()})
    return made, batch


def test_jobs_are_terminated_with_the_sweep() -> None:
    """The newest first: Batch gives the head half a minute, and a long sweep has thousands of jobs that have
    ended.
    """
    made, batch = three_rounds(job_1="RUNNING", job_3="RUNNABLE")
    made.terminate("the build was cancelled")
    assert batch.terminated == ["job-3", "job-1"]


@pytest.mark.parametrize("failures", [0, 1])
def test_a_job_of_which_batch_says_nothing_is_terminated(
    monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    """Batch lists a new job with a delay, and may be out of reach."""
    made, batch = three_rounds()
    monkeypatch.setattr(BatchTwin, "describe_all", Outage(lambda _: {}, failures, SILENCE))
    made.terminate("cancelled")
    assert batch.terminated == ["job-3", "job-2", "job-1"]


def test_a_refused_termination_does_not_hide_why_the_sweep_ends() -> None:
    """The head goes on to deliver the result; the recovery finds the job by its name."""
    made, batch = three_rounds(job_2="RUNNING", job_3="RUNNING")

    def refuse(job_id: str, reason: str) -> None:
        batch.terminated.append(f"{job_id} {reason}")
        raise AwsError("terminate job: ThrottlingException")

    batch.terminate = refuse  # type: ignore[method-assign]
    made.terminate("cancelled")
    assert batch.terminated == ["job-3 cancelled", "job-2 cancelled"]


def test_a_sweep_without_a_snapshot_fails() -> None:
    """The first job has no candidates; if it fails, no candidate could be trained."""
    made, batch = workers()
    made.prepare()
    assert batch.works[0].tasks == ()
    batch.describe = lambda job_id: BatchJob(job_id, "FAILED", "no rows", "a/b", {})  # type: ignore[method-assign]
    with pytest.raises(TrainingFailed, match=r"no rows; its log is a/b of /aws/batch/modelbuild$"):
        made.prepare()


class Outage:
    """Calls that fail as often as is said, and then do what they are for."""

    def __init__(self, call: Callable[..., Any], times: float, error: AwsError) -> None:
        self.call, self.left, self.error = call, times, error

    def __call__(self, *args: Any, **named: Any) -> Any:
        """Fail, or call."""
        if self.left > 0:
            self.left -= 1
            raise self.error
        return self.call(*args, **named)


UNKNOWN = NotFound("Batch has no job job-1")
SILENCE = AwsError("could not look at job job-1 (Read timeout)")


def refused() -> AwsError:
    """What the answer of AWS to a call without permission becomes."""
    answer: Any = {
        "Error": {"Code": "AccessDeniedException", "Message": "no"},
        "ResponseMetadata": {"HTTPStatusCode": 403},
    }
    with pytest.raises(AwsError) as caught, translated("submit job"):
        raise ClientError(answer, "SubmitJob")
    return caught.value


@pytest.mark.parametrize(
    ("place", "method"),
    [("batch", "describe"), ("batch", "submit"), ("store", "outcome_names"), ("store", "outcomes")],
)
@pytest.mark.parametrize("error", [UNKNOWN, SILENCE])
def test_a_sweep_outlasts_ten_minutes_without_an_answer(
    monkeypatch: pytest.MonkeyPatch, place: str, method: str, error: AwsError
) -> None:
    """Batch may not know a job that it has just taken, and AWS may be out of reach for a while."""
    made, batch = workers()
    owner = {"batch": BatchTwin, "store": SweepStore}[place]
    outage = Outage(getattr(batch if place == "batch" else made.store, method), 20, error)
    monkeypatch.setattr(owner, method, lambda _, *args, **named: outage(*args, **named))
    assert statuses(made.train("round-1", tasks(2))) == [(1, "succeeded"), (2, "succeeded")]
    assert len(batch.submitted) == 1
    assert batch.time.now >= 600


def test_an_outage_of_hours_ends_the_sweep() -> None:
    """The head does not wait until its own timeout; a retried step goes on."""
    made, batch = workers()
    batch.describe = Outage(batch.describe, float("inf"), SILENCE)  # type: ignore[method-assign]
    with pytest.raises(AwsError, match="Read timeout"):
        made.train("round-1", tasks(2))
    assert 900 <= batch.time.now < 1000


def test_what_aws_refuses_ends_the_sweep_at_once() -> None:
    """Another try would be refused as well."""
    made, batch = workers()
    batch.submit = Outage(batch.submit, 1, refused())  # type: ignore[method-assign]
    with pytest.raises(AwsError, match="AccessDenied"):
        made.train("round-1", tasks(2))
    assert (batch.submitted, batch.time.now) == ([], 0.0)


def test_a_job_whose_submission_was_not_answered_is_found() -> None:
    """Batch may have taken the job although its answer was lost: a second one would train the same."""
    made, batch = workers()
    submit = batch.submit

    def lose_answer(name: str, **how: Any) -> str:
        submit(name, **how)
        raise SILENCE

    batch.submit = lose_answer  # type: ignore[method-assign]
    assert statuses(made.train("round-1", tasks(2))) == [(1, "succeeded"), (2, "succeeded")]
    assert len(batch.submitted) == 1
    batch.statuses["job-1"] = "RUNNING"
    made.terminate("the build was cancelled")
    assert batch.terminated == ["job-1"]


def test_no_two_jobs_have_the_same_name() -> None:
    """By its name a job is found whose submission was not answered."""
    made, batch = workers(down({1}))
    made.train("round-1", tasks(2))
    assert len({name for name, _ in batch.submitted}) == len(batch.submitted) > 1
