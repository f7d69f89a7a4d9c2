"""The identity of calls to AWS.

The credentials of a role stay in the memory of this process: they are never written to an environment
variable or a file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import botocore.session
from botocore.config import Config
from botocore.credentials import CredentialProvider, DeferredRefreshableCredentials

from modelbuild.aws.failures import translated
from modelbuild.errors import AwsError, BuildkiteError
from modelbuild.process import startup
from modelbuild.settings import AwsSettings

if TYPE_CHECKING:
    import boto3

TokenProvider = Callable[[str, Sequence[str]], str]
"""Returns an OIDC token for an audience; the second argument names the claims that become session tags.

It raises ``BuildkiteError`` if there is no token.
"""

_AUDIENCE = "sts.amazonaws.com"
_SESSION_NAME_CHARACTERS = 64

CLIENT_CONFIG = Config(
    retries={"mode": "standard", "max_attempts": 6},
    connect_timeout=10,
    read_timeout=60,
    user_agent_extra="modelbuild",
)


def session(aws: AwsSettings, request_token: TokenProvider | None = None) -> boto3.Session:
    """A session with the default credentials, or with the role that the settings name.

    The session renews the credentials of a role before they expire, so the process may run for longer than
    their lifetime. It calls AWS only when the first client needs credentials.

    Args:
        aws: region and role.
        request_token: returns the token to assume the role with; required for settings with ``oidc``.

    Raises:
        AwsError: the environment names a profile that does not exist.
        ValueError: the settings have ``oidc``, and there is no ``request_token``.
    """
    if aws.oidc and request_token is None:
        raise ValueError("settings with oidc need request_token")
    with translated("set up a session of AWS"):
        base = _session_in(aws.region)
        if aws.role_arn is None:
            return startup.as_boto3(base)
        role = _session_in(aws.region)
        provider = _Role(base, aws.role_arn, aws, request_token)
        role.get_component("credential_provider").insert_before("env", provider)
        return startup.as_boto3(role)


def account(session: boto3.Session) -> str:
    """The id of the account that the session belongs to: twelve digits.

    Raises:
        AwsError: AWS refused, or could not be reached.
    """
    return caller(session).split(":")[4]


def caller(session: boto3.Session) -> str:
    """The ARN of the user or the role session that makes the calls.

    Raises:
        AwsError: AWS refused, or could not be reached.
    """
    with translated("ask AWS who this is"):
        return session.client("sts").get_caller_identity()["Arn"]


def _session_in(region: str | None) -> botocore.session.Session:
    """A session whose clients all have the product's timeouts and retries."""
    made = startup.botocore_session()
    if region is not None:
        made.set_config_variable("region", region)
    made.set_default_client_config(CLIENT_CONFIG)
    return made


class _Role(CredentialProvider):
    METHOD = "modelbuild-assume-role"
    CANONICAL_NAME = "modelbuild-assume-role"

    def __init__(
        self,
        base: botocore.session.Session,
        role_arn: str,
        aws: AwsSettings,
        request_token: TokenProvider | None,
    ) -> None:
        super().__init__(base)
        self._base = base
        self._role_arn = role_arn
        self._aws = aws
        self._request_token = request_token if aws.oidc else None

    def load(self) -> DeferredRefreshableCredentials:
        return DeferredRefreshableCredentials(refresh_using=self._assume, method=self.METHOD)

    def _assume(self) -> dict[str, Any]:
        parameters: dict[str, Any] = {
            "RoleArn": self._role_arn,
            "RoleSessionName": self._aws.role_session_name or _session_name(),
        }
        if self._aws.role_session_duration is not None:
            parameters["DurationSeconds"] = self._aws.role_session_duration
        # A token is valid for minutes, the role's credentials for longer: each renewal needs a new token.
        if self._request_token is not None:
            parameters["WebIdentityToken"] = self._token(self._request_token)
        elif self._aws.external_id is not None:
            parameters["ExternalId"] = self._aws.external_id
        with translated(f"assume role {self._role_arn}"):
            sts: Any = self._base.create_client("sts")
            assume = sts.assume_role_with_web_identity if self._request_token else sts.assume_role
            credentials = assume(**parameters)["Credentials"]
        return {
            "access_key": credentials["AccessKeyId"],
            "secret_key": credentials["SecretAccessKey"],
            "token": credentials["SessionToken"],
            "expiry_time": credentials["Expiration"].isoformat(),
        }

    def _token(self, request_token: TokenProvider) -> str:
        # botocore calls this within any call of any client, and these raise AwsError only.
        try:
            return request_token(_AUDIENCE, self._aws.session_tags)
        except BuildkiteError as error:
            raise AwsError(f"could not assume role {self._role_arn}, because {error}") from error


def _session_name() -> str:
    """A name that shows the build in CloudTrail: 2 to 64 characters that STS allows.

    Of a name that is too long, the pipeline is cut and not the number of the build.
    """
    number = os.environ.get("BUILDKITE_BUILD_NUMBER")
    end = f"-{number}" if number else ""
    words = ["modelbuild", os.environ.get("BUILDKITE_PIPELINE_SLUG")]
    beginning = "-".join(word for word in words if word)[: _SESSION_NAME_CHARACTERS - len(end)]
    return re.sub(r"[^\w+=,.@-]", "-", beginning + end, flags=re.ASCII)[:_SESSION_NAME_CHARACTERS]
