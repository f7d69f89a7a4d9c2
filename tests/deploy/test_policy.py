from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest

import standins
from modelbuild.contract import Deployment
from modelbuild.deploy import command
from modelbuild.errors import AwsError, ModelbuildError

IAM = standins.ROOT / "docs" / "iam"
STATEMENTS = {
    statement["Sid"]: statement
    for name in ("deploy-source", "deploy-agent")
    for statement in json.loads((IAM / f"{name}.json").read_text())["Statement"]
}


@pytest.fixture
def anywhere(deployer: Any) -> Iterator[None]:
    """The deploy role as its stack makes it, with its actions of SageMaker on any resource: the stand-in
    knows resources of S3 only.
    """
    iam, policy = deployer.account.client("iam"), {"RoleName": "modelbuild-deploy", "PolicyName": "deploy"}
    before = iam.get_role_policy(**policy)["PolicyDocument"]
    statements = [
        {**one, "Resource": "*"} if "sagemaker:CreateModel" in one["Action"] else one
        for one in before["Statement"]
    ]
    iam.put_role_policy(**policy, PolicyDocument=json.dumps({**before, "Statement": statements}))
    yield
    iam.put_role_policy(**policy, PolicyDocument=json.dumps(before))


@pytest.fixture
def become(
    on_stand_in: str, anywhere: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., None]]:
    """Be a user with the documented statements, less those that are named, while policies are enforced."""
    del anywhere

    def with_policy(*missing: str) -> None:
        kept = [statement for sid, statement in STATEMENTS.items() if sid not in missing]
        iam: Any = boto3.Session().client("iam")
        user = iam.create_user(UserName=f"deploy-{len(iam.list_users()['Users'])}")["User"]["UserName"]
        document = json.dumps({"Version": "2012-10-17", "Statement": kept})
        iam.put_user_policy(UserName=user, PolicyName="deploy", PolicyDocument=document)
        key = iam.create_access_key(UserName=user)["AccessKey"]
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
        standins.enforce_policies(on_stand_in, True)

    yield with_policy
    standins.enforce_policies(on_stand_in, False)


def test_policies_are_enough(deployer: Any, become: Callable[..., None], on_stand_in: str) -> None:
    """With the documented policies, and the deploy role of the production stack, a model is served and put
    on record in both accounts.
    """
    manifest = deployer.train(801)
    become()
    command.run(deployer.settings("policy"))
    standins.enforce_policies(on_stand_in, False)
    record = deployer.lake.read(f"{manifest.request.artifacts}/deployment.json")
    assert Deployment.model_validate_json(record).model_id == "801"


@pytest.mark.parametrize(
    ("sid", "message"),
    [
        ("ManifestAndModel", r"could not read s3://.*/request\.json \(AccessDenied"),
        ("Record", r"could not write s3://.*/decisions/policy\.json \(AccessDenied"),
        ("Roles", r"could not assume role .*modelbuild-deploy \(AccessDenied"),
    ],
)
def test_each_statement_is_needed(sid: str, message: str, deployer: Any, become: Callable[..., None]) -> None:
    """Without one of the statements, the step says what it may not do."""
    deployer.train(802)
    become(sid)
    with pytest.raises(ModelbuildError, match=message) as caught:
        command.run(deployer.settings("policy"))
    assert isinstance(caught.value, AwsError)
