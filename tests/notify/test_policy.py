from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest

import samples
import standins
from modelbuild.aws.storage import Storage
from modelbuild.contract import Manifest, TrainingResult, attempt_prefix
from modelbuild.errors import AwsError
from modelbuild.notify import command
from modelbuild.settings.notify import NotifySettings

POLICY = json.loads((Path(__file__).parents[2] / "docs" / "iam" / "notify.json").read_text())


@pytest.fixture
def trained(
    storage: Storage, on_stand_in: str, agent: Any, manifest: Manifest, result: TrainingResult
) -> Iterator[None]:
    """A training that succeeded with its second attempt; afterwards policies are ignored again."""
    artifacts = manifest.request.artifacts
    storage.write(f"{artifacts}/request.json", manifest.request.to_json().encode())
    storage.write(f"{artifacts}/manifest.json", manifest.to_json().encode())
    storage.write(f"{attempt_prefix(artifacts, 2)}/result.json", result.to_json().encode())
    agent.meta_data = {"train/attempt": "2", **samples.train_step_meta_data(manifest.request)}
    yield
    standins.enforce_policies(on_stand_in, False)


def become(on_stand_in: str, monkeypatch: pytest.MonkeyPatch, policy: Mapping[str, Any]) -> None:
    """Be a user with just this policy, from now on and with policies enforced."""
    iam: Any = boto3.Session().client("iam")
    user = iam.create_user(UserName=f"notify-{len(iam.list_users()['Users'])}")["User"]["UserName"]
    iam.put_user_policy(UserName=user, PolicyName="notify", PolicyDocument=json.dumps(policy))
    key = iam.create_access_key(UserName=user)["AccessKey"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
    standins.enforce_policies(on_stand_in, True)


@pytest.mark.usefixtures("trained")
def test_policy_is_enough(
    on_stand_in: str, agent: Any, environ: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the policy of the documentation the step shows the result of a later attempt and its manifest."""
    become(on_stand_in, monkeypatch, POLICY)
    command.run(NotifySettings(), environ)
    assert [style for _, style, _ in agent.annotations] == ["info"]


@pytest.mark.usefixtures("trained")
@pytest.mark.parametrize("name", ["request.json", "result.json", "manifest.json"])
def test_each_object_is_needed(
    on_stand_in: str, environ: Mapping[str, str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Where one of the objects may not be read, the step says which."""
    [objects, *others] = POLICY["Statement"]
    kept = [resource for resource in objects["Resource"] if not resource.endswith(f"/{name}")]
    assert len(kept) == len(objects["Resource"]) - 1
    become(on_stand_in, monkeypatch, {**POLICY, "Statement": [{**objects, "Resource": kept}, *others]})
    with pytest.raises(AwsError, match=rf"could not read s3://.*/{name} \(AccessDenied"):
        command.run(NotifySettings(), environ)
