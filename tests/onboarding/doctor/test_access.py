"""Identity, bucket, token and the permissions of AWS."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

import http_api
import standins
from doctor import PIPELINE, Write, client, wrong
from modelbuild.onboarding.doctor import examine


def test_identity(on_agent: dict[str, str], write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without credentials AWS is one line with the fix."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("HOME", str(write("").parent))
    (found,) = wrong(PIPELINE, on_agent)
    assert found.startswith("identity: could not ask AWS who this is (no AWS credentials were found): give")


def test_bucket_that_does_not_exist(on_agent: dict[str, str], write: Write) -> None:
    """A missing bucket is reported with AWS's own code and the fix."""
    text = PIPELINE.read_text().replace(
        "s3://modelbuild-${DATA_LAKE_ACCOUNT?}/models", "s3://nobodys-bucket/models"
    )
    (found,) = wrong(write(text), on_agent)
    assert found.startswith(
        "bucket s3://nobodys-bucket/models: could not write s3://nobodys-bucket/models/model"
    )
    assert found.endswith("deploy the stack that makes it, or correct the bucket's name")


def test_an_environment_that_the_agent_would_refuse(on_agent: dict[str, str], write: Write) -> None:
    """A variable that the pipeline's env requires is one line, and what does not depend on it is examined."""
    text = PIPELINE.read_text()
    file = write(f'env:\n  REGION: "${{MISSING?set it on the agent}}"\n{text}')
    lines = list(examine(file, {**on_agent, "BUILDKITE_API_TOKEN": "wrong-token"}))
    [found] = [line.text for line in lines if line.text.startswith("env of ")]
    assert found.startswith(f"env of {file}: the pipeline requires MISSING, which this environment does not")
    assert {line.text.split(":")[0].split(" ")[0] for line in lines} >= {"agent", "identity", "bucket", "API"}


def test_token_that_is_wrong(on_agent: dict[str, str]) -> None:
    """A token that Buildkite refuses is reported, and not printed."""
    (found,) = wrong(PIPELINE, {**on_agent, "BUILDKITE_API_TOKEN": "wrong-token"})
    assert found.startswith("API token: ")
    assert "answered 401" in found
    assert "wrong-token" not in found


@pytest.fixture
def api() -> Iterator[Callable[[list[str]], str]]:
    """An API whose token has the given scopes, since the laptop's token may do all."""
    with ExitStack() as stack:

        def serve(scopes: list[str]) -> str:
            class Handler(http_api.JsonHandler):
                def do_GET(self) -> None:
                    token = {"uuid": "0190", "scopes": scopes, "description": "ci"}
                    self.answer(token, 200 if self.path == "/v2/access-token" else 404)

            return f"{http_api.url(stack.enter_context(http_api.served(Handler)))}/v2"

        yield serve


@pytest.mark.parametrize(
    ("scopes", "message"),
    [
        (["read_builds"], "lacks scope write_builds (it has read_builds): make a token with read_builds and"),
        ([], "lacks scope read_builds and write_builds (it has none)"),
        (["write_builds", "graphql"], "lacks scope read_builds (it has write_builds, graphql)"),
    ],
)
def test_token_that_may_too_little(
    scopes: list[str], message: str, on_agent: dict[str, str], api: Callable[[list[str]], str]
) -> None:
    """A token without a scope that the callback needs is reported with the scopes it has."""
    (found,) = wrong(
        PIPELINE, {**on_agent, "BUILDKITE_API_URL": api(scopes), "BUILDKITE_API_TOKEN": "some-token"}
    )
    assert message in found
    assert "some-token" not in found


ACTIONS = {
    "Object": ("s3:GetObject", "s3:PutObject", "s3:DeleteObject"),
    "Bucket": ("s3:ListBucket",),
    "Look": (
        "batch:describejobqueues",
        "batch:describejobdefinitions",
        "batch:describecomputeenvironments",
    ),
}


@pytest.fixture
def allow(on_agent: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Become a user that may do what the doctor does, without some of the actions."""

    def allowed(*missing: str) -> None:
        kept = [action for actions in ACTIONS.values() for action in actions if action not in missing]
        policy = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": kept, "Resource": "*"}}
        iam, name = client("iam"), f"agent-{uuid.uuid4().hex}"
        iam.create_user(UserName=name)
        iam.put_user_policy(UserName=name, PolicyName="doctor", PolicyDocument=json.dumps(policy))
        key = iam.create_access_key(UserName=name)["AccessKey"]
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
        standins.enforce_policies(url, True)

    url = on_agent["AWS_ENDPOINT_URL"]
    yield allowed
    standins.enforce_policies(url, False)


def test_actions_are_enough(on_agent: dict[str, str], allow: Callable[..., None]) -> None:
    """With these actions and no others the doctor sees everything."""
    allow()
    assert wrong(PIPELINE, on_agent) == []


@pytest.mark.parametrize(
    ("action", "beginnings"),
    [
        ("s3:PutObject", ["bucket s3://modelbuild-123456789012/models: could not write s3://"]),
        ("s3:GetObject", ["bucket s3://modelbuild-123456789012/models: could not read s3://"]),
        (
            "s3:DeleteObject",
            ["bucket s3://modelbuild-123456789012/models: writing works, but could not delete"],
        ),
        (
            "batch:describejobdefinitions",
            [
                "job definition: could not look for job definition modelbuild-head",
                "job definition modelbuild-score: could not look for job definition modelbuild-score",
            ],
        ),
        (
            "batch:describejobqueues",
            [
                f"queue modelbuild-{name}: could not look at queue modelbuild-{name}"
                for name in ("head", "default", "gpu")
            ],
        ),
        (
            "batch:describecomputeenvironments",
            [
                f"queue modelbuild-{name}: could not look at compute environment modelbuild-"
                for name in ("head", "default", "gpu")
            ],
        ),
    ],
)
def test_action_that_is_not_allowed(
    action: str, beginnings: list[str], on_agent: dict[str, str], allow: Callable[..., None]
) -> None:
    """A missing permission is reported at the resource it is needed for, and the rest is checked."""
    allow(action)
    found = wrong(PIPELINE, on_agent)
    assert len(found) == len(beginnings)
    for text, beginning in zip(found, beginnings, strict=True):
        assert text.startswith(beginning)
        assert "give the role that this runs as the permission" in text or "allow it, or delete" in text
