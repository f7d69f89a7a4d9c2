"""Sets up the two accounts, as their owners do before the first build: two secrets, and a stack in each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from modelbuild import __version__
from modelbuild.errors import ModelbuildError
from modelbuild_local import clone
from modelbuild_local.laptop import DATA_LAKE_ACCOUNT, OWNER_ROLE, PRODUCTION_ACCOUNT, REGION

DEPLOY_ROLE = f"arn:aws:iam::{PRODUCTION_ACCOUNT}:role/modelbuild-deploy"
_PRODUCTION_OWNER = f"arn:aws:iam::{PRODUCTION_ACCOUNT}:role/{OWNER_ROLE}"


def data_lake(key_id: str, secret: str) -> boto3.Session:
    """A session with the agents' identity, the access key of this run."""
    return boto3.Session(region_name=REGION, aws_access_key_id=key_id, aws_secret_access_key=secret)


def production(url: str, lake: boto3.Session) -> boto3.Session:
    """A session in the production account, with the role that deploys, which the agents' identity assumes."""
    return _with_role(url, lake, DEPLOY_ROLE)


def _with_role(url: str, lake: boto3.Session, role: str) -> boto3.Session:
    sts: Any = lake.client("sts", endpoint_url=url)
    assumed = sts.assume_role(RoleArn=role, RoleSessionName="modelbuild-local")["Credentials"]
    return boto3.Session(
        region_name=REGION,
        aws_access_key_id=assumed["AccessKeyId"],
        aws_secret_access_key=assumed["SecretAccessKey"],
        aws_session_token=assumed["SessionToken"],
    )


def seed(
    aws: str, lake: boto3.Session, buildkite: str, wandb: str, secrets: Mapping[str, Mapping[str, str]]
) -> None:
    """Set up both accounts at the AWS stand-in.

    Args:
        aws: address of the AWS stand-in.
        lake: the agents' own identity.
        buildkite: address of Buildkite's REST API.
        wandb: address of W&B.
        secrets: the secrets of the data lake's account, by their names.

    Raises:
        ConfigurationError: the clone has no templates.
        ModelbuildError: the stand-in refused a call.
    """
    try:
        vault: Any = lake.client("secretsmanager", endpoint_url=aws)
        for name, value in secrets.items():
            vault.create_secret(Name=name, SecretString=json.dumps(value))
        _deploy(
            _with_role(aws, lake, _PRODUCTION_OWNER),
            aws,
            "production",
            {"DeployerArn": f"arn:aws:iam::{DATA_LAKE_ACCOUNT}:root"},
        )
        _deploy(
            lake,
            aws,
            "training",
            {
                "Image": f"modelbuild/default:{__version__}",
                **_network(aws, lake),
                "BuildkiteSecretArn": vault.describe_secret(SecretId="modelbuild/buildkite")["ARN"],
                "WandbSecretArn": vault.describe_secret(SecretId="modelbuild/wandb")["ARN"],
                "BuildkiteApiUrl": buildkite,
                "WandbBaseUrl": wandb,
            },
        )
    except (BotoCoreError, ClientError) as error:
        raise ModelbuildError(f"the local AWS could not be set up: {error}") from error


def _network(aws: str, lake: boto3.Session) -> dict[str, str]:
    """The default network of the data lake's account, as parameters of its stack."""
    ec2: Any = lake.client("ec2", endpoint_url=aws)
    groups = ec2.describe_security_groups(Filters=[{"Name": "group-name", "Values": ["default"]}])
    return {
        "SubnetIds": ",".join(subnet["SubnetId"] for subnet in ec2.describe_subnets()["Subnets"]),
        "SecurityGroupIds": groups["SecurityGroups"][0]["GroupId"],
    }


def _deploy(session: boto3.Session, aws: str, name: str, parameters: Mapping[str, str]) -> None:
    """Create a stack of the clone's infrastructure; the stand-in answers when all resources exist."""
    stacks: Any = session.client("cloudformation", endpoint_url=aws)
    stacks.create_stack(
        StackName=f"modelbuild-{name}",
        TemplateBody=clone.require("infra", f"{name}.yaml").read_text(encoding="utf-8"),
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
        Capabilities=["CAPABILITY_NAMED_IAM"],
    )
    [stack] = stacks.describe_stacks(StackName=f"modelbuild-{name}")["Stacks"]
    if stack["StackStatus"] != "CREATE_COMPLETE":
        why = stack.get("StackStatusReason", "no reason")
        raise ModelbuildError(f"stack modelbuild-{name} is {stack['StackStatus']} at the local AWS: {why}")
