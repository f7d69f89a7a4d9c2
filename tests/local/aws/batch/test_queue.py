"""Jobs that wait: for machines, for GPUs and for other jobs."""

from __future__ import annotations

import urllib.request
from typing import Any

import pytest

from batch_jobs import Wait, sh
from standins import ADMINISTRATOR


def test_queue_goes_on_to_the_next_compute_environment(cloud: Any) -> None:
    """A queue whose first compute environment is disabled runs its jobs on the next."""
    batch = cloud.client("batch")
    [on_demand] = batch.describe_compute_environments(computeEnvironments=["work"])["computeEnvironments"]
    # Without a role of its own, an environment uses Batch's service-linked role.
    made = batch.create_compute_environment(
        computeEnvironmentName="spot",
        type="MANAGED",
        state="DISABLED",
        computeResources={**on_demand["computeResources"], "type": "SPOT"},
    )
    [spot] = batch.describe_compute_environments(computeEnvironments=["spot"])["computeEnvironments"]
    assert spot["serviceRole"].endswith(":role/aws-service-role/batch.amazonaws.com/AWSServiceRoleForBatch")
    order = [made["computeEnvironmentArn"], on_demand["computeEnvironmentArn"]]
    batch.create_job_queue(
        jobQueueName="spot-first",
        state="ENABLED",
        priority=1,
        computeEnvironmentOrder=[
            {"order": number, "computeEnvironment": arn} for number, arn in enumerate(order, 1)
        ],
    )
    command = sh("echo $AWS_BATCH_CE_NAME")
    job = cloud.ended(cloud.submit(cloud.define("placed", command), queue="spot-first"))
    assert cloud.log(job) == ["work"]
    batch.update_compute_environment(computeEnvironment="spot", state="ENABLED")
    assert cloud.log(cloud.ended(cloud.submit("placed", queue="spot-first"))) == ["spot"]


def test_jobs_wait_for_capacity_and_can_be_cancelled(cloud: Any, wait: Wait) -> None:
    """On two vCPUs the third one-vCPU job is RUNNABLE until one ends; a waiting job can be cancelled."""
    cloud.define("seat", sh("sleep 600"))
    batch = cloud.client("batch")
    jobs = [cloud.submit("seat", queue="narrow") for _ in range(3)]
    wait(lambda: sorted(cloud.job(job)["status"] for job in jobs) == ["RUNNABLE", "RUNNING", "RUNNING"])
    [waiting] = [job for job in jobs if cloud.job(job)["status"] == "RUNNABLE"]
    running = [job for job in jobs if job != waiting]

    fourth = cloud.submit("seat", queue="narrow")
    wait(lambda: cloud.job(fourth)["status"] == "RUNNABLE")
    batch.cancel_job(jobId=fourth, reason="not needed")
    cancelled = cloud.ended(fourth)
    assert (cancelled["status"], cancelled["statusReason"]) == ("FAILED", "not needed")
    assert (cancelled["isCancelled"], cancelled["attempts"]) == (True, [])
    assert "startedAt" not in cancelled

    elsewhere = cloud.submit("seat", queue="other", containerOverrides={"command": ["true"]})
    assert cloud.ended(elsewhere)["status"] == "SUCCEEDED"
    assert cloud.job(waiting)["status"] == "RUNNABLE"
    batch.terminate_job(jobId=running[0], reason="room")
    wait(lambda: cloud.job(waiting)["status"] == "RUNNING")
    for job in (running[1], waiting):
        batch.terminate_job(jobId=job, reason="done")
        cloud.ended(job)


@pytest.mark.parametrize(
    ("needs", "reason"),
    [
        ({"VCPU": "17"}, "MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE - "),
        ({"MEMORY": "196608"}, "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT - "),
        ({"GPU": "5"}, "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT - "),
    ],
)
def test_job_that_no_machine_can_take_keeps_the_others_waiting(
    cloud: Any, wait: Wait, needs: dict[str, str], reason: str
) -> None:
    """A job larger than each instance type is RUNNABLE with Batch's reason, and what is behind it without."""
    large = {"resourceRequirements": [{"type": kind, "value": value} for kind, value in needs.items()]}
    cloud.define("small", sh("true"))
    first = cloud.submit("small", queue="other", containerOverrides=large)
    wait(lambda: "statusReason" in cloud.job(first))
    second = cloud.submit("small", queue="other")
    wait(lambda: cloud.job(second)["status"] == "RUNNABLE")
    assert cloud.job(first)["status"] == "RUNNABLE"
    assert cloud.job(first)["statusReason"].startswith(reason)
    listed = cloud.client("batch").list_jobs(jobQueue="other", jobStatus="RUNNABLE")["jobSummaryList"]
    assert {job["jobId"]: job.get("statusReason", "") for job in listed} == {
        first: cloud.job(first)["statusReason"],
        second: "",
    }
    cloud.client("batch").terminate_job(jobId=first, reason="too large")
    assert cloud.ended(first)["statusReason"] == "too large"
    assert cloud.ended(second)["status"] == "SUCCEEDED"


