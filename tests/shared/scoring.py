"""Batch in memory for jobs that score rows, with the program that a serving image runs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from memory import MemoryObjects
from modelbuild.aws.batch.definitions import JobDefinitions
from modelbuild.aws.batch.jobs import Batch, BatchJob
from modelbuild.contract import Scoring
from modelbuild.errors import ConfigurationError, ModelbuildError

Run = Callable[[Mapping[str, str], MemoryObjects], None]
"""What a job does with its variables."""


class ScoreDefinitions(JobDefinitions):
    """The stack's definition for such jobs.

    Attributes:
        deployed: whether the stack has it.
    """

    def __init__(self) -> None:
        self.deployed = True

    def with_image(self, name: str, image: str) -> str:
        """The definition as text."""
        if not self.deployed:
            raise ConfigurationError(f"there is no {name}")
        return f"{name} of {image}"


class ScoringBatch(Batch):
    """The jobs, each of which runs when it is first looked at.

    Attributes:
        submitted: the jobs, by id, with the definition, the command and the tags that they were given.
        statuses: states that each job has before it runs.
    """

    region = "us-east-1"
    definitions: ScoreDefinitions

    def __init__(self, objects: MemoryObjects, run: Run) -> None:
        self.submitted: dict[str, Mapping[str, object]] = {}
        self.statuses: list[str] = []
        self.definitions = ScoreDefinitions()
        self._objects = objects
        self._run = run
        self._jobs: dict[str, BatchJob] = {}
        self._names: dict[str, str] = {}

    def submit(
        self,
        name: str,
        *,
        queue: str,
        definition: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        timeout: int,
        tags: Mapping[str, str],
        resources: Mapping[str, int] | None = None,
        children: int = 1,
    ) -> str:
        """Take a job, which has its definition's size and no children."""
        assert resources is None
        assert children == 1
        job_id = f"job-{len(self._jobs) + 1}"
        self._jobs[job_id] = BatchJob(job_id, "SUBMITTED", "", "", environment)
        self._names[job_id] = name
        self.submitted[job_id] = {
            "name": name,
            "queue": queue,
            "definition": definition,
            "command": tuple(command),
            "timeout": timeout,
            "tags": tags,
        }
        return job_id

    def find(self, queue: str, name: str) -> list[str]:
        """The ids of the jobs of this name."""
        assert queue
        return [job_id for job_id, one in self._names.items() if one == name]

    def describe_all(self, job_ids: Sequence[str]) -> dict[str, BatchJob]:
        """The jobs, one state further."""
        for job_id in job_ids:
            job = self._jobs[job_id]
            if not job.ended:
                self._jobs[job_id] = self._further(job)
        return {job_id: self._jobs[job_id] for job_id in job_ids}

    def _further(self, job: BatchJob) -> BatchJob:
        if self.statuses:
            return replace(job, status=self.statuses.pop(0))
        try:
            self._run(job.environment, self._objects)
        except ModelbuildError as error:
            return replace(job, status="FAILED", reason=str(error))
        return replace(job, status="SUCCEEDED")


def answering(answers: Mapping[str, str] | Mapping[str, float], problem: str = "") -> Run:
    """A server that answers what is given for each line of the rows."""

    def run(environ: Mapping[str, str], objects: MemoryObjects) -> None:
        rows = objects.read(environ["SCORE_ROWS"])
        assert hashlib.sha256(rows).hexdigest() == environ["SCORE_ROWS_SHA256"]
        found = [answers[line] for line in rows.decode().splitlines()] if not problem else []
        scores = Scoring.model_validate(
            {
                "model_sha256": environ["SCORE_MODEL_SHA256"],
                "rows_sha256": environ["SCORE_ROWS_SHA256"],
                "predictions": tuple(found),
                "problem": problem,
            }
        )
        objects.write_once(environ["SCORES"], scores.model_dump_json().encode())

    return run
