"""The attempts at one training: which job is the head of each, and how it ended.

Each file is written once, under a condition that S3 checks, so that of several programs one decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel, JsonValue

from modelbuild.contract import (
    DELIVERED_FILE,
    RESULT_FILE,
    TrainingResult,
    attempt_prefix,
    document,
    unsuccessful,
)
from modelbuild.store import records
from modelbuild.store.objects import Objects


class JobRecord(BaseModel):
    """``job.json``: which Batch job is the newest head of a training."""

    job_id: str
    queue: str
    region: str
    attempt: int = 1


class Holder(BaseModel):
    """``attempts/<n>.head``: the job that has an attempt; empty where it was given up."""

    job_id: str


class Run(BaseModel):
    """``attempts/<n>.run``: a run of Metaflow, from which a later one may go on."""

    flow_name: str
    run_id: str


@dataclass(frozen=True)
class Attempt:
    """One attempt at the training that lies under ``prefix``.

    Every method raises ``AwsError`` when S3 refuses.
    """

    objects: Objects
    prefix: str
    number: int

    @property
    def results(self) -> str:
        """The prefix of this attempt's result."""
        return attempt_prefix(self.prefix, self.number)

    @property
    def result_uri(self) -> str:
        """Where the result is."""
        return f"{self.results}/{RESULT_FILE}"

    def claim(self, claim: Mapping[str, JsonValue]) -> bool:
        """Claim the submission of this attempt's head; False where another program has claimed it.

        Args:
            claim: identifies the program that claims; no two programs pass the same value.
        """
        uri, body = f"{self._stem}.json", document(dict(claim)).encode()
        # A claim whose answer got lost is sent once more, and then refused because it is there.
        return self.objects.write_once(uri, body) or self.objects.read(uri) == body

    def claimed(self) -> bool:
        """Whether a program has claimed to submit this attempt's head."""
        return self.objects.exists(f"{self._stem}.json")

    def hold(self, job_id: str) -> str | None:
        """Assign the attempt to a job; an empty id gives it up. Returns the id of the job that holds it."""
        if self.objects.write_once(f"{self._stem}.head", document({"job_id": job_id}).encode()):
            return job_id
        return self.holder()

    def holder(self) -> str | None:
        """The id of the job that has the attempt; empty for one that was given up, None while no job has."""
        found = records.find(self.objects, f"{self._stem}.head", Holder)
        return None if found is None else found.job_id

    def record_run(self, run: Run) -> None:
        """Write down the run of this attempt."""
        self.objects.write(f"{self._stem}.run", document(run.model_dump()).encode())

    def run(self) -> Run | None:
        """Metaflow's run of this attempt, once it has begun."""
        return records.find(self.objects, f"{self._stem}.run", Run)

    def write_result_once(self, result: TrainingResult) -> TrainingResult:
        """The result as it lies in S3 afterwards: this one, unless there was one already."""
        if self.objects.write_once(self.result_uri, result.to_json().encode()):
            return result
        return self.result() or result

    def result(self) -> TrainingResult | None:
        """The result, or None without one; a result that cannot be read counts as failed."""
        try:
            return records.find(self.objects, self.result_uri, TrainingResult)
        except records.InvalidRecord as error:
            return unsuccessful("failed", str(error))

    def record_delivered(self, result: TrainingResult) -> None:
        """Write down that the build has the result, or is over."""
        note = document({"training/status": result.status})
        self.objects.write_once(f"{self.results}/{DELIVERED_FILE}", note.encode())

    def delivered(self) -> bool:
        """Whether the build has the result, or is over."""
        return self.objects.exists(f"{self.results}/{DELIVERED_FILE}")

    @property
    def _stem(self) -> str:
        """The common beginning of the locations of this attempt's files, without their endings."""
        return f"{self.prefix}/attempts/{self.number}"
