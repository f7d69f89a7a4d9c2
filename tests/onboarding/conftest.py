from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest

from modelbuild.local import agent

ROOT = Path(__file__).parents[2]
BUCKET = "modelbuild-123456789012"
API_TOKEN = "the-rest-token"


def started(module: str, *arguments: str) -> Iterator[str]:
    """A stand-in as a process; its address."""
    with subprocess.Popen(
        [sys.executable, "-m", module, "--port", "0", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["url"]
        process.stdin.close()
        process.wait(20)


@pytest.fixture(scope="session")
def aws_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The AWS stand-in with the stack that trainings stand on."""
    scratch = tmp_path_factory.mktemp("aws")
    folders = ("--scratch", str(scratch), "--images", str(ROOT / "docker"), "--bin", str(scratch))
    for url in started("modelbuild.local.aws", *folders):
        made = boto3.Session("testing", "testing", region_name="us-east-1")
        secrets = made.client("secretsmanager", endpoint_url=url)
        ec2 = made.client("ec2", endpoint_url=url)
        values = {
            "Image": "registry.example/modelbuild/default:1",
            "SubnetIds": ec2.describe_subnets()["Subnets"][0]["SubnetId"],
            "SecurityGroupIds": ec2.describe_security_groups()["SecurityGroups"][0]["GroupId"],
            "BuildkiteSecretArn": secrets.create_secret(Name="buildkite", SecretString="{}")["ARN"],
            "WandbSecretArn": secrets.create_secret(Name="wandb", SecretString="{}")["ARN"],
        }
        made.client("cloudformation", endpoint_url=url).create_stack(
            StackName="modelbuild",
            TemplateBody=(ROOT / "infra" / "training.yaml").read_text(),
            Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in values.items()],
        )
        yield url


@pytest.fixture(scope="session")
def buildkite_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The Buildkite stand-in."""
    tokens = ("--agent-token", "the-agent-token", "--api-token", API_TOKEN)
    data = str(tmp_path_factory.mktemp("buildkite"))
    yield from started("modelbuild.local.buildkite", *tokens, "--organization", "local", "--data", data)


@pytest.fixture
def on_agent(aws_url: str, buildkite_url: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment of a job of a real agent, with both stand-ins; also that of this process."""
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    environment = {
        "PATH": f"{agent.find().parent}{os.pathsep}{os.environ['PATH']}",
        "AWS_ENDPOINT_URL": aws_url,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "BUILDKITE_API_URL": f"{buildkite_url}/v2",
        "DATA_LAKE_ACCOUNT": "123456789012",
        "PRODUCTION_ACCOUNT": "222222222222",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return environment


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a pipeline file."""

    def written(text: str) -> Path:
        path = tmp_path / "pipeline.yml"
        path.write_text(text, encoding="utf-8")
        return path

    return written
