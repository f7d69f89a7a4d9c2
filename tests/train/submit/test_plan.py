"""A dry run of the train step."""

from __future__ import annotations

import json
from typing import Any

import boto3
import pytest

from modelbuild.aws.identity import session
from modelbuild.aws.storage import Storage
from modelbuild.contract import TrainingRequest
from modelbuild.errors import ConfigurationError
from modelbuild.settings import AwsSettings
from modelbuild.settings.train import TrainSettings
from modelbuild.train.submit import plan
from train_step import Build, jobs, read_object


def definitions() -> list[Any]:
    """Every job definition."""
    batch: Any = boto3.client("batch")
    found: list[Any] = batch.describe_job_definitions()["jobDefinitions"]
    return found


def test_plan_is_what_is_submitted(build: Build, agent: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """A dry run changes nothing, and prints the request, job, roles and sizes that then come true."""
    settings = TrainSettings.model_validate(build.options)
    before = definitions()
    plan.show(settings, build.environ)
    found = json.loads(capsys.readouterr().out)
    assert jobs(build) == []
    assert Storage(session(AwsSettings())).list(build.artifacts) == []
    assert definitions() == before
    assert {argv[1] for argv, _ in agent.calls} <= {"keys", "get"}
    build.train()
    (job,) = jobs(build)
    request = TrainingRequest.model_validate_json(read_object(build, "request.json"))
    assert TrainingRequest.model_validate(found["request"]) == request
    assert found["stored"] is False
    assert f"/{found['job']['definition']}:" in job["jobDefinition"]
    assert found["job"]["name"] in job["jobName"]
    assert (
        found["job"]["environment"].items()
        <= {entry["name"]: entry["value"] for entry in job["container"]["environment"]}.items()
    )
    assert found["roles"]["job"] == job["container"]["jobRoleArn"]
    assert found["job"]["resources"] == {"VCPU": "1", "MEMORY": "2048"}
    assert found["roles"]["caller"].startswith("arn:aws:")
    assert found["bytes"]["source"] == len(read_object(build, "source.tar.gz"))
    assert found["bytes"]["request"] == len(read_object(build, "request.json"))
    assert 0 < found["bytes"]["overrides"] < found["bytes"]["overrides_limit"] == 8192


def test_plan_that_batch_would_refuse_fails(build: Build, capsys: pytest.CaptureFixture[str]) -> None:
    """What is too large is printed, and then said as when it would be submitted."""
    settings = TrainSettings.model_validate({**build.options, "environment": {"A": "x" * 9000}})
    with pytest.raises(ConfigurationError, match=r"the variables of the job take 9[0-9]+ bytes"):
        plan.show(settings, build.environ)
    assert json.loads(capsys.readouterr().out)["bytes"]["overrides"] > 9000
    settings = TrainSettings.model_validate({**build.options, "environment": {"A": "x" * 4000}})
    with pytest.raises(ConfigurationError, match="bytes with 5000 for Metaflow"):
        plan.show(settings, build.environ)
