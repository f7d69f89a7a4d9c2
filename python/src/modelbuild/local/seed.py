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


def data_lake() -> boto3.Session:
    """A session of the agents' own identity: the stand-in takes any key for one of the data lake account."""
    return boto3.Session(region_name=REGION, aws_access_key_id="laptop", aws_secret_access_key="laptop")


def production(url: str) -> boto3.Session:
    """A session in the production account, as the role that deploys."""
    sts: Any = data_lake().client("sts", endpoint_url=url)
    assumed = sts.assume_role(RoleArn=DEPLOY_ROLE, RoleSessionName="modelbuild-local")["Credentials"]
    return boto3.Session(
        region_name=REGION,
        aws_access_key_id=assumed["AccessKeyId"],
        aws_secret_access_key=assumed["SecretAccessKey"],
        aws_session_token=assumed["SessionToken"],
    )


def seed(url: str, api_token: str, wandb_key: str, template: Path) -> None:
    """Set up both accounts at the AWS stand-in.

    Raises:
        ModelbuildError: the stand-in refused something.
    """
    try:
        secrets: Any = data_lake().client("secretsmanager", endpoint_url=url)
        for name, value in {
            "modelbuild/buildkite": {"BUILDKITE_API_TOKEN": api_token},
            "modelbuild/wandb": {"WANDB_API_KEY": wandb_key},
        }.items():
            secrets.create_secret(Name=name, SecretString=json.dumps(value))
        stacks: Any = production(url).client("cloudformation", endpoint_url=url)
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
