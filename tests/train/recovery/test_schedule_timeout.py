"""Heads that wait in the queue for longer than schedule-timeout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from modelbuild.aws.batch import job
from recovery import Place, wait


def test_head_without_a_machine_ends_red_with_batchs_reason(
    place: Place, request_for: Callable[..., Any]
) -> None:
    """A head that is RUNNABLE for longer than schedule-timeout ends as failed, with what Batch says of it.
    Who may wait for longer, by default a day, goes on waiting.
    """
    large, of_large = place.ask(request_for)
    _, of_patient = place.ask(request_for)
    job_id = place.submit(of_large, "true", VCPU="9", SCHEDULE_TIMEOUT="1")
    patient = place.submit(of_patient, "sleep", "60")
    assert job(place.described(patient)).environment["SCHEDULE_TIMEOUT"] == "86400"
    place.waits(job_id)
    place.waits(patient)
    said = place.look_at_waiting()
    assert said.startswith(f"job {job_id} is terminated: the head waited more than 1 seconds")
    assert patient not in said
    told = wait(lambda: place.builds.fields.get(large))
    assert told["training/status"] == "failed"
    assert told["training/reason"] == (
        "the head waited more than 1 seconds for a machine (MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT - The "
        "job resource requirement (vCPU/memory/GPU) is higher than that can be met by the CE(s) attached to "
        "the job queue.)"
    )
    assert place.ended(job_id).status_reason == told["training/reason"]
    wait(lambda: place.described(patient)["status"] == "RUNNING")
    assert place.look_at_waiting() == ""
    place.put(f"{of_patient}/delivered.json", "{}")
    place.client("batch").terminate_job(jobId=patient, reason="the test is over")


def test_head_in_a_full_queue_ends_red_as_well(place: Place, request_for: Callable[..., Any]) -> None:
    """Of a head that just has others before it, Batch says nothing; it ends after schedule-timeout, too."""
    before = place.step("before", "modelbuild-head", vcpus=9)
    wait(lambda: place.described(before)["status"] == "RUNNABLE")
    number, artifacts = place.ask(request_for)
    head = place.submit(artifacts, "true", SCHEDULE_TIMEOUT="1")
    place.waits(head)
    assert "statusReason" not in place.described(head)
    assert head in place.look_at_waiting()
    told = wait(lambda: place.builds.fields.get(number))
    assert told["training/status"] == "failed"
    assert "(Batch gives no reason: the queue's machines may all be taken)" in told["training/reason"]
    place.client("batch").terminate_job(jobId=before, reason="the test is over")
