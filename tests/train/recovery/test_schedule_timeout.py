"""Heads that wait in the queue for longer than schedule-timeout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from modelbuild.aws.batch.jobs import job
from recovery import TrainingStack
from waiting import wait_until


def test_head_without_a_machine_ends_red_with_batchs_reason(
    stack: TrainingStack, request_for: Callable[..., Any]
) -> None:
    """A head that is RUNNABLE for longer than schedule-timeout ends as failed, with what Batch says of it.
    A job that may wait for longer, by default a day, goes on waiting.
    """
    large, of_large = stack.write_request(request_for)
    _, of_patient = stack.write_request(request_for)
    job_id = stack.submit(of_large, "true", VCPU="9", SCHEDULE_TIMEOUT="1")
    patient = stack.submit(of_patient, "sleep", "600")
    assert job(stack.described(patient)).environment["SCHEDULE_TIMEOUT"] == "86400"
    stack.wait_in_queue(job_id)
    stack.wait_in_queue(patient)
    message = stack.run_schedule_rule()
    assert message.startswith(f"job {job_id} is terminated: the head waited more than 1 seconds")
    assert patient not in message
    fields = stack.delivered(large, of_large)
    assert fields["training/status"] == "failed"
    assert fields["training/reason"] == (
        "the head waited more than 1 seconds for a machine (MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT - The "
        "job resource requirement (vCPU/memory/GPU) is higher than that can be met by the CE(s) attached to "
        "the job queue.)"
    )
    assert stack.ended(job_id).status_reason == fields["training/reason"]
    wait_until(lambda: stack.described(patient)["status"] == "RUNNING")
    assert stack.run_schedule_rule() == ""
    stack.put(f"{of_patient}/delivered.json", "{}")
    stack.client("batch").terminate_job(jobId=patient, reason="the test is over")


def test_head_in_a_full_queue_ends_red_as_well(stack: TrainingStack, request_for: Callable[..., Any]) -> None:
    """Of a head that just has others before it, Batch says nothing; it ends after schedule-timeout, too."""
    before = stack.step("before", "modelbuild-head", vcpus=9)
    wait_until(lambda: stack.described(before)["status"] == "RUNNABLE")
    number, artifacts = stack.write_request(request_for)
    head = stack.submit(artifacts, "true", SCHEDULE_TIMEOUT="1")
    stack.wait_in_queue(head)
    assert "statusReason" not in stack.described(head)
    assert head in stack.run_schedule_rule()
    fields = stack.delivered(number, artifacts)
    assert fields["training/status"] == "failed"
    assert "(Batch gives no reason: the queue's machines may all be taken)" in fields["training/reason"]
    stack.client("batch").terminate_job(jobId=before, reason="the test is over")
