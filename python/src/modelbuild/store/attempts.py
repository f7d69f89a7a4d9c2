"""The attempts at one training: the head of each, and its result. Claims, heads, results and deliveries are
written once, by conditional writes, so that only one of several programs succeeds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel, Field, JsonValue

from modelbuild.contract import (
    DELIVERED_FILE,
    FAILURE_FILE,
    RESULT_FILE,
    Failure,
    TrainingResult,
    attempt_prefix,
    document,
    unsuccessful,
)
from modelbuild.store import records
from modelbuild.store.objects import Objects


class JobRecord(BaseModel):
    """``job.json``: the Batch job that is the newest head of a training."""

    job_id: str
    queue: str
    region: str
    attempt: int = 1


class Claim(BaseModel):
    """``attempts/<n>.json``: the job of the agent that submits the head of an attempt."""

    by: str = ""


class Holder(BaseModel):
    """``attempts/<n>.head``: the job that holds an attempt; empty for an abandoned attempt."""

    job_id: str


class Run(BaseModel):
    """``attempts/<n>.run``: a run of Metaflow, which a later head may resume."""

    flow_name: str
    run_id: str


class PageUpdate(BaseModel):
    """``attempts/<n>.page``: whether the head is sending the annotation of its attempt."""

    is_open: bool


class DeliveryRecord(BaseModel):
    """``delivered.json``: how the attempt ended, and whether the step that waits was unblocked then."""

    status: str = Field("", alias="training/status")
    step_unblocked: bool = False


@dataclass(frozen=True)
class Attempt:
    """One attempt at the training with this ``prefix``.

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
        """The URI of the result."""
        return f"{self.results}/{RESULT_FILE}"

    def claim(self, claim: Mapping[str, JsonValue]) -> bool:
        """Claim the submission of this attempt's head; False if another program has claimed it.

        Args:
            claim: identifies the program that claims; no two programs pass the same value.
        """
        uri, body = f"{self._stem}.json", document(dict(claim)).encode()
        # If the answer to a write was lost, botocore sends it again, and S3 refuses it because the object
        # exists.
        return self.objects.write_once(uri, body) or self.objects.read(uri) == body

    def claimed(self) -> bool:
        """Whether a program has claimed to submit this attempt's head."""
        return self.objects.exists(f"{self._stem}.json")

    def claim_age(self) -> float | None:
        """Seconds since a program claimed to submit this attempt's head, or None if none has."""
        return self.objects.age(f"{self._stem}.json")

    def claimed_by(self) -> str:
        """The job of the agent that has claimed to submit this attempt's head; empty for none."""
        found = records.find(self.objects, f"{self._stem}.json", Claim)
        return found.by if found else ""

    def hold(self, job_id: str) -> str | None:
        """Assign the attempt to a job; an empty id abandons it. Returns the id of the job that holds it."""
        if self.objects.write_once(f"{self._stem}.head", document({"job_id": job_id}).encode()):
            return job_id
        return self.holder()

    def holder(self) -> str | None:
        """The id of the job that holds the attempt; empty if it was abandoned, None before a job holds it."""
        found = records.find(self.objects, f"{self._stem}.head", Holder, records.SMALL_BYTES)
        return None if found is None else found.job_id

    def age(self) -> float | None:
        """Seconds since the attempt was assigned to a job or abandoned, or None before that."""
        return self.objects.age(f"{self._stem}.head")

    def record_run(self, run: Run) -> None:
        """Record Metaflow's run of this attempt."""
        self.objects.write(f"{self._stem}.run", document(run.model_dump()).encode())

    def run(self) -> Run | None:
        """Metaflow's run of this attempt, or None before it begins."""
        return records.find(self.objects, f"{self._stem}.run", Run)

    def record_page_update(self, *, is_open: bool) -> None:
        """Record that the head is about to send the annotation, or that the request has an answer."""
        update = PageUpdate(is_open=is_open)
        self.objects.write(f"{self._stem}.page", document(update.model_dump()).encode())

    def has_open_page_update(self) -> bool:
        """Whether the head is sending the annotation, or ended before the answer came."""
        found = records.find(self.objects, f"{self._stem}.page", PageUpdate)
        return found is not None and found.is_open

    def write_result_once(self, result: TrainingResult) -> TrainingResult:
        """Write the result once; returns the result in S3: this one, or an earlier one."""
        if self.objects.write_once(self.result_uri, result.to_json().encode()):
            return result
        return self.result() or result

    def result(self) -> TrainingResult | None:
        """The result, or None; a result that cannot be read counts as failed."""
        try:
            return records.find(self.objects, self.result_uri, TrainingResult, records.SMALL_BYTES)
        except records.InvalidRecord as error:
            return unsuccessful("failed", str(error))

    def record_failure(self, failure: Failure) -> None:
        """Record for people how this attempt's flow failed; a head that Batch starts again replaces it."""
        self.objects.write(f"{self.results}/{FAILURE_FILE}", failure.to_json().encode())

    def failure(self) -> Failure | None:
        """How this attempt's flow failed, or None if no head has recorded that."""
        return records.find(self.objects, f"{self.results}/{FAILURE_FILE}", Failure)

    def record_delivered(self, result: TrainingResult, *, step_unblocked: bool) -> None:
        """Record that the build has the result, or is over; and whether the step that waits is unblocked."""
        note = document({"training/status": result.status, "step_unblocked": step_unblocked})
        self.objects.write_once(f"{self.results}/{DELIVERED_FILE}", note.encode())

    def delivered(self) -> bool:
        """Whether the build has the result, or is over."""
        return self.objects.exists(f"{self.results}/{DELIVERED_FILE}")

    def unblocked_step(self) -> bool:
        """Whether the step was unblocked when the result of this attempt was delivered."""
        found = records.find(
            self.objects, f"{self.results}/{DELIVERED_FILE}", DeliveryRecord, records.SMALL_BYTES
        )
        return found is not None and found.step_unblocked

    @property
    def _stem(self) -> str:
        """The URI of this attempt's files without their suffixes."""
        return f"{self.prefix}/attempts/{self.number}"