def test_jobs_wait_while_there_are_no_instances(cloud: Any, wait: Wait) -> None:
    """A queue without instances says so of its first job, which runs once there are some again."""

    def ask(method: str) -> int:
        request = urllib.request.Request(
            f"{cloud.url}/laptop/batch/other/no-capacity", headers=ADMINISTRATOR, method=method
        )
        with urllib.request.urlopen(request) as answer:
            return int(answer.status)

    assert ask("PUT") == 204
    job = cloud.submit(cloud.define("small", sh("true")), queue="other")
    wait(lambda: "statusReason" in cloud.job(job))
    assert cloud.job(job)["status"] == "RUNNABLE"
    assert cloud.job(job)["statusReason"].startswith("CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY - ")
    assert ask("DELETE") == 204
    assert cloud.ended(job)["status"] == "SUCCEEDED"


def test_gpus_are_assigned(cloud: Any, wait: Wait) -> None:
    """Two one-GPU jobs see different GPUs, a job without sees none, one that asks for more gets all."""
    needs = {"GPU": "1", "VCPU": "1", "MEMORY": "128"}
    gpu = {"resourceRequirements": [{"type": kind, "value": value} for kind, value in needs.items()]}
    cloud.define("gpu", sh('echo "[$CUDA_VISIBLE_DEVICES]"; sleep 600'), properties=gpu)
    pair = [cloud.submit("gpu", queue="narrow") for _ in range(2)]
    wait(lambda: all(cloud.log(cloud.job(job)) for job in pair))
    assert sorted(cloud.log(cloud.job(job))[0] for job in pair) == ["[0]", "[1]"]
    for job in pair:
        cloud.client("batch").terminate_job(jobId=job, reason="seen")
        cloud.ended(job)
    show = {"command": sh('echo "[$CUDA_VISIBLE_DEVICES]"')}
    many = {**show, "resourceRequirements": [{"type": "GPU", "value": "4"}]}
    assert cloud.log(cloud.ended(cloud.submit("gpu", containerOverrides=many))) == ["[0,1]"]
    assert cloud.log(cloud.run("nogpu", show["command"])) == ["[]"]


def test_array_fails_with_one_of_its_children(cloud: Any) -> None:
    """An array job is as good as its worst child, and counts their states."""
    cloud.define("array", sh("echo $AWS_BATCH_JOB_ARRAY_INDEX; test $AWS_BATCH_JOB_ARRAY_INDEX != 1"))
    parent = cloud.ended(cloud.submit("array", arrayProperties={"size": 3}))
    assert parent["status"] == "FAILED"
    summary = {state: n for state, n in parent["arrayProperties"]["statusSummary"].items() if n}
    assert (parent["arrayProperties"]["size"], summary) == (3, {"SUCCEEDED": 2, "FAILED": 1})
    child = cloud.job(f"{parent['jobId']}:2")
    assert (cloud.log(child), child["arrayProperties"]["index"]) == (["2"], 2)
    listed = cloud.client("batch").list_jobs(arrayJobId=parent["jobId"], jobStatus="FAILED")["jobSummaryList"]
    assert [job["jobId"] for job in listed] == [f"{parent['jobId']}:1"]


def test_dependent_job_waits_and_fails_with_what_it_waits_for(cloud: Any, wait: Wait) -> None:
    """A job with dependsOn is PENDING until the other succeeds; if that fails, it never runs."""
    cloud.define("first", sh("sleep 600"))
    first = cloud.submit("first")
    second = cloud.submit("first", dependsOn=[{"jobId": first}])
    wait(lambda: (cloud.job(first)["status"], cloud.job(second)["status"]) == ("RUNNING", "PENDING"))
    cloud.client("batch").terminate_job(jobId=first, reason="enough")
    failed = cloud.ended(second)
    assert (failed["status"], failed["statusReason"]) == ("FAILED", "Dependent Job failed")
    before = cloud.submit(cloud.define("before", sh("true")))
    after = cloud.ended(cloud.submit("before", dependsOn=[{"jobId": before}]))
    assert after["status"] == "SUCCEEDED"
    assert after["startedAt"] >= cloud.job(before)["stoppedAt"]
