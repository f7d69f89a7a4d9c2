"""A real stand-in process, and clients of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

import standins
from waiting import runs, wait_until

ENDED = ("SUCCEEDED", "FAILED")


@dataclass
class Cloud:
    """The address of a running stand-in, and what tests do with it again and again."""

    service: standins.Service
    scratch: Path
    _clients: dict[tuple[str, ...], Any] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Where it answers."""
        return self.service.url

    def client(self, service: str, **keys: str) -> Any:
        """A boto3 client of the stand-in, of the data lake's account unless ``keys`` say otherwise."""
        keys = keys or {"aws_access_key_id": standins.KEY_ID, "aws_secret_access_key": standins.SECRET}
        key = (service, *keys.values())
        if key not in self._clients:
            connect: Any = boto3.client
            config = Config(retries={"max_attempts": 0})
            self._clients[key] = connect(
                service, endpoint_url=self.url, region_name=standins.REGION, config=config, **keys
            )
        return self._clients[key]

    def environment(self) -> dict[str, str]:
        """What a program needs to speak to the stand-in."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return {**standins.variables(self.url), "PATH": path}

    def define(self, name: str, command: list[str], **options: Any) -> str:
        """Register a job definition of image ``team/tool`` and return its name."""
        properties = {
            "image": options.pop("image", "registry.example/team/tool:1"),
            "command": command,
            "resourceRequirements": [
                {"type": "VCPU", "value": "1"},
                {"type": "MEMORY", "value": "128"},
            ],
            **options.pop("properties", {}),
        }
        self.client("batch").register_job_definition(
            jobDefinitionName=name, type="container", containerProperties=properties, **options
        )
        return name

    def submit(self, definition: str, queue: str = "work", **options: Any) -> str:
        """Submit a job and return its id."""
        answer = self.client("batch").submit_job(
            jobName=options.pop("name", definition), jobQueue=queue, jobDefinition=definition, **options
        )
        return str(answer["jobId"])

    def run(self, name: str, command: list[str], **options: Any) -> dict[str, Any]:
        """Define, submit and wait: the ended job as DescribeJobs shows it."""
        return self.ended(self.submit(self.define(name, command, **options)))

    def job(self, job_id: str) -> dict[str, Any]:
        """The job as DescribeJobs shows it now."""
        [job] = self.client("batch").describe_jobs(jobs=[job_id])["jobs"]
        return dict(job)

    def ended(self, job_id: str) -> dict[str, Any]:
        """The job once it has ended."""
        wait_until(lambda: self.job(job_id)["status"] in ENDED)
        return self.job(job_id)

    def log(self, job: dict[str, Any]) -> list[str]:
        """The lines of a job's log so far."""
        stream = job["container"].get("logStreamName")
        if not stream:
            return []
        options = job["container"].get("logConfiguration", {}).get("options", {})
        answer = self.client("logs").get_log_events(
            logGroupName=options.get("awslogs-group", "/aws/batch/job"),
            logStreamName=stream,
            startFromHead=True,
        )
        return [event["message"] for event in answer["events"]]


@contextmanager
def started_cloud(folder: Path, *options: str) -> Iterator[Cloud]:
    """The stand-in with its folders in ``folder``, with images of the tests' own."""
    write_images(folder)
    own = {"ONLY_THE_DEVELOPER_HAS_THIS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    with standins.started_aws(
        folder, *options, images=folder / "images", environ={**os.environ, **own}
    ) as running:
        yield Cloud(running, folder / "scratch")


def write_images(folder: Path) -> None:
    """The Dockerfiles of the tests' images, in the folder ``images``."""
    for name, text in {
        "tool": 'FROM scratch\nENV FROM_IMAGE="the image" LEVEL=image\n',
        "step": "FROM scratch\nENV METAFLOW_SKIP_INSTALL_DEPENDENCIES=1 METAFLOW_S3_WORKER_COUNT=2\n",
        "greeter": 'FROM scratch\nENTRYPOINT ["sh", "-c", "echo hello $0"]\n',
    }.items():
        (folder / "images" / name).mkdir(parents=True)
        (folder / "images" / name / "Dockerfile").write_text(text, encoding="utf-8")


def make_queues(cloud: Cloud, *names: str) -> None:
    """One compute environment and queue of each name, with the roles Batch asks for."""
    iam, ec2, batch = cloud.client("iam"), cloud.client("ec2"), cloud.client("batch")
    role = iam.create_role(RoleName="batch", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    iam.create_role(RoleName="job", AssumeRolePolicyDocument="{}")
    iam.create_instance_profile(InstanceProfileName="machine")
    profile = iam.get_instance_profile(InstanceProfileName="machine")["InstanceProfile"]["Arn"]
    for name in names:
        batch.create_compute_environment(
            computeEnvironmentName=name,
            type="MANAGED",
            state="ENABLED",
            serviceRole=role,
            computeResources={
                "type": "EC2",
                "minvCpus": 0,
                "maxvCpus": 16,
                "instanceTypes": ["g4dn.12xlarge"],
                "instanceRole": profile,
                "subnets": [ec2.describe_subnets()["Subnets"][0]["SubnetId"]],
                "securityGroupIds": [ec2.describe_security_groups()["SecurityGroups"][0]["GroupId"]],
            },
        )
        batch.create_job_queue(
            jobQueueName=name,
            state="ENABLED",
            priority=1,
            computeEnvironmentOrder=[{"order": 1, "computeEnvironment": name}],
        )


@pytest.fixture(scope="session")
def wait() -> Callable[..., Any]:
    """``wait(condition)``: poll until the condition is true, or fail."""
    return wait_until


@pytest.fixture(scope="session")
def alive() -> Callable[[int | str], bool]:
    """``alive(pid)``: whether the process still runs."""
    return runs


@pytest.fixture
def new_cloud(tmp_path: Path) -> Iterator[Callable[..., Cloud]]:
    """``new_cloud(*options)``: a stand-in of the test's own, with one queue, ``work``."""
    with ExitStack() as stack:

        def start(*options: str) -> Cloud:
            running = stack.enter_context(started_cloud(tmp_path, *options))
            make_queues(running, "work")
            return running

        yield start


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A stand-in with two vCPUs and two GPUs in each of its compute environments."""
    with started_cloud(tmp_path_factory.mktemp("cloud"), "--vcpus", "2", "--gpus", "2") as running:
        make_queues(running, "work", "narrow", "other")
        yield running
