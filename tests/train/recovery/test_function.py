"""The stack's function, which reacts when a head ends: real jobs and events."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from modelbuild.aws.batch.jobs import job
from modelbuild.train.recovery import ended
from recovery import MODELS, TrainingStack
from waiting import wait_until


def test_function_delivers_the_end_of_a_killed_head(
    stack: TrainingStack, request_for: Callable[..., Any]
) -> None:
    """A head that gets SIGKILL writes no result: the function writes one with Batch's reason and unblocks the
    build.
    """
    number, artifacts = stack.write_request(request_for)
    stack.submit(artifacts, "sh", "-c", "kill -9 $$")
    fields = stack.delivered(number, artifacts)
    assert fields["training/status"] == "failed"
    assert fields["training/reason"] == (
        "the head died without giving a reason: Essential container in task exited; exit code 137"
    )
    result = json.loads(stack.get(f"{artifacts}/result.json") or "")
    assert {key: result[key] for key in ("training/status", "training/reason")} == {
        key: fields[key] for key in ("training/status", "training/reason")
    }
    wait_until(lambda: f"builds/{number} with status failed (the head died" in stack.function_log())
    assert "the-rest-token" not in stack.function_log()


def test_steps_of_a_killed_head_end(
    stack: TrainingStack, request_for: Callable[..., Any], tmp_path: Path
) -> None:
    """What a head that was killed had running is terminated, on all queues of steps. Other runs go on, and so
    do the steps where the job that died was not the head of its attempt.
    """
    number, artifacts = stack.write_request(request_for)
    steps = [stack.step(f"modelbuild-DemoFlow-{number}-train-3", "modelbuild-gpu")]
    steps.append(stack.step(f"modelbuild-DemoFlow-{number}-evaluate-4", "modelbuild-default"))
    other = stack.step(f"modelbuild-DemoFlow-{number}1-train-3", "modelbuild-gpu")
    wait_until(lambda: {stack.described(job_id)["status"] for job_id in (*steps, other)} == {"RUNNING"})
    stack.put(f"{artifacts}/attempts/1.run", json.dumps({"flow_name": "DemoFlow", "run_id": str(number)}))
    stack.submit(artifacts, "sh", "-c", "kill -9 $$")
    stack.delivered(number, artifacts)
    assert {stack.described(job_id)["status"] for job_id in steps} == {"RUNNING"}

    noted = tmp_path / "noted"
    head = stack.submit(artifacts, "sh", "-c", f"until [ -e '{noted}' ]; do sleep 0.1; done; kill -9 $$")
    stack.put(f"{artifacts}/attempts/1.head", json.dumps({"job_id": head}))
    noted.touch()
    for job_id in steps:
        assert stack.ended(job_id).status_reason == "its head is gone"
    assert stack.described(other)["status"] == "RUNNING"
    stack.client("batch").terminate_job(jobId=other, reason="the test is over")


def test_head_that_cannot_start_is_delivered_with_the_reason(
    stack: TrainingStack, request_for: Callable[..., Any]
) -> None:
    """What only the container knows is in the reason, too."""
    number, artifacts = stack.write_request(request_for)
    stack.client("batch").register_job_definition(
        jobDefinitionName="gone",
        type="container",
        containerProperties={
            "image": "registry.example/modelbuild/gone:1",
            "resourceRequirements": [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "128"}],
        },
    )
    stack.submit(artifacts, "true", definition="gone")
    fields = stack.delivered(number, artifacts)
    assert fields["training/status"] == "failed"
    assert "Task failed to start; CannotPullContainerError" in fields["training/reason"]


def test_terminated_head_without_a_result_is_cancelled(
    stack: TrainingStack, request_for: Callable[..., Any]
) -> None:
    """A user's TerminateJob is no failure, and the build says with which reason it came."""
    number, artifacts = stack.write_request(request_for)
    job_id = stack.submit(artifacts, "sleep", "600")
    wait_until(lambda: stack.described(job_id)["status"] == "RUNNING")
    stack.client("batch").terminate_job(jobId=job_id, reason="Ada needs the machine")
    fields = stack.delivered(number, artifacts)
    assert fields["training/status"] == "cancelled"
    assert "Ada needs the machine" in fields["training/reason"]


