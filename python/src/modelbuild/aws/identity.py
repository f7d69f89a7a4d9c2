"""Who a call to AWS is made as."""

from __future__ import annotations

import os
import re
from typing import Any

import boto3
import botocore.session
from botocore.config import Config
from botocore.credentials import CredentialProvider, DeferredRefreshableCredentials

from modelbuild.aws.failures import translated
from modelbuild.settings import AwsSettings

CLIENT_CONFIG = Config(
    retries={"mode": "standard", "max_attempts": 6},
    connect_timeout=10,
    read_timeout=60,
    user_agent_extra="modelbuild",
)


def session(aws: AwsSettings) -> boto3.Session:
    """A session of the default credentials, or of the role that the settings name.

    The credentials of a role stay in this process and are renewed before they expire, so a wait that
    is longer than they live (an hour) goes on. Nothing is called until the first client needs them.

    Raises:
        AwsError: the environment names a profile that does not exist.
    """
    with translated("set up a session of AWS"):
        base = _session_in(aws.region)
        if aws.role_arn is None:
            return boto3.Session(botocore_session=base)
        role = _session_in(aws.region)
        role.get_component("credential_provider").insert_before("env", _Role(base, aws.role_arn))
        return boto3.Session(botocore_session=role)


def account(made: boto3.Session) -> str:
    """The twelve digits of the account that calls are made in.

    Raises:
        AwsError: AWS refused, or could not be reached.
    """
    with translated("ask AWS who this is"):
        return made.client("sts").get_caller_identity()["Account"]


def _session_in(region: str | None) -> botocore.session.Session:
    """A session whose clients all have the product's timeouts and retries."""
    found = botocore.session.Session()
    if region is not None:
        found.set_config_variable("region", region)
    found.set_default_client_config(CLIENT_CONFIG)
    return found


class _Role(CredentialProvider):
    METHOD = "modelbuild-assume-role"
    CANONICAL_NAME = "modelbuild-assume-role"

    def __init__(self, base: botocore.session.Session, role_arn: str) -> None:
        super().__init__(base)
        self._base = base
        self._role_arn = role_arn

    def load(self) -> DeferredRefreshableCredentials:
        return DeferredRefreshableCredentials(refresh_using=self._assume, method=self.METHOD)

    def _assume(self) -> dict[str, Any]:
        with translated(f"assume role {self._role_arn}"):
            sts = boto3.Session(botocore_session=self._base).client("sts")
            answer = sts.assume_role(RoleArn=self._role_arn, RoleSessionName=_session_name())
        credentials = answer["Credentials"]
        return {
            "access_key": credentials["AccessKeyId"],
            "secret_key": credentials["SecretAccessKey"],
            "token": credentials["SessionToken"],
            "expiry_time": credentials["Expiration"].isoformat(),
        }


def _session_name() -> str:
    """A name by which CloudTrail leads back to the build; 2 to 64 characters that STS allows."""
    words = [
        "modelbuild",
        os.environ.get("BUILDKITE_PIPELINE_SLUG"),
        os.environ.get("BUILDKITE_BUILD_NUMBER"),
    ]
    return re.sub(r"[^\w+=,.@-]", "-", "-".join(word for word in words if word), flags=re.ASCII)[:64]
