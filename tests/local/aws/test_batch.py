"""Batch as its clients see it: boto3 against a running stand-in."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from standins import ADMINISTRATOR

EXITED = "Essential container in task exited"
ROLE = "arn:aws:iam::123456789012:role/job"
Wait = Callable[..., Any]


def sh(text: str) -> list[str]:
    """The command that runs ``text`` in a shell."""
    return ["sh", "-c", text]


def test_job_succeeds_and_is_described(cloud: Any) -> None:
    """An ended job shows state, exit code, times, log, image, requirements and one attempt."""
    job = cloud.run("plain", sh("echo one; echo; echo two >&2"), properties={"jobRoleArn": ROLE})
    assert (job["status"], job["statusReason"]) == ("SUCCEEDED", EXITED)
    assert job["createdAt"] <= job["startedAt"] <= job["stoppedAt"]
    shown = job["container"]
    assert (shown["exitCode"], shown["image"], shown["jobRoleArn"]) == (
        0,
        "registry.example/team/tool:1",
        ROLE,
    )
    assert {"type": "MEMORY", "value": "128"} in shown["resourceRequirements"]
    assert shown["logStreamName"] == f"plain/default/{job['jobId']}"
    assert cloud.log(job) == ["one", "two"]
    [attempt] = job["attempts"]
    assert attempt["container"] == {
        "exitCode": 0,
        "logStreamName": shown["logStreamName"],
        "networkInterfaces": [],
    }


def test_job_acts_as_its_role(cloud: Any) -> None:
    """A job has the credentials of its job role and of nobody else."""
    ask = "import boto3; print(boto3.client('sts').get_caller_identity()['Arn'])"
    region = [{"name": "AWS_DEFAULT_REGION", "value": "us-east-1"}]
    own = {"jobRoleArn": ROLE, "environment": region}
    job = cloud.run("identity", ["python", "-c", ask], properties=own)
    assert cloud.log(job)[0].startswith("arn:aws:sts::123456789012:assumed-role/job/")


def test_job_sees_a_containers_environment(cloud: Any) -> None:
    """Image, definition, overrides and secrets reach the job, the developer's own variables do not."""
    secret = cloud.client("secretsmanager").create_secret(
        Name="team/token", SecretString=json.dumps({"TOKEN": "s3cret", "OTHER": "x"})
    )["ARN"]
    plain = cloud.client("secretsmanager").create_secret(Name="team/plain", SecretString="p1ain")["ARN"]
    cloud.define(
        "variables",
        ["python", "-c", "import json, os; print(json.dumps(dict(os.environ)))"],
        properties={
            "environment": [
                {"name": "LEVEL", "value": "definition"},
                {"name": "ONLY", "value": "definition"},
            ],
            "secrets": [
                {"name": "TOKEN", "valueFrom": f"{secret}:TOKEN::"},
                {"name": "PLAIN", "valueFrom": plain},
            ],
        },
    )
    overrides = {"environment": [{"name": "LEVEL", "value": "override"}]}
    job = cloud.ended(cloud.submit("variables", containerOverrides=overrides))
    seen = json.loads(cloud.log(job)[0])
    assert (seen["FROM_IMAGE"], seen["LEVEL"], seen["ONLY"]) == ("the image", "override", "definition")
    assert (seen["TOKEN"], seen["PLAIN"]) == ("s3cret", "p1ain")
    assert (seen["AWS_BATCH_JOB_ID"], seen["AWS_BATCH_JOB_ATTEMPT"]) == (job["jobId"], "1")
    assert (seen["AWS_BATCH_CE_NAME"], seen["AWS_BATCH_JQ_NAME"]) == ("work", "work")
    assert seen["AWS_ENDPOINT_URL"] == cloud.url
    given = {"FROM_IMAGE", "LEVEL", "ONLY", "TOKEN", "PLAIN", "AWS_ENDPOINT_URL"}
    of_batch = {f"AWS_BATCH_{name}" for name in ("JOB_ID", "JOB_ATTEMPT", "CE_NAME", "JQ_NAME")}
    # What a container's file system, network and devices are to a process, and what Python adds by itself.
    of_container = {"PATH", "HOME", "TMPDIR", "HOSTNAME", "AWS_EC2_METADATA_DISABLED", "CUDA_VISIBLE_DEVICES"}
    assert seen.keys() - {"LC_CTYPE"} == given | of_batch | of_container | {"AWS_EXECUTION_ENV"}
    for _ in range(2):  # describing a job must not add to it
        shown = {item["name"]: item["value"] for item in cloud.job(job["jobId"])["container"]["environment"]}
        assert shown == {"LEVEL": "override", "ONLY": "definition"}


