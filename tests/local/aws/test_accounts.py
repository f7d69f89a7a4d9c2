"""Two accounts in one server."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

import standins

PRODUCTION = "arn:aws:iam::222222222222"


def keys_of(cloud: Any, role: str) -> dict[str, str]:
    """Credentials of a role in account 222222222222, by AssumeRole."""
    arn = f"{PRODUCTION}:role/{role}"
    credentials = cloud.client("sts").assume_role(RoleArn=arn, RoleSessionName="test")["Credentials"]
    return {
        "aws_access_key_id": credentials["AccessKeyId"],
        "aws_secret_access_key": credentials["SecretAccessKey"],
        "aws_session_token": credentials["SessionToken"],
    }


def production_keys(cloud: Any) -> dict[str, str]:
    """Credentials of the role that deploys, which the account's owner has created."""
    standins.create_role(cloud.url, f"{PRODUCTION}:role/modelbuild-deploy")
    return keys_of(cloud, "modelbuild-deploy")


@pytest.mark.parametrize(
    ("role", "code"),
    [
        (f"{PRODUCTION}:role/modelbuild-depoly", "AccessDenied"),
        ("arn:aws:iam::333333333333:role/modelbuild-deploy", "AccessDenied"),
        ("role/modelbuild-deploy-long-enough", "ValidationError"),
    ],
)
def test_a_role_that_iam_does_not_have_is_refused(cloud: Any, role: str, code: str) -> None:
    """A wrong role is refused as by AWS, which does not say whether the role exists."""
    production_keys(cloud)
    with pytest.raises(ClientError) as refused:
        cloud.client("sts").assume_role(RoleArn=role, RoleSessionName="test")
    assert refused.value.response["Error"]["Code"] == code
    assert role in refused.value.response["Error"]["Message"]


def test_assumed_role_is_in_its_own_account(cloud: Any) -> None:
    """Credentials of a role belong to the account its ARN names, and see that account's things only."""
    keys = production_keys(cloud)
    assert cloud.client("sts").get_caller_identity()["Account"] == "123456789012"
    identity = cloud.client("sts", **keys).get_caller_identity()
    assert identity["Arn"] == "arn:aws:sts::222222222222:assumed-role/modelbuild-deploy/test"
    here, there = cloud.client("s3"), cloud.client("s3", **keys)
    here.create_bucket(Bucket="of-the-lake")
    there.create_bucket(Bucket="of-production")
    ours, theirs = ({bucket["Name"] for bucket in s3.list_buckets()["Buckets"]} for s3 in (here, there))
    assert ours & {"of-the-lake", "of-production"} == {"of-the-lake"}
    assert theirs & {"of-the-lake", "of-production"} == {"of-production"}


def test_objects_can_be_copied_between_accounts(cloud: Any) -> None:
    """Production reads the lake's bucket and copies out of it."""
    there = cloud.client("s3", **production_keys(cloud))
    cloud.client("s3").create_bucket(Bucket="copy-from")
    cloud.client("s3").put_object(Bucket="copy-from", Key="model", Body=b"weights")
    there.create_bucket(Bucket="copy-to")
    there.copy_object(Bucket="copy-to", Key="model", CopySource={"Bucket": "copy-from", "Key": "model"})
    assert there.get_object(Bucket="copy-from", Key="model")["Body"].read() == b"weights"
    assert there.get_object(Bucket="copy-to", Key="model")["Body"].read() == b"weights"
