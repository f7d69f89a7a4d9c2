"""The policy of docs/iam for the train step."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from typing import Any

import boto3
import pytest
from botocore.client import BaseClient

from standins import ROOT
from train_step import Build


def test_policy_is_what_the_step_calls(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """The policy ``docs/iam/train.json`` allows each call of a first and of a retried step, and no other."""
    policy = ROOT / "docs" / "iam" / "train.json"
    statements = json.loads(policy.read_text())["Statement"]
    needed: set[tuple[str, str]] = set()
    clients: Any = BaseClient
    call = clients._make_api_call

    def noted(client: Any, operation: str, parameters: dict[str, Any]) -> Any:
        needed.update(permissions(operation, parameters))
        return call(client, operation, parameters)

    # An image of its own, so that a definition is registered here and not by another test.
    build.options["image"]["default"] = "modelbuild/other:1"
    with monkeypatch.context() as patched:
        patched.setattr(clients, "_make_api_call", noted)
        build.train()
        build.train()
        bucket, key = f"{build.artifacts.removeprefix('s3://')}/job.json".split("/", 1)
        with monkeypatch.context() as unnoted:
            unnoted.setattr(clients, "_make_api_call", call)
            boto3.client("s3").delete_object(Bucket=bucket, Key=key)
        build.train()
    unused = {action for statement in statements for action in listed(statement["Action"])}
    for action, resource in needed:
        assert any(
            action in listed(statement["Action"])
            and any(fnmatchcase(resource, pattern) for pattern in listed(statement["Resource"]))
            for statement in statements
        ), f"{action} on {resource} is not allowed"
        unused.discard(action)
    # Needed so that S3 answers 404, and not 403, for what is not there.
    assert unused == {"s3:ListBucket"}


def listed(value: str | list[str]) -> list[str]:
    """What stands in a statement, which may be one or several."""
    return [value] if isinstance(value, str) else value


def permissions(operation: str, parameters: dict[str, Any]) -> list[tuple[str, str]]:
    """The actions and resources that AWS asks for before it makes a call."""
    batch = "arn:aws:batch:us-east-1:123456789012:"
    match operation:
        case "GetObject" | "PutObject":
            return [(f"s3:{operation}", f"arn:aws:s3:::{parameters['Bucket']}/{parameters['Key']}")]
        case "RegisterJobDefinition":
            name, container = parameters["jobDefinitionName"], parameters["containerProperties"]
            roles = [container["jobRoleArn"], container["executionRoleArn"]]
            return [
                ("batch:RegisterJobDefinition", f"{batch}job-definition/{name}"),
                *(("iam:PassRole", role) for role in roles),
            ]
        case "SubmitJob":
            return [
                ("batch:SubmitJob", parameters["jobDefinition"]),
                ("batch:SubmitJob", f"{batch}job-queue/{parameters['jobQueue']}"),
                ("batch:TagResource", f"{batch}job/an-id"),
            ]
        case _:
            return [(f"batch:{operation}", "*")]