@pytest.mark.parametrize("key", [":NO_SUCH_KEY::", "x"])
def test_missing_secret_fails_the_job(cloud: Any, key: str) -> None:
    """A job whose secret cannot be read never starts, and says which one without any value."""
    arn = cloud.client("secretsmanager").create_secret(
        Name=f"team/lost{len(key)}", SecretString=json.dumps({"A": "hidden"})
    )["ARN"]
    secrets = [{"name": "A", "valueFrom": f"{arn}{key}"}]
    job = cloud.run(f"lost{len(key)}", sh("true"), properties={"secrets": secrets})
    assert (job["status"], "exitCode" in job["container"]) == ("FAILED", False)
    assert job["container"]["reason"].startswith("ResourceInitializationError: ")
    assert "hidden" not in json.dumps(job)


def test_log_lies_in_the_group_of_the_definition(cloud: Any) -> None:
    """The log group that a definition names gets its jobs' logs; without one it is Batch's own."""
    log = {"logDriver": "awslogs", "options": {"awslogs-group": "/team/jobs"}}
    own = cloud.run("own-group", sh("echo own"), properties={"logConfiguration": log})
    common = cloud.run("common-group", sh("echo common"))
    for group, job, said in (("/team/jobs", own, "own"), ("/aws/batch/job", common, "common")):
        found = cloud.client("logs").get_log_events(
            logGroupName=group, logStreamName=job["container"]["logStreamName"]
        )
        assert [event["message"] for event in found["events"]] == [said]


def test_queue_goes_on_to_the_next_compute_environment(cloud: Any) -> None:
    """A queue whose first compute environment is disabled runs its jobs on the next."""
    batch = cloud.client("batch")
    [known] = batch.describe_compute_environments(computeEnvironments=["work"])["computeEnvironments"]
    # Without a role of its own, an environment uses Batch's service-linked role.
    made = batch.create_compute_environment(
        computeEnvironmentName="spot",
        type="MANAGED",
        state="DISABLED",
        computeResources={**known["computeResources"], "type": "SPOT"},
    )
    [spot] = batch.describe_compute_environments(computeEnvironments=["spot"])["computeEnvironments"]
    assert spot["serviceRole"].endswith(":role/aws-service-role/batch.amazonaws.com/AWSServiceRoleForBatch")
    order = [made["computeEnvironmentArn"], known["computeEnvironmentArn"]]
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


def test_program_at_a_path_in_the_image(cloud: Any) -> None:
    """A command that names its program by a path in the image runs the program that takes its place here."""
    job = cloud.run("by-path", ["/opt/nowhere/bin/python", "-c", "print('ran')"])
    assert cloud.log(job) == ["ran"]


def test_exit_code_and_overridden_command(cloud: Any) -> None:
    """The exit code is the program's; command, requirements and parameters can be overridden."""
    cloud.define("codes", sh("exit 3"), parameters={"word": "none"})
    assert cloud.ended(cloud.submit("codes"))["container"]["exitCode"] == 3
    job = cloud.ended(
        cloud.submit(
            "codes",
            parameters={"word": "said"},
            containerOverrides={
                "command": ["echo", "Ref::word"],
                "resourceRequirements": [{"type": "MEMORY", "value": "256"}],
            },
        )
    )
    assert (job["status"], cloud.log(job)) == ("SUCCEEDED", ["said"])
    assert {"type": "MEMORY", "value": "256"} in job["container"]["resourceRequirements"]


