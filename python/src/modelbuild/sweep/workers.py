"""Trains candidates as children of array jobs on Batch, and waits until each has ended.

An array job takes one request whatever the number of its children, and a look at how far it is takes two: one
of Batch and one of S3. Metaflow's foreach takes several requests for each task, and a job and a process for
each of its steps.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from modelbuild import log
from modelbuild.aws.batch.jobs import Batch, BatchJob
from modelbuild.aws.failures import is_refusal
from modelbuild.clock import SYSTEM_CLOCK, Clock
from modelbuild.contract import LOG_GROUP, CandidateOutcome, CandidateTask, Work
from modelbuild.errors import AwsError, TrainingFailed
from modelbuild.store.sweep import SweepStore

Answer = TypeVar("Answer")

_FIRST_LOOK_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 15.0
_PAUSE_GROWTH = 1.2
_PATIENCE_SECONDS = 900.0
"""How long S3 and Batch may give no answer."""
_AGAIN_SECONDS = 30.0
"""How long to wait before another try; Batch lists a new job with a delay."""
_LOST_REASON = "the job that trained it ended before it did, twice"
_FRUITLESS_JOBS = 10
"""After so many jobs in a row that retry candidates, and in which none ended, all that are left fail."""
_FIRST_FRUITLESS_JOBS = 3
"""The same while no candidate has ended yet: then it is likely that no worker starts at all."""


@dataclass(frozen=True)
class Machine:
    """What a child of an array job runs on.

    Attributes:
        queue: the queue.
        definition: the ARN of the job definition.
        resources: ``VCPU``, ``MEMORY`` in MiB and ``GPU`` of one candidate.
        processes: how many candidates a child trains at the same time.
    """

    queue: str
    definition: str
    resources: Mapping[str, int]
    processes: int


@dataclass
class Workers:
    """The workers of one sweep.

    Attributes:
        store: the files of the sweep.
        batch: submits the jobs.
        machine: what each child runs on.
        children: how many children an array job has at most.
        prefix: what the names of the jobs begin with, by which they are found when the head has died.
        command: the command of the jobs.
        environment: their variables.
        tags: their tags.
        timeout: how many seconds each may run.
        on_progress: called with the names of the tasks that have ended.
        on_job: called with the id of a job that waits for a machine; for an array job, of its first child.
        work_variable: the variable that names what a worker trains.
        clock: what time is and how it passes.
    """

    store: SweepStore
    batch: Batch
    machine: Machine
    children: int
    prefix: str
    command: Sequence[str]
    environment: Mapping[str, str]
    tags: Mapping[str, str]
    timeout: int
    on_progress: Callable[[set[str]], None]
    on_job: Callable[[str], None]
    work_variable: str
    clock: Clock = SYSTEM_CLOCK
    _jobs: list[str] = field(default_factory=list)

    def prepare(self) -> None:
        """Have the snapshot taken, in a job without candidates.

        Raises:
            TrainingFailed: the job failed.
            AwsError: S3 or Batch refused.
        """
        job_id = self._submit("snapshot", Work(workers=1, processes=1, tasks=()))
        reason = self._wait(job_id, 1, lambda: False)
        if reason:
            raise TrainingFailed(f"the snapshot of the sweep could not be taken: {reason}")

    def train(self, name: str, tasks: Sequence[CandidateTask]) -> list[CandidateOutcome]:
        """Train candidates, except those that have ended before; how each ended, in the same order.

        Candidates that a worker was training when it ended early are trained once more, one at a time in a
        worker: after all others, or at once if no candidate ended. A candidate whose worker then ends early
        again counts as failed. After some such jobs in a row in which none ended, all that are left fail.

        Args:
            name: the name of this part of the sweep, unique in it.
            tasks: what to train.

        Raises:
            AwsError: S3 or Batch refused.
        """
        suspects: set[str] = set()
        has_ended, lost, fruitless, reason = True, 0, 0, ""
        while left := self._left(tasks):
            some_ended = len(left) + lost < len(tasks)
            if fruitless == (_FRUITLESS_JOBS if some_ended else _FIRST_FRUITLESS_JOBS):
                break
            suspected = [task for task in left if task.name in suspects]
            others = [task for task in left if task.name not in suspects]
            is_retry = bool(suspected) and not (others and has_ended)
            work = self._share_out(suspected, 1) if is_retry else self._share_out(others)
            reason = self._run(name, work) or "the job succeeded without them"
            still = self._left(work.tasks)
            if still:
                log.info(f"sweep: {len(still)} candidates of {name} have not ended: {reason}")
            in_flight = _in_flight(work, still)
            if is_retry:
                lost += len(in_flight)
                for task in in_flight:
                    self._lose(task, _LOST_REASON)
            suspects |= {task.name for task in in_flight}
            has_ended = len(still) < len(work.tasks)
            fruitless = 0 if has_ended else fruitless + is_retry
        for task in self._left(tasks):
            self._lose(task, f"no candidate ended any more, also alone in its worker: {reason}")
        outcomes = self._patiently(lambda: self.store.outcomes([*tasks]))
        return [found for found in outcomes if found is not None]

    def _share_out(self, tasks: Sequence[CandidateTask], processes: int | None = None) -> Work:
        processes = processes or self.machine.processes
        children = min(self.children, -(-len(tasks) // processes))
        return Work(workers=children, processes=processes, tasks=tuple(tasks))

    def _run(self, name: str, work: Work) -> str:
        """Train candidates in one array job; returns why the job failed, or an empty text."""
        job_id = self._submit(name, work)
        return self._wait(job_id, work.workers, lambda: not self._left(work.tasks))

    def _lose(self, task: CandidateTask, reason: str) -> None:
        lost = CandidateOutcome(task=task, status="failed", reason=reason)
        self._patiently(lambda: self.store.write_outcome_once(lost))

    def terminate(self, reason: str) -> None:
        """Terminate the jobs that have been submitted and not ended, the newest first.

        A job that Batch does not terminate now is found by its name, and terminated, when the head has ended.
        """
        for job_id in self._not_ended():
            try:
                self.batch.terminate(job_id, reason)
            except AwsError as error:
                log.info(f"sweep: {error}")

    def _not_ended(self) -> list[str]:
        """The jobs that may still run, the newest first; a job of which Batch says nothing is one of them.

        Batch kills the head half a minute after SIGTERM, and a long sweep has thousands of ended jobs.
        """
        try:
            known = self.batch.describe_all(self._jobs)
        except AwsError as error:
            log.info(f"sweep: {error}")
            known = {}
        return [one for one in reversed(self._jobs) if one not in known or not known[one].ended]

    def _left(self, tasks: Sequence[CandidateTask]) -> list[CandidateTask]:
        ended = self._patiently(self.store.outcome_names)
        self.on_progress(ended)
        return [task for task in tasks if task.name not in ended]

    def _submit(self, label: str, work: Work) -> str:
        uri = self._patiently(lambda: self.store.write_work(work))
        each = {kind: value * work.processes for kind, value in self.machine.resources.items()}
        # No other job has this name, so that one is found whose submission was not answered.
        name = f"{self.prefix}{uuid.uuid4().hex[:8]}-{label}"[:128]
        was_sent = False

        def send() -> str:
            nonlocal was_sent
            if was_sent and (found := self.batch.find(self.machine.queue, name)):
                return found[0]
            was_sent = True
            return self.batch.submit(
                name,
                queue=self.machine.queue,
                definition=self.machine.definition,
                command=self.command,
                environment={**self.environment, self.work_variable: uri},
                timeout=self.timeout,
                tags=self.tags,
                resources=each,
                children=work.workers,
            )

        job_id = self._patiently(send)
        self._jobs.append(job_id)
        self.on_job(f"{job_id}:0" if work.workers > 1 else job_id)
        log.info(f"sweep: job {job_id} with {work.workers} workers of {work.processes} candidates at a time")
        return job_id

    def _wait(self, job_id: str, children: int, are_done: Callable[[], bool]) -> str:
        """Wait until a job has ended or its work is done; returns why it failed, or an empty text."""
        pause = _FIRST_LOOK_SECONDS
        while True:
            job = self._patiently(lambda: self.batch.describe(job_id))
            if job.ended:
                return "" if job.status == "SUCCEEDED" else self._failure_reason(job, children)
            if are_done():
                return ""
            self.clock.sleep(pause)
            pause = min(pause * _PAUSE_GROWTH, _LONGEST_PAUSE_SECONDS)

    def _failure_reason(self, job: BatchJob, children: int) -> str:
        """Why a job failed, and where its log is; of an array job, those of its first child that failed."""
        ids = [f"{job.id}:{index}" for index in range(children)] if children > 1 else []
        found = self._patiently(lambda: self.batch.describe_all(ids))
        failed = next((found[one] for one in ids if one in found and found[one].status == "FAILED"), job)
        where = f"; its log is {failed.log_stream} of {LOG_GROUP}" if failed.log_stream else ""
        return f"{failed.reason or 'Batch gives no reason'}{where}"

    def _patiently(self, call: Callable[[], Answer]) -> Answer:
        """The answer to a call, which is made again for a while if AWS does not answer, or lacks a new job.

        Raises:
            AwsError: AWS refused, or has not answered for too long.
        """
        until = self.clock.now() + _PATIENCE_SECONDS
        while True:
            try:
                return call()
            except AwsError as error:
                if is_refusal(error) or self.clock.now() > until:
                    raise
                log.info(f"sweep: {error}; trying again")
            self.clock.sleep(_AGAIN_SECONDS)


def _in_flight(work: Work, left: Sequence[CandidateTask]) -> list[CandidateTask]:
    """The tasks that the children of a job may have been training when it ended.

    A child takes the tasks of its share in order, so these are the first of each share that are left.
    """
    names = {task.name for task in left}
    shares = (work.share(index) for index in range(work.workers))
    return [
        task for share in shares for task in [task for task in share if task.name in names][: work.processes]
    ]
