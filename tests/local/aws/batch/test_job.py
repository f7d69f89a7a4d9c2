"""A job: its environment, image, role, secrets and log."""

from __future__ import annotations

import json
from typing import Any

import pytest

from batch_jobs import EXITED, sh

ROLE = "arn:aws:iam::123456789012:role/job"

EXECUTION_ROLE = "arn:aws:iam::123456789012:role/execution"


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
    """A job has the credentials of its job role only."""
    ask = "import boto3; print(boto3.client('sts').get_caller_identity()['Arn'])"
    region = [{"name": "AWS_DEFAULT_REGION", "value": "us-east-1"}]
    own = {"jobRoleArn": ROLE, "environment": region}
    job = cloud.run("identity", ["python", "-c", ask], properties=own)
    assert cloud.log(job)[0].startswith("arn:aws:sts::123456789012:assumed-role/job/")


def test_a_job_role_that_iam_does_not_have_gives_no_keys(cloud: Any) -> None:
    """A job whose role does not exist has no credentials, and its log says so."""
    ask = "import boto3; print(boto3.client('sts').get_caller_identity()['Arn'])"
    region = [{"name": "AWS_DEFAULT_REGION", "value": "us-east-1"}]
    own = {"jobRoleArn": f"{ROLE}-typo", "environment": region}
    job = cloud.run("no-identity", ["python", "-c", ask], properties=own)
    assert f"not authorized to perform: sts:AssumeRole on resource: {ROLE}-typo" in "\n".join(cloud.log(job))


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
            "executionRoleArn": EXECUTION_ROLE,
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
    expected = {"FROM_IMAGE", "LEVEL", "ONLY", "TOKEN", "PLAIN", "AWS_ENDPOINT_URL"}
    of_batch = {f"AWS_BATCH_{name}" for name in ("JOB_ID", "JOB_ATTEMPT", "CE_NAME", "JQ_NAME")}
    # What a container's file system, network and devices are to a process, and what Python adds by itself.
    of_container = {"PATH", "HOME", "TMPDIR", "HOSTNAME", "AWS_EC2_METADATA_DISABLED", "CUDA_VISIBLE_DEVICES"}
    assert seen.keys() - {"LC_CTYPE"} == expected | of_batch | of_container | {"AWS_EXECUTION_ENV"}
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
    properties = {"secrets": secrets, "executionRoleArn": EXECUTION_ROLE}
    job = cloud.run(f"lost{len(key)}", sh("true"), properties=properties)
    assert (job["status"], "exitCode" in job["container"]) == ("FAILED", False)
    assert job["container"]["reason"].startswith("ResourceInitializationError: ")
    assert "hidden" not in json.dumps(job)


def test_secrets_need_a_role_to_read_them(cloud: Any) -> None:
    """A job with secrets and without an execution role never starts, and says what is missing."""
    arn = cloud.client("secretsmanager").create_secret(Name="team/roleless", SecretString="x")["ARN"]
    job = cloud.run("roleless", sh("true"), properties={"secrets": [{"name": "A", "valueFrom": arn}]})
    assert (job["status"], "exitCode" in job["container"]) == ("FAILED", False)
    assert "'executionRoleArn'" in job["container"]["reason"]


def test_log_lies_in_the_group_of_the_definition(cloud: Any) -> None:
    """The log group that a definition names gets its jobs' logs; without one it is Batch's own."""
    log = {"logDriver": "awslogs", "options": {"awslogs-group": "/team/jobs"}}
    own = cloud.run("own-group", sh("echo own"), properties={"logConfiguration": log})
    common = cloud.run("common-group", sh("echo common"))
    for group, job, message in (("/team/jobs", own, "own"), ("/aws/batch/job", common, "common")):
        found = cloud.client("logs").get_log_events(
            logGroupName=group, logStreamName=job["container"]["logStreamName"]
        )
        assert [event["message"] for event in found["events"]] == [message]


def test_program_at_a_path_in_the_image(cloud: Any) -> None:
    """A command that names its program by a path in the image runs the program that takes its place here."""
    job = cloud.run("by-path", ["/opt/nowhere/bin/python", "-c", "print('ran')"])
    assert cloud.log(job) == ["ran"]


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
