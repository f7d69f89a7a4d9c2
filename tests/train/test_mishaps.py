"""What may go wrong in the step that asks for a training, as the process that an agent runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import standins
from modelbuild.aws.identity import session
from modelbuild.aws.storage import Storage
from modelbuild.contract import TrainingResult
from modelbuild.settings import AwsSettings
from request_faults import RequestFaults, injected_faults
from waiting import SECONDS

# The command line on a machine whose clock is so many seconds off.
ELSEWHEN = """
import datetime, sys, time
import botocore.compat
off, now, today = float(sys.argv.pop(1)), time.time, botocore.compat.get_current_datetime
time.time = lambda: now() + off
botocore.compat.get_current_datetime = lambda *given: today(*given) + datetime.timedelta(seconds=off)
from modelbuild.cli import main
main()
"""


class Step:
    """A build's step that trains, which can be run again and again."""

    def __init__(self, repository: Any, url: str, number: int) -> None:
        commit = repository.commit({"flows/flow.py": "# a flow", "flows/params.yaml": "act: 1\nscene: one\n"})
        self._folder = repository.folder
        self.name = f"mishaps-flows-{number}"
        self.artifacts = f"s3://{standins.BUCKET}/models/mishaps/flows/{number}"
        self._batch = standins.client(url, "batch")
        options = {
            "flow": "flows/flow.py",
            "artifacts": f"s3://{standins.BUCKET}/models",
            "unblock": "training_finished",
            "image": {"default": "modelbuild/default:1", "train-gpu": "modelbuild/train-gpu:1", "serve": "s"},
        }
        self._environ = {
            **os.environ,
            **standins.variables(url),
            "BUILDKITE_PLUGIN_CONFIGURATION": json.dumps(options),
            "BUILDKITE_ORGANIZATION_SLUG": "local",
            "BUILDKITE_PIPELINE_SLUG": "mishaps",
            "BUILDKITE_BUILD_NUMBER": str(number),
            "BUILDKITE_BUILD_ID": "0190-build",
            "BUILDKITE_BUILD_URL": f"http://buildkite.example/local/mishaps/builds/{number}",
            "BUILDKITE_COMMIT": commit,
            "BUILDKITE_BRANCH": "main",
            "BUILDKITE_MESSAGE": "a commit",
            "BUILDKITE_BUILD_CREATOR": "Ada",
        }

    def start(self, clock: float = 0, command: str = "train", **environ: str) -> subprocess.Popen[str]:
        """Start it on a machine whose clock is so many seconds off, with further variables."""
        return subprocess.Popen(
            [sys.executable, "-c", ELSEWHEN, str(clock), command],
            cwd=self._folder,
            env={**self._environ, **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def jobs(self) -> list[str]:
        """The ids of its heads."""
        filters = [{"name": "JOB_NAME", "values": [self.name]}]
        found = self._batch.list_jobs(jobQueue="modelbuild-head", filters=filters)["jobSummaryList"]
        return [job["jobId"] for job in found]


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit code, output and errors of a process."""
    output, errors = process.communicate(timeout=2 * SECONDS)
    return process.returncode, output, errors


@pytest.fixture
def step(aws: Any, agent: Any, repository: Any) -> Iterator[Step]:
    """A step of a build of its own, whose head would sleep; its jobs are ended."""
    assert agent.calls == []
    script = Path(aws.bin) / "python"
    script.write_text("#!/bin/sh\nexec sleep 600\n")
    script.chmod(0o755)
    made = Step(repository, aws.url, time.monotonic_ns() % 10**9)
    yield made
    for job_id in made.jobs():
        standins.client(aws.url, "batch").terminate_job(jobId=job_id, reason="the test is over")


@pytest.fixture
def faults(aws: Any) -> Iterator[RequestFaults]:
    """Faults of the AWS stand-in, which are gone when the test is over."""
    with injected_faults(aws.url) as changed:
        yield changed


def test_locale_of_another_encoding_changes_nothing(step: Step) -> None:
    """Message, branch and parameters reach log and request as they are, on an agent whose locale is ASCII."""
    locale = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    variables = {"BUILDKITE_MESSAGE": "Größe 🎉", "BUILDKITE_BRANCH": "füße/🎉", "PARAM_SCENE": "Äther 🎉"}
    code, output, errors = ended(step.start(0, "train", **locale, **variables))
    assert code == 0, errors
    assert "Äther 🎉" in output
    request = json.loads(Storage(session(AwsSettings())).read(f"{step.artifacts}/request.json"))
    assert request["build"]["message"] == variables["BUILDKITE_MESSAGE"]
    assert request["build"]["branch"] == variables["BUILDKITE_BRANCH"]
    assert request["parameters"]["scene"] == variables["PARAM_SCENE"]


def test_throttled_step_submits_one_head(step: Step, faults: RequestFaults) -> None:
    """Batch and S3 refuse each third call, and the submission three times: there is one head all the same."""
    faults.add("batch POST /v1/submitjob", status=429, code="TooManyRequestsException", count=2)
    faults.add("batch POST /v1/submitjob", status=400, code="ThrottlingException", count=1)
    faults.add("batch *", status=429, code="TooManyRequestsException", every=3)
    faults.add("s3 *", status=503, code="SlowDown", every=3)
    code, output, errors = ended(step.start())
    assert code == 0, errors
    assert output.count("submitted job") == 1
    assert len(step.jobs()) == 1
    assert all(faults.struck())


def test_submission_that_failed_otherwise_is_not_sent_again(step: Step, faults: RequestFaults) -> None:
    """Batch's answer is lost, or it failed: the job may be there, so the step ends, and its retry goes on."""
    faults.add("batch POST /v1/submitjob", lost=True, count=1)
    code, _, errors = ended(step.start())
    assert code == 11
    assert "could not submit job" in errors
    assert len(step.jobs()) == 1
    code, output, errors = ended(step.start())
    assert code == 0, errors
    # The job that may be there was given up, and would stand down; the one of attempt 2 trains.
    assert "attempt 2" in output
    assert len(step.jobs()) == 2


def test_expired_keys_of_the_agent_are_a_sentence(step: Step, faults: RequestFaults, aws: Any) -> None:
    """Of the agent's own expired keys it says one sentence with the fix, and nothing is submitted."""
    role = "arn:aws:iam::123456789012:role/agent"
    standins.create_role(aws.url, role)
    faults.limit_key_lifetime(1)
    try:
        sts = standins.client(aws.url, "sts")
        credentials = sts.assume_role(RoleArn=role, RoleSessionName="agent")["Credentials"]
    finally:
        faults.limit_key_lifetime(43200)
    time.sleep(max(0.0, credentials["Expiration"].timestamp() - time.time()) + 0.1)
    keys = {
        "AWS_ACCESS_KEY_ID": credentials["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": credentials["SecretAccessKey"],
        "AWS_SESSION_TOKEN": credentials["SessionToken"],
    }
    code, _, errors = ended(step.start(**keys))
    assert code == 11
    message = errors.strip().splitlines()[-1]
    assert message.startswith("modelbuild: could not ")
    assert "ExpiredToken" in message
    assert message.endswith(": renew the credentials of this machine")
    assert "Traceback" not in errors
    assert step.jobs() == []


def test_clocks_that_differ_make_one_training(step: Step) -> None:
    """Two agents ask at the same moment, one four minutes late and one four minutes early: conditional
    writes decide who submits, and the other attaches to that head.
    """
    ends = [ended(process) for process in [step.start(-240), step.start(240)]]
    assert [code for code, _, _ in ends] == [0, 0], ends
    (job,) = step.jobs()
    assert sorted(f"submitted job {job}" in output for _, output, _ in ends) == [False, True]
    assert all(f"Batch job  {job}" in output for _, output, _ in ends)


def test_restarted_head_with_another_clock_delivers_once(
    step: Step, request_for: Any, buildkite: Any
) -> None:
    """A head that Batch starts once more, on a machine eight minutes behind the first: the build is unblocked
    with the result from the first one only.
    """
    storage = Storage(session(AwsSettings()))
    result = TrainingResult(status="succeeded", manifest="s3://somewhere/manifest.json")
    storage.write(f"{step.artifacts}/request.json", request_for(step.artifacts).to_json().encode())
    storage.write(f"{step.artifacts}/result.json", result.to_json().encode())
    variables = {
        "ARTIFACTS": step.artifacts,
        "AWS_BATCH_JOB_ID": "a-job",
        "BUILDKITE_API_URL": buildkite.url,
        "BUILDKITE_API_TOKEN": "the-rest-token",
    }
    for clock in (240, -240):
        code, output, errors = ended(step.start(clock, "head", **variables))
        assert code == 0, output + errors
    assert buildkite.fields == [result.to_fields()]


@pytest.mark.parametrize("command", ["train", "head"])
def test_clock_that_aws_refuses_is_a_sentence(step: Step, command: str) -> None:
    """A clock that is off by more than AWS takes is named, by agent and head, before anything is begun."""
    variables = {"ARTIFACTS": step.artifacts} if command == "head" else {}
    code, _, errors = ended(step.start(-1200, command, **variables))
    assert code == 11
    message = errors.strip().splitlines()[-1]
    assert message.startswith("modelbuild: could not ")
    assert message.endswith((": set the clock of this machine", "or the clock, of this machine"))
    assert "Traceback" not in errors
    assert step.jobs() == []
