"""Heads in Batch that end without delivering a result, and the builds that wait for them."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

import samples
import standins
from modelbuild.aws.batch.jobs import BatchJob, job
from modelbuild.train.recovery import reconcile
from waiting import wait_until

MODELS = f"s3://{standins.BUCKET}/models/demo"


@dataclass
class Builds:
    """Buildkite's two calls for any number of builds, by number; each waits unless its state is set."""

    url: str = ""
    states: dict[int, str] = field(default_factory=dict)
    fields: dict[int, dict[str, str]] = field(default_factory=dict)
    calls: list[int] = field(default_factory=list)
    status: int = 200
    deleted: set[int] = field(default_factory=set)
    over: set[int] = field(default_factory=set)
    pipeline: bool = True


@dataclass
class TrainingStack:
    """The stand-in with the stack, the builds that wait, and what tests do with both."""

    url: str
    builds: Builds
    numbers: Iterator[int] = field(default_factory=lambda: iter(range(1, 1000)))

    def client(self, service: str) -> Any:
        """A boto3 client."""
        return standins.client(self.url, service)

    def write_request(self, request_for: Callable[..., Any]) -> tuple[int, str]:
        """A request in S3: the number of its build, and where it lies."""
        number = next(self.numbers)
        artifacts = f"{MODELS}/sentiment/{number}"
        request = request_for(artifacts, model_id=str(number), build=samples.build(number))
        self.put(f"{artifacts}/request.json", request.to_json())
        return number, artifacts

    def submit(
        self, artifacts: str, *command: str, definition: str = "modelbuild-head", **variables: str
    ) -> str:
        """A head that runs a command; its id. ``VCPU`` is how many vCPUs it needs, and no variable."""
        size = [{"type": "VCPU", "value": variables.pop("VCPU", "1")}]
        variables["ARTIFACTS"] = artifacts
        return str(
            self.client("batch").submit_job(
                jobName=f"demo-sentiment-{artifacts.rpartition('/')[2]}",
                jobQueue="modelbuild-head",
                jobDefinition=definition,
                containerOverrides={
                    "command": list(command),
                    "resourceRequirements": size,
                    "environment": [{"name": name, "value": value} for name, value in variables.items()],
                },
            )["jobId"]
        )

    def step(self, name: str, queue: str, vcpus: int = 1) -> str:
        """A job of that name that is no head, and runs until it is ended; its id."""
        return str(
            self.client("batch").submit_job(
                jobName=name,
                jobQueue=queue,
                jobDefinition="modelbuild-head",
                containerOverrides={
                    "command": ["sleep", "600"],
                    "resourceRequirements": [{"type": "VCPU", "value": str(vcpus)}],
                },
            )["jobId"]
        )

    def wait_in_queue(self, job_id: str) -> None:
        """Let more than a second pass in which a job has waited for a machine."""
        wait_until(lambda: self.described(job_id)["status"] == "RUNNABLE")
        wait_until(lambda: time.time() - job(self.described(job_id)).runnable_since > 1.2)

    def run_schedule_rule(self) -> str:
        """The function's answer to the event of its schedule rule."""
        [target] = self.client("events").list_targets_by_rule(Rule="modelbuild-waiting")["Targets"]
        answer = self.client("lambda").invoke(FunctionName=target["Arn"], Payload=target["Input"])
        assert "FunctionError" not in answer
        return str(json.loads(answer["Payload"].read()))

    def described(self, job_id: str) -> dict[str, Any]:
        """The job as Batch shows it."""
        [found] = self.client("batch").describe_jobs(jobs=[job_id])["jobs"]
        return dict(found)

    def ended(self, job_id: str) -> BatchJob:
        """The job once it has ended."""
        wait_until(lambda: self.described(job_id)["status"] in ("SUCCEEDED", "FAILED"))
        return job(self.described(job_id))

    def delivered(self, number: int, artifacts: str) -> dict[str, str]:
        """The fields that a build got, once the function has noted that it delivered them.

        Before that, reconciliation still lists the training.
        """
        wait_until(lambda: self.get(f"{artifacts}/delivered.json"), f"the delivery of build {number}")
        return self.builds.fields[number]

    def put(self, uri: str, text: str) -> None:
        """Write an object."""
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        self.client("s3").put_object(Bucket=bucket, Key=key, Body=text.encode())

    def get(self, uri: str) -> str | None:
        """Read an object, if it is there."""
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        s3 = self.client("s3")
        try:
            return str(s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode())
        except s3.exceptions.NoSuchKey:
            return None

    def function_log(self) -> str:
        """Everything that the function has printed."""
        events = self.client("logs").filter_log_events(logGroupName="/aws/lambda/modelbuild-ended")["events"]
        return "\n".join(event["message"] for event in events)


def reconciled(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """What ``modelbuild reconcile`` prints, by model id."""
    capsys.readouterr()
    reconcile.run(MODELS, "modelbuild-head", "modelbuild/buildkite", os.environ)
    lines = capsys.readouterr().out.splitlines()
    found = (re.fullmatch(r"sentiment ([\d.]+): (.*)", line) for line in lines)
    return {match[1]: match[2] for match in found if match}
