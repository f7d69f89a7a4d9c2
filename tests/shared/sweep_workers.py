"""A sweep's workers over Batch in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from memory import MemoryObjects
from modelbuild.aws.batch.jobs import Batch, BatchJob
from modelbuild.clock import Clock
from modelbuild.contract import CandidateOutcome, CandidateTask, Work
from modelbuild.store.sweep import SweepStore
from modelbuild.sweep.workers import Machine, Workers

PREFIX = "s3://bucket/models/shop/mail/12"


def succeeded(task: CandidateTask) -> CandidateOutcome:
    """The outcome of a candidate of which nothing is measured."""
    return CandidateOutcome(task=task, status="succeeded")


class Time:
    """The time, which passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.clock = Clock(lambda: self.now, self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class BatchTwin:
    """Batch in memory: a job has ended when it is submitted.

    Each of its children trains its share, as many candidates at a time as the work says, until a group that
    it trains at the same time crashes it.

    Attributes:
        store: the files of the sweep.
        crashes: whether a worker crashes that trains these at the same time.
        outcome: how a candidate ends.
        time: the time of its workers' head.
        statuses: the status of each job, by id.
    """

    store: SweepStore
    crashes: Callable[[Sequence[CandidateTask]], bool]
    outcome: Callable[[CandidateTask], CandidateOutcome]
    time: Time
    submitted: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    terminated: list[str] = field(default_factory=list)
    works: list[Work] = field(default_factory=list)
    trained: list[str] = field(default_factory=list)
    statuses: dict[str, str] = field(default_factory=dict)

    def submit(self, name: str, **how: Any) -> str:
        """Run a job to its end."""
        self.submitted.append((name, how))
        work = self.store.work(how["environment"]["SWEEP_WORK"])
        self.works.append(work)
        are_well = [self._child(work.share(index), work.processes) for index in range(work.workers)]
        job_id = f"job-{len(self.submitted)}"
        self.statuses[job_id] = "SUCCEEDED" if all(are_well) else "FAILED"
        return job_id

    def _child(self, share: Sequence[CandidateTask], processes: int) -> bool:
        for first in range(0, len(share), processes):
            at_once = share[first : first + processes]
            if self.crashes(at_once):
                return False
            for task in at_once:
                self.trained.append(task.name)
                assert self.store.write_outcome_once(self.outcome(task))
        return True

    def describe(self, job_id: str) -> BatchJob:
        """A job that has ended."""
        return BatchJob(job_id, self.statuses[job_id], "Array Child Job failed", "", {})

    def describe_all(self, job_ids: Sequence[str]) -> dict[str, BatchJob]:
        """The children of array jobs that have ended as their job did, each with a log."""
        found = {}
        for job_id in job_ids:
            status = self.statuses[job_id.partition(":")[0]]
            found[job_id] = BatchJob(job_id, status, "exit code 137", f"log/{job_id}", {})
        return found

    def find(self, queue: str, name: str) -> list[str]:
        """The jobs of this name."""
        assert queue
        return [f"job-{place}" for place, (known, _) in enumerate(self.submitted, 1) if known == name]

    def terminate(self, job_id: str, reason: str) -> None:
        """Note that a job is terminated."""
        assert reason
        self.terminated.append(job_id)


def workers(
    crashes: Callable[[Sequence[CandidateTask]], bool] = lambda _: False,
    outcome: Callable[[CandidateTask], CandidateOutcome] = succeeded,
    *,
    children: int = 4,
    processes: int = 2,
) -> tuple[Workers, BatchTwin]:
    """Workers of which there are up to ``children``, each with room for ``processes`` candidates."""
    store, time = SweepStore(MemoryObjects(), PREFIX), Time()
    batch = BatchTwin(store, crashes, outcome, time)
    made = Workers(
        store=store,
        batch=cast(Batch, batch),
        machine=Machine(
            "modelbuild-default", "definition:1", {"VCPU": 1, "MEMORY": 2048, "GPU": 0}, processes
        ),
        children=children,
        prefix="modelbuild-sweep-shop-mail-12-",
        command=("python", "-m", "modelbuild", "sweep-worker"),
        environment={"ARTIFACTS": PREFIX},
        tags={"modelbuild:model": "mail"},
        timeout=3600,
        on_progress=lambda _: None,
        on_job=lambda _: None,
        work_variable="SWEEP_WORK",
        clock=time.clock,
    )
    return made, batch