def test_event_of_a_cancelled_build_ends_its_heads(
    stack: TrainingStack, request_for: Callable[..., Any]
) -> None:
    """Buildkite's event terminates the heads of that build, waiting or running, and no others; the build
    hears that it was cancelled.
    """
    number, artifacts = stack.write_request(request_for)
    other, of_other = stack.write_request(request_for)
    own, waits, stays = (
        stack.submit(artifacts, "sleep", "600"),
        stack.submit(artifacts, "true", VCPU="9"),
        stack.submit(of_other, "sleep", "600"),
    )
    forged = stack.submit(f"{MODELS}/sentiment/none", "sleep", "600")
    wait_until(lambda: stack.described(own)["status"] == "RUNNING")
    build = cancelled(number)
    others = [{**build, "organization": "acme"}, {**build, "pipeline": "dem"}, {**build, "number": 10**6}]
    context: Any = None
    for unknown in others:
        assert "no head runs" in ended.handler({"cancelled": unknown}, context)
    message = ended.handler({"cancelled": build}, context)
    assert own in message
    assert waits in message
    fields = stack.delivered(number, artifacts)
    assert (fields["training/status"], fields["training/reason"]) == ("cancelled", "the build was cancelled")
    assert not {stays, forged} & set(message.split())
    assert stack.described(stays)["status"] != "FAILED"
    assert stack.get(f"{of_other}/result.json") is None
    assert "no head runs" in ended.handler({"cancelled": build}, context)
    for job_id in (stays, forged):
        stack.client("batch").terminate_job(jobId=job_id, reason="test is over")
    stack.delivered(other, of_other)


def cancelled(number: int, seconds: float = 0.0) -> dict[str, Any]:
    """What the rule says of a build that was cancelled so many seconds ago."""
    moment = datetime.now(timezone.utc) - timedelta(seconds=seconds)
    about = {"organization": "local", "pipeline": "demo", "number": number, "queue": "modelbuild-head"}
    return {**about, "time": moment.strftime("%Y-%m-%dT%H:%M:%SZ")}


def test_late_event_of_a_cancelled_build_leaves_a_later_head(
    stack: TrainingStack, request_for: Callable[..., Any]
) -> None:
    """EventBridge delivers an event late or twice: a training that was started again meanwhile goes on."""
    number, artifacts = stack.write_request(request_for)
    again = stack.submit(artifacts, "sleep", "600")
    context: Any = None
    assert "no head runs" in ended.handler({"cancelled": cancelled(number, seconds=60)}, context)
    assert stack.get(f"{artifacts}/result.json") is None
    assert again in ended.handler({"cancelled": cancelled(number)}, context)
    stack.delivered(number, artifacts)


@pytest.mark.parametrize("holder", ["", "another-job"])
def test_end_of_a_head_that_had_to_stand_down_is_no_result(
    stack_without_rule: TrainingStack, request_for: Callable[..., Any], holder: str
) -> None:
    """A head whose attempt was abandoned, or belongs to another job, ends well and has not trained."""
    number, artifacts = stack_without_rule.write_request(request_for)
    stack_without_rule.put(f"{artifacts}/attempts/1.head", json.dumps({"job_id": holder}))
    head = stack_without_rule.ended(stack_without_rule.submit(artifacts, "true"))
    assert f"is the head of attempt 1 at {artifacts}: nothing to do" in ended.run(head, 5)
    assert number not in stack_without_rule.builds.calls
    assert stack_without_rule.get(f"{artifacts}/result.json") is None
    stack_without_rule.put(f"{artifacts}/delivered.json", "{}")


@pytest.mark.parametrize(
    ("described", "status", "reason"),
    [
        (
            {"statusReason": "Host EC2 (instance i-0abc) terminated."},
            "failed",
            "the head died without giving a reason: Host EC2 (instance i-0abc) terminated.",
        ),
        (
            {
                "statusReason": "Essential container in task exited",
                "container": {
                    "reason": "OutOfMemoryError: Container killed due to memory usage",
                    "exitCode": 137,
                },
            },
            "failed",
            "the head died without giving a reason: Essential container in task exited; OutOfMemoryError: "
            "Container killed due to memory usage; exit code 137",
        ),
        (
            {"statusReason": "Job attempt duration exceeded timeout", "isTerminated": True},
            "failed",
            "the head died without giving a reason: Job attempt duration exceeded timeout",
        ),
        (
            {"statusReason": "not any more", "isCancelled": True},
            "cancelled",
            "the head was ended from outside: not any more",
        ),
        ({}, "failed", "the head died without giving a reason: no reason given"),
        ({"status": "SUCCEEDED"}, "failed", "the head ended well but left no result.json: see its log"),
    ],
)
def test_result_has_batchs_own_reasons(described: dict[str, Any], status: str, reason: str) -> None:
    """Lost hosts, memory, timeouts and cancellations have different reasons, in Batch's words."""
    result = ended.describe_head(job({"jobId": "j", "status": "FAILED", **described}))
    assert (result.status, result.reason) == (status, reason)
