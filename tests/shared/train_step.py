"""A train step of a build in a checkout, run against the AWS stand-in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import boto3

from modelbuild.aws.identity import session
from modelbuild.aws.storage import Storage
from modelbuild.settings import AwsSettings
from modelbuild.settings.train import TrainSettings
from modelbuild.train.submit import command
from waiting import wait_until

BUCKET = "s3://modelbuild-123456789012"
# What a job runs instead of the head: it sleeps, or ends, well or not, once the test lets the heads of its
# build end. The stack's function runs it as well, without a training.
PYTHON = """#!/bin/sh
echo "in the job: $*"
[ "$ACT" != sleep ] || exec sleep 60
[ -z "$ARTIFACTS" ] || until [ -e "${0%/*}/end-${ARTIFACTS##*/}" ]; do sleep 0.05; done
[ "$ACT" != fail ] || exit 3
"""


class Build:
    """A build of a commit, whose train step can be run again and again.

    Attributes:
        programs: the folder with the program that its jobs run.
    """

    def __init__(self, repository: Any, number: int, programs: Path) -> None:
        self.programs = programs
        self._number = number
        self.commit = repository.commit(
            {"flows/flow.py": "# a flow", "flows/params.yaml": "act: 1\ntraining: {epochs: 3, rate: 0.5}\n"}
        )
        self.environ = {
            "BUILDKITE_ORGANIZATION_SLUG": "local",
            "BUILDKITE_PIPELINE_SLUG": "demo",
            "BUILDKITE_BUILD_NUMBER": str(number),
            "BUILDKITE_BUILD_ID": "0190-build",
            "BUILDKITE_BUILD_URL": f"http://buildkite.example/local/demo/builds/{number}",
            "BUILDKITE_COMMIT": self.commit,
            "BUILDKITE_BRANCH": "feature/<b>",
            "BUILDKITE_MESSAGE": "a commit",
            "BUILDKITE_BUILD_CREATOR": "Ada",
        }
        self.artifacts = f"{BUCKET}/models/demo/flows/{number}"
        self.options: dict[str, Any] = {
            "flow": "flows/flow.py",
            "artifacts": f"{BUCKET}/models",
            "unblock": "training_finished",
            "environment": {"ACT": "sleep"},
            "image": {"default": "modelbuild/default:1", "train-gpu": "modelbuild/train-gpu:1", "serve": "s"},
        }

    def train(self, **options: Any) -> None:
        """Run the step."""
        command.run(TrainSettings.model_validate({**self.options, **options}), self.environ)

    def end_head(self, status: str) -> None:
        """Let the head end, which does not sleep; return when it has this status."""
        (self.programs / f"end-{self._number}").touch()
        wait_until(lambda: jobs(self)[0]["status"] == status, f"the head to be {status}")


build_numbers = iter(range(100, 1000))


def jobs(build: Build) -> list[Any]:
    """Every job of the build, as Batch describes it."""
    batch: Any = boto3.client("batch")
    name = build.artifacts.split("/models/")[1].replace("/", "-")
    filters = [{"name": "JOB_NAME", "values": [name]}]
    found = batch.list_jobs(jobQueue="modelbuild-head", filters=filters)["jobSummaryList"]
    return batch.describe_jobs(jobs=[job["jobId"] for job in found])["jobs"] if found else []


def read_object(build: Build, name: str) -> bytes:
    """What lies under the model's prefix."""
    return Storage(session(AwsSettings())).read(f"{build.artifacts}/{name}")


def put_result(build: Build, name: str, status: str, reason: str = "") -> None:
    """Write a result, as a head would."""
    text = json.dumps({"training/status": status, "training/reason": reason})
    Storage(session(AwsSettings())).write(f"{build.artifacts}/{name}", text.encode())