def test_retry_until_evaluate_on_exit_says_stop(cloud: Any) -> None:
    """SubmitJob's retry strategy counts, each attempt is listed with its own log, a rule ends it early."""
    cloud.define("again", sh("exit $((6 + AWS_BATCH_JOB_ATTEMPT))"), retryStrategy={"attempts": 1})
    strategy = {"attempts": 5, "evaluateOnExit": [{"onExitCode": "8", "action": "EXIT"}]}
    job = cloud.ended(cloud.submit("again", retryStrategy=strategy))
    assert [attempt["container"]["exitCode"] for attempt in job["attempts"]] == [7, 8]
    assert len({attempt["container"]["logStreamName"] for attempt in job["attempts"]}) == 2
    assert (job["status"], job["container"]["exitCode"]) == ("FAILED", 8)


def test_retry_can_succeed(cloud: Any) -> None:
    """A later attempt that succeeds makes the job succeed."""
    job = cloud.run("lucky", sh("test $AWS_BATCH_JOB_ATTEMPT = 2"), retryStrategy={"attempts": 3})
    assert (job["status"], len(job["attempts"])) == ("SUCCEEDED", 2)


def test_lost_host_is_retried_as_the_strategy_says(cloud: Any, wait: Wait) -> None:
    """A job whose host goes away ends without SIGTERM or an exit code; evaluateOnExit sees the reason."""
    strategy = {
        "attempts": 3,
        "evaluateOnExit": [
            {"onStatusReason": "Host EC2*", "action": "RETRY"},
            {"onReason": "*", "action": "EXIT"},
        ],
    }
    script = "trap 'echo asked to end' TERM; echo attempt $AWS_BATCH_JOB_ATTEMPT; sleep 60"
    job_id = cloud.submit(
        cloud.define(
            "hosts", sh(f'[ "$AWS_BATCH_JOB_ATTEMPT" = 2 ] && exit 4; {script}'), retryStrategy=strategy
        )
    )

    def lose_host(job_id: str) -> int:
        request = urllib.request.Request(
            f"{cloud.url}/laptop/batch/{job_id}/lose-host", headers=ADMINISTRATOR, method="POST"
        )
        try:
            with urllib.request.urlopen(request) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    wait(lambda: cloud.job(job_id)["status"] == "RUNNING" and cloud.log(cloud.job(job_id)))
    assert lose_host(job_id) == 204
    job = cloud.ended(job_id)
    assert (job["status"], job["container"]["exitCode"]) == ("FAILED", 4)
    first, second = job["attempts"]
    assert first["statusReason"].startswith("Host EC2 (instance i-")
    assert first["statusReason"].endswith(") terminated.")
    assert "exitCode" not in first["container"]
    assert second["statusReason"] == EXITED
    logged = cloud.client("logs").get_log_events(
        logGroupName="/aws/batch/job", logStreamName=first["container"]["logStreamName"]
    )["events"]
    assert [event["message"] for event in logged] == ["attempt 1"]
    assert lose_host(job_id) == lose_host("no-such-job") == 404


def test_timeout_ends_the_whole_group(cloud: Any, wait: Wait, alive: Callable[[str], bool]) -> None:
    """After its time a job gets SIGTERM, children included, and is not tried again."""
    cloud.define("slow", sh("sleep 60 & echo $!; wait"), timeout={"attemptDurationSeconds": 60})
    job = cloud.ended(
        cloud.submit("slow", timeout={"attemptDurationSeconds": 2}, retryStrategy={"attempts": 3})
    )
    assert (job["status"], job["statusReason"]) == ("FAILED", "Job attempt duration exceeded timeout")
    assert (job["container"]["exitCode"], len(job["attempts"])) == (143, 1)
    wait(lambda: not alive(cloud.log(job)[0]))


