"""What the owners of the two accounts have set up before any build: two secrets, and production's stack."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError, WaiterError

from modelbuild.errors import ModelbuildError
from modelbuild.local.places import DATA_LAKE_ACCOUNT, PRODUCTION_ACCOUNT, REGION

DEPLOY_ROLE = f"arn:aws:iam::{PRODUCTION_ACCOUNT}:role/modelbuild-deploy"


def data_lake(key_id: str, secret: str) -> boto3.Session:
    """A session of the agents' own identity, with the access key of this run."""
    return boto3.Session(region_name=REGION, aws_access_key_id=key_id, aws_secret_access_key=secret)


def production(url: str, lake: boto3.Session) -> boto3.Session:
    """A session in the production account: the role that deploys, assumed by the agents' identity."""
    sts: Any = lake.client("sts", endpoint_url=url)
    assumed = sts.assume_role(RoleArn=DEPLOY_ROLE, RoleSessionName="modelbuild-local")["Credentials"]
    return boto3.Session(
        region_name=REGION,
        aws_access_key_id=assumed["AccessKeyId"],
        aws_secret_access_key=assumed["SecretAccessKey"],
        aws_session_token=assumed["SessionToken"],
    )


def seed(url: str, lake: boto3.Session, api_token: str, wandb_key: str, template: Path) -> None:
    """Set up both accounts at the AWS stand-in.

    Raises:
        ModelbuildError: the stand-in refused something.
    """
    try:
        secrets: Any = lake.client("secretsmanager", endpoint_url=url)
        for name, value in {
            "modelbuild/buildkite": {"BUILDKITE_API_TOKEN": api_token},
            "modelbuild/wandb": {"WANDB_API_KEY": wandb_key},
        }.items():
            secrets.create_secret(Name=name, SecretString=json.dumps(value))
        stacks: Any = production(url, lake).client("cloudformation", endpoint_url=url)
        stacks.create_stack(
            StackName="modelbuild-production",
            TemplateBody=template.read_text(encoding="utf-8"),
            Parameters=[
                {
                    "ParameterKey": "DeployerArn",
                    "ParameterValue": f"arn:aws:iam::{DATA_LAKE_ACCOUNT}:root",
                }
            ],
            Capabilities=["CAPABILITY_NAMED_IAM"],
        )
        waiter = stacks.get_waiter("stack_create_complete")
        waiter.wait(StackName="modelbuild-production", WaiterConfig={"Delay": 1, "MaxAttempts": 30})
    except (BotoCoreError, ClientError, WaiterError) as error:
        raise ModelbuildError(f"the local AWS could not be set up: {error}") from error
