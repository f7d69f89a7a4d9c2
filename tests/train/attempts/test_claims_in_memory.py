"""If several runs of a step ask at the same moment, one submits; the queue and the objects are in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from memory import MemoryObjects
from modelbuild.aws.batch.jobs import BatchJob
from modelbuild.contract import unsuccessful
from modelbuild.errors import ConfigurationError
from modelbuild.store.model import ModelStore
from modelbuild.train.attempts.attempt import Attempts, abandon

BUCKET = "s3://modelbuild-123456789012"


def unsaid(line: str) -> None:
    """Take a line for the log."""
    assert line


class MemoryBatch:
    """A queue of Batch in memory: its jobs by their ids, with what they were submitted with."""

    region = "us-east-1"

    def __init__(self) -> None:
        self.jobs: dict[str, BatchJob] = {}

    def submit(self, name: str, environment: dict[str, str]) -> str:
        """Take a job that runs until it is ended."""
        job_id = f"{name}-{len(self.jobs)}"
        self.jobs[job_id] = BatchJob(job_id, "RUNNING", "", "", environment)
        return job_id

    def describe_all(self, job_ids: list[str]) -> dict[str, BatchJob]:
        """The jobs that it knows."""
        return {job_id: self.jobs[job_id] for job_id in job_ids if job_id in self.jobs}

    def find(self, queue: str, name: str) -> list[str]:
        """All jobs: there is one queue, and one training."""
        assert queue
        return [job_id for job_id in list(self.jobs) if job_id.startswith(name)]


def in_memory(attempts: Attempts) -> Callable[[int], str]:
    """Submits a head to a queue in memory."""
    batch: Any = attempts.batch

    def submit(number: int) -> str:
        environment = {"ARTIFACTS": attempts.store.prefix, "ATTEMPT": str(number)}
        return str(batch.submit(attempts.name, environment))

    return submit


@pytest.mark.parametrize("failed", [False, True])
def test_steps_that_race_in_memory_share_one_head(failed: bool) -> None:
    """Of four runs of a step at the same moment one submits, at first and after a failure."""
    for number in range(200):
        batch: Any = MemoryBatch()
        store = ModelStore(MemoryObjects(), f"{BUCKET}/models/demo/sentiment/{number}")
        attempts = Attempts(store, batch, "modelbuild-head", "a-training")
        if failed:
            first = attempts.find_or_submit(in_memory(attempts), {}, lambda: False, unsaid)
            store.attempt(1).write_result_once(unsuccessful("failed", "no rows"))
            assert first.attempt == 1
        start = threading.Barrier(4)

        def step(attempts: Attempts = attempts, start: threading.Barrier = start) -> str:
            start.wait()
            return attempts.find_or_submit(in_memory(attempts), {}, lambda: False, unsaid).job_id

        with ThreadPoolExecutor(4) as threads:
            heads = {future.result() for future in [threads.submit(step) for _ in range(4)]}
        assert len(heads) == 1
        assert len(batch.jobs) == (2 if failed else 1)


def test_of_the_jobs_of_a_matrix_one_trains() -> None:
    """Buildkite does not tell a job of its matrix, but a first run finds the claim of another job."""
    batch: Any = MemoryBatch()
    store = ModelStore(MemoryObjects(), f"{BUCKET}/models/demo/sentiment/1")
    attempts = Attempts(store, batch, "modelbuild-head", "a-training")
    start = threading.Barrier(4)

    def job(job_id: str) -> str:
        start.wait()
        try:
            return attempts.find_or_submit(
                in_memory(attempts), {"by": job_id}, lambda: False, unsaid, first_run=True
            ).job_id
        except ConfigurationError as error:
            return str(error)

    with ThreadPoolExecutor(4) as threads:
        ended = list(threads.map(job, "abcd"))
    [head] = batch.jobs
    by = store.attempt(1).claimed_by()
    assert ended["abcd".index(by)] == head
    refused = [one for one in ended if one != head]
    assert len(refused) == 3
    assert all(f"job {by} of this build has asked for the training of" in one for one in refused)


def test_a_retry_or_the_same_job_again_attaches() -> None:
    """Buildkite gives a retried job another id; a job that runs the plugin twice has the same one."""
    batch: Any = MemoryBatch()
    attempts = Attempts(
        ModelStore(MemoryObjects(), f"{BUCKET}/models/demo/sentiment/1"),
        batch,
        "modelbuild-head",
        "a-training",
    )

    def asks(job_id: str, first_run: bool) -> str:
        return attempts.find_or_submit(
            in_memory(attempts), {"by": job_id}, lambda: False, unsaid, first_run=first_run
        ).job_id

    assert asks("a", True) == asks("a", True) == asks("b", False)
    assert len(batch.jobs) == 1


def test_retry_does_not_attach_to_a_head_that_is_being_stopped() -> None:
    """A head that was terminated runs until its flow has ended, and its result is a cancellation."""
    batch: Any = MemoryBatch()
    store = ModelStore(MemoryObjects(), f"{BUCKET}/models/demo/sentiment/1")
    attempts = Attempts(store, batch, "modelbuild-head", "a-training")
    first = attempts.find_or_submit(in_memory(attempts), {}, lambda: False, unsaid)
    assert attempts.find_or_submit(in_memory(attempts), {}, lambda: False, unsaid) == first
    batch.jobs[first.job_id] = replace(batch.jobs[first.job_id], stopped=True)
    assert attempts.find_or_submit(in_memory(attempts), {}, lambda: False, unsaid).attempt == 2


def test_only_an_attempt_without_a_head_is_abandoned() -> None:
    """A head may take its attempt between the look for it and the end of the attempt: then it trains."""
    store = ModelStore(MemoryObjects(), f"{BUCKET}/models/demo/sentiment/1")
    assert abandon(store.attempt(1))
    assert store.attempt(1).hold("job-1") == ""
    store.attempt(2).hold("job-2")
    assert not abandon(store.attempt(2))
    assert store.attempt(2).holder() == "job-2"
