"""The services of laptop mode as processes, and what tests of each of them need."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import pytest

from modelbuild_local.laptop import OWNER_ROLE
from modelbuild_local.service.session import cookie_name
from waiting import SECONDS

ROOT = Path(__file__).parents[2]
REGION = "us-east-1"
BUCKET = "modelbuild-123456789012"
KEY_ID = "testing"
SECRET = "testing-secret-key"
PAGE_KEY = "the-page-key"
PAGE_COOKIES = {cookie_name(PAGE_KEY): PAGE_KEY}
WEB_IDENTITY_KEY = "the-web-identity-key"
SECRETS = {
    "key_id": KEY_ID,
    "secret": SECRET,
    "page_key": PAGE_KEY,
    "web_identity_key": WEB_IDENTITY_KEY,
    "agent_token": "the-agent-token",
    "api_token": "the-rest-token",
    "bot_token": "the-bots-token",
    "api_key": "k" * 40,
}
"""The secrets of the stand-ins that tests start; each stand-in reads its own."""
ADMINISTRATOR = {"Authorization": f"Bearer {SECRET}"}
"""The header that opens the paths of the AWS stand-in that are no service."""


@dataclass(frozen=True)
class Service:
    """A service that runs."""

    url: str
    process: subprocess.Popen[str]

    def stop(self) -> int:
        """End it by closing its standard input, and return its exit code."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            return self.process.wait(SECONDS)
        finally:
            self.process.kill()


@contextmanager
def started(
    service: str,
    *arguments: str | Path,
    environ: Mapping[str, str] | None = None,
    secrets: Mapping[str, str] | None = None,
) -> Iterator[Service]:
    """``python -m modelbuild_local.<service>``, which ends with the block, and ends well.

    Args:
        service: aws, buildkite or wandb.
        arguments: its options.
        environ: its variables; by default those of this process.
        secrets: those of its secrets that are not as in ``SECRETS``.
    """
    command = [sys.executable, "-m", f"modelbuild_local.{service}", *map(str, arguments)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdin.write(json.dumps({**SECRETS, **(secrets or {})}) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
        assert line, f"the local {service} did not start"
        running = Service(json.loads(line)["url"], process)
        try:
            yield running
        finally:
            assert running.stop() == 0


@contextmanager
def started_aws(
    folder: Path,
    *options: str,
    images: Path = ROOT / "docker",
    first_on_path: Path = Path(sys.executable).parent,
    environ: Mapping[str, str] | None = None,
) -> Iterator[Service]:
    """The AWS stand-in, with its scratch in ``folder``.

    Args:
        folder: what it may write to.
        options: further options.
        images: the images that its jobs and endpoints may have.
        first_on_path: where these find their programs first.
        environ: its variables; by default those of this process.
    """
    folders = ("--scratch", folder / "scratch", "--images", images, "--bin", first_on_path)
    with started("aws", *folders, *options, environ=environ) as running:
        yield running


def variables(url: str) -> dict[str, str]:
    """What a client of the AWS stand-in needs: the data lake's account, and no other AWS."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": KEY_ID,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def use(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Make the AWS stand-in the AWS of this process."""
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    # The session of boto3.client, which keeps the keys that its first call finds.
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)
    for name, value in variables(url).items():
        monkeypatch.setenv(name, value)


@cache  # to make one takes longer than many of its calls
def client(url: str, service: str) -> Any:
    """A boto3 client of the data lake's account."""
    made: Any = boto3.Session(KEY_ID, SECRET, region_name=REGION)
    return made.client(service, endpoint_url=url)


def create_role(url: str, arn: str) -> None:
    """Create a role, as the owner of the account that its ARN names; it may be there already."""
    account, name = arn.split(":")[4], arn.rpartition("/")[2]
    owner = f"arn:aws:iam::{account}:role/{OWNER_ROLE}"
    keys = client(url, "sts").assume_role(RoleArn=owner, RoleSessionName="owner")["Credentials"]
    session = boto3.Session(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"], REGION)
    iam: Any = session.client("iam", endpoint_url=url)
    with suppress(iam.exceptions.EntityAlreadyExistsException):
        iam.create_role(RoleName=name, AssumeRolePolicyDocument="{}")


def deploy_training(url: str, **parameters: str) -> None:
    """Deploy the stack that trainings stand on, with its secrets.

    Args:
        url: the AWS stand-in.
        parameters: parameters of the stack beside those that it requires.
    """
    secrets, ec2 = client(url, "secretsmanager"), client(url, "ec2")
    token = json.dumps({"BUILDKITE_API_TOKEN": "the-rest-token"})
    values = {
        "Image": "registry.example/modelbuild/default:1",
        "SubnetIds": ec2.describe_subnets()["Subnets"][0]["SubnetId"],
        "SecurityGroupIds": ec2.describe_security_groups()["SecurityGroups"][0]["GroupId"],
        "BuildkiteSecretArn": secrets.create_secret(Name="modelbuild/buildkite", SecretString=token)["ARN"],
        "WandbSecretArn": secrets.create_secret(Name="modelbuild/wandb", SecretString="{}")["ARN"],
        **parameters,
    }
    client(url, "cloudformation").create_stack(
        StackName="modelbuild",
        TemplateBody=(ROOT / "infra" / "training.yaml").read_text(),
        Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in values.items()],
    )
    # What the clock would do once a minute, tests do when they are ready for it.
    client(url, "events").disable_rule(Name="modelbuild-waiting")


def enforce_policies(url: str, enforced: bool) -> None:
    """Let the AWS stand-in look at policies from the next call on, or ignore them as it does by itself."""
    after = "0" if enforced else "inf"
    asked = urllib.request.Request(
        f"{url}/moto-api/reset-auth", after.encode(), {"Content-Type": "text/plain", **ADMINISTRATOR}
    )
    with urllib.request.urlopen(asked) as answer:
        assert answer.status == 200