def test_log_is_live_and_terminate_gives_the_reason(cloud: Any, wait: Wait) -> None:
    """Lines can be read while the job runs; TerminateJob lets it clean up and becomes the reason."""
    command = "trap 'echo cleaned; exit 9' TERM; echo ready; while :; do sleep 0.05; done"
    job_id = cloud.submit(cloud.define("endless", sh(command)))
    wait(lambda: cloud.log(cloud.job(job_id)) == ["ready"])
    running = cloud.job(job_id)
    assert running["status"] == "RUNNING"
    assert "exitCode" not in running["container"]
    cloud.client("batch").cancel_job(jobId=job_id, reason="cancelling does nothing once it runs")
    cloud.client("batch").terminate_job(jobId=job_id, reason="Build 7 was cancelled.")
    job = cloud.ended(job_id)
    assert (job["status"], job["statusReason"]) == ("FAILED", "Build 7 was cancelled.")
    assert (job["isTerminated"], job["container"]["exitCode"]) == (True, 9)
    assert cloud.log(job)[-1] == "cleaned"


def test_jobs_wait_for_capacity_and_can_be_cancelled(cloud: Any, wait: Wait) -> None:
    """On two vCPUs the third one-vCPU job is RUNNABLE until one ends; a waiting job can be cancelled."""
    cloud.define("seat", sh("sleep 30"))
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
    cloud.define("gpu", sh('echo "[$CUDA_VISIBLE_DEVICES]"; sleep 30'), properties=gpu)
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
    cloud.define("first", sh("sleep 30"))
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


def test_unknown_image_and_program_fail_the_job(cloud: Any) -> None:
    """An image without a folder and a program that is nowhere end the job as on AWS."""
    job = cloud.run("noimage", sh("true"), image="registry.example/team/missing:2")
    assert (job["status"], job["statusReason"]) == ("FAILED", "Task failed to start")
    assert job["container"]["reason"].startswith("CannotPullContainerError: ")
    assert "registry.example/team/missing:2" in job["container"]["reason"]
    job = cloud.run("noprogram", ["no-such-program"])
    assert job["container"]["reason"].startswith("CannotStartContainerError: ")
    assert "no-such-program" in job["container"]["reason"]


def test_image_entrypoint_leads_the_command(cloud: Any) -> None:
    """The image's entrypoint comes first and the job's command is its arguments."""
    assert cloud.log(cloud.run("greet", ["you"], image="greeter")) == ["hello you"]


def test_list_jobs_by_status_and_name(cloud: Any) -> None:
    """ListJobs shows one state, RUNNING where none is named; a name filter shows every state."""
    cloud.define("listed", sh("true"))
    for name in ("list-a", "list-b"):
        cloud.ended(cloud.submit("listed", queue="other", name=name))
    batch = cloud.client("batch")

    def names(**options: Any) -> set[str]:
        return {job["jobName"] for job in batch.list_jobs(jobQueue="other", **options)["jobSummaryList"]}

    assert names() == set()
    assert {"list-a", "list-b"} <= names(jobStatus="SUCCEEDED")
    assert names(filters=[{"name": "JOB_NAME", "values": ["LIST-A"]}]) == {"list-a"}
    assert names(filters=[{"name": "JOB_NAME", "values": ["list-*"]}]) == {"list-a", "list-b"}


@pytest.mark.parametrize(
    "options",
    [
        {"jobQueue": "nowhere"},
        {"jobDefinition": "nothing"},
        {"jobName": "not a name"},
        {"dependsOn": [{"jobId": "nobody"}]},
        {"arrayProperties": {"size": 1}},
    ],
)
def test_impossible_submissions_are_refused(cloud: Any, options: dict[str, Any]) -> None:
    """SubmitJob refuses at once what could never run."""
    cloud.define("refused", sh("true"))
    batch = cloud.client("batch")
    with pytest.raises(batch.exceptions.ClientException):
        batch.submit_job(**{"jobName": "n", "jobQueue": "work", "jobDefinition": "refused", **options})
