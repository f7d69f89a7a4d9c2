from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest

import http_api
import standins
from modelbuild.aws.account import Compute, Queue
from modelbuild.onboarding.batch import obstacle
from modelbuild.onboarding.checks import Check
from modelbuild.onboarding.doctor import examine

ROOT = Path(__file__).parents[2]
PIPELINE = ROOT / ".buildkite" / "pipeline.yml"
API_TOKEN = "the-rest-token"
Write = Callable[[str], Path]


def wrong(file: Path, environ: dict[str, str]) -> list[str]:
    """The sentences with a fix."""
    return [line.text for line in examine(file, environ) if not line.ok]


def client(name: str) -> Any:
    """A boto3 client of the environment's AWS."""
    make: Any = boto3.client
    return make(name)


def objects() -> list[str]:
    """The keys in the bucket of the stack."""
    listed = client("s3").list_objects_v2(Bucket="modelbuild-123456789012")
    return [found["Key"] for found in listed.get("Contents", [])]


def registered(**changes: Any) -> str:
    """A head queue's and definition's name: the stack's definition with changes to its container."""
    batch = client("batch")
    (found,) = batch.describe_job_definitions(jobDefinitionName="modelbuild-head")["jobDefinitions"]
    name = f"head-{len(batch.describe_job_definitions()['jobDefinitions'])}"
    batch.register_job_definition(
        jobDefinitionName=name, type="container", containerProperties=found["containerProperties"] | changes
    )
    return name


@contextmanager
def switched_off(queue: str) -> Iterator[None]:
    """A queue that takes no jobs."""
    client("batch").update_job_queue(jobQueue=queue, state="DISABLED")
    yield
    client("batch").update_job_queue(jobQueue=queue, state="ENABLED")


def test_all_is_well(on_agent: dict[str, str]) -> None:
    """With the real agent, the stack of infra/ and this repository's pipeline every line is ok, each
    thing is looked at, and no object is left behind.
    """
    before = objects()
    lines = list(examine(PIPELINE, {**on_agent, "BUILDKITE_API_TOKEN": API_TOKEN}))
    assert [line for line in lines if not line.ok] == []
    assert [line.text.split(": ")[0].split(" ")[0] for line in lines] == [
        *("agent", "pipeline", "identity", "job"),
        *("queue", "queue", "queue", "quotas", "quotas", "quotas", "bucket", "API"),
    ]
    assert objects() == before


def test_command_line(on_agent: dict[str, str], tmp_path: Path) -> None:
    """The lines are printed; the exit code is 0 when all are ok, and else 10."""

    def ran(file: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "modelbuild", "doctor", "--pipeline", str(file)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    good = ran(PIPELINE, on_agent)
    assert good.returncode == 0, good.stdout + good.stderr
    assert {line[:3] for line in good.stdout.splitlines()} == {"ok "}
    assert "the-rest-token" not in good.stdout
    bad = ran(tmp_path / "none.yml", on_agent)
    assert bad.returncode == 10
    assert "fix pipeline: cannot read the pipeline" in bad.stdout
    assert bad.stderr == ""


def test_line_is_ok_or_a_fix() -> None:
    """A line begins with what it is."""
    assert str(Check(True, "agent: 3.108.0")) == "ok  agent: 3.108.0"
    assert str(Check(False, "agent: too old")) == "fix agent: too old"


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ("buildkite-agent version 3.107.2+10500", "update it to 3.108 or newer"),
        ("buildkite-agent version 2.9", "update it to 3.108 or newer"),
        ("something", "which is no version"),
    ],
)
def test_agent_too_old(version: str, said: str, on_agent: dict[str, str], own_path: Any) -> None:
    """An agent that cannot find the plugins is told with the version that can."""
    own_path(f"echo '{version}'")
    (found,) = [text for text in wrong(PIPELINE, on_agent) if text.startswith("agent: ")]
    assert said in found


def test_newer_agent_is_new_enough(on_agent: dict[str, str], own_path: Any) -> None:
    """Versions are compared as numbers."""
    own_path("echo buildkite-agent version 4.0.1")
    assert wrong(PIPELINE, on_agent) == []


@pytest.fixture
def own_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a script in the place of the agent."""

    def put(script: str) -> None:
        (tmp_path / "bin").mkdir()
        executable = tmp_path / "bin" / "buildkite-agent"
        executable.write_text(f"#!/bin/sh\n{script}\n")
        executable.chmod(0o755)
        monkeypatch.setenv("PATH", str(executable.parent))

    return put


def test_no_agent(on_agent: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Outside of an agent's host the first line says so."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "buildkite-agent is not on PATH" in wrong(PIPELINE, on_agent)[0]


def test_findings_of_check_are_told(on_agent: dict[str, str], write: Write) -> None:
    """A block that cannot take the result is told with its line; AWS is looked at all the same."""
    file = write(
        PIPELINE.read_text().replace("      - {text: Status, key: training/status, required: false}\n", "")
    )
    (found,) = wrong(file, on_agent)
    before, _, _ = file.read_text().partition('  - block: ":hourglass: training"')
    line = before.count("\n") + 1
    assert f"pipeline.yml:{line}: step training_finished: field training/status is missing" in found


def test_pipeline_without_training(on_agent: dict[str, str], write: Write) -> None:
    """A pipeline in which nothing trains is told, and that AWS could not be looked at."""
    first, second = wrong(write("steps:\n  - command: ls\n"), on_agent)
    assert "no step trains" in first
    assert second.startswith("AWS: not looked at")


def test_variable_that_agents_lack(on_agent: dict[str, str]) -> None:
    """A variable that the pipeline requires and this agent does not have is named."""
    del on_agent["DATA_LAKE_ACCOUNT"]
    assert "requires DATA_LAKE_ACCOUNT, which this environment does not have" in wrong(PIPELINE, on_agent)[0]


def test_variable_of_the_pipeline(on_agent: dict[str, str], write: Write) -> None:
    """What ``env:`` of the pipeline gives need not be on the agents, and completes the options."""
    text = PIPELINE.read_text().replace("steps:\n", "env: {QUEUE: of-file}\nsteps:\n", 1)
    assert text.count("          unblock: training_finished\n") == 1
    unblock = "          unblock: training_finished\n"
    file = write(text.replace(unblock, f'{unblock}          queue: "${{QUEUE?}}"\n'))
    assert any("of-file" in said for said in wrong(file, on_agent))


def test_several_trainings(on_agent: dict[str, str], write: Write) -> None:
    """Parallel trainings of one build are told."""
    text = PIPELINE.read_text()
    assert text.count("    key: train\n") == 1
    file = write(text.replace("    key: train\n", "    key: train\n    parallelism: 2\n"))
    assert any("parallelism would train several times" in said for said in wrong(file, on_agent))


def test_identity(on_agent: dict[str, str], write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without credentials AWS is one line with the fix."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("HOME", str(write("").parent))
    (found,) = wrong(PIPELINE, on_agent)
    assert found.startswith("identity: could not ask AWS who this is (no AWS credentials were found): give")


@pytest.mark.parametrize("queue", ["modelbuild-head", "modelbuild-default", "modelbuild-gpu"])
def test_queue_that_is_disabled(queue: str, on_agent: dict[str, str]) -> None:
    """A queue that takes no jobs is told: that of heads, and those of the steps."""
    with switched_off(queue):
        assert wrong(PIPELINE, on_agent) == [f"queue {queue}: it is DISABLED and takes no job: enable it"]


@pytest.mark.parametrize("queue", ["modelbuild-head", "modelbuild-gpu"])
def test_compute_environments_that_are_disabled(queue: str, on_agent: dict[str, str]) -> None:
    """A queue whose jobs nothing will ever run is told with its compute environments."""
    batch = client("batch")
    (found,) = batch.describe_job_queues(jobQueues=[queue])["jobQueues"]
    arns = [entry["computeEnvironment"] for entry in found["computeEnvironmentOrder"]]
    for arn in arns:
        batch.update_compute_environment(computeEnvironment=arn, state="DISABLED")
    told = wrong(PIPELINE, on_agent)
    for arn in arns:
        batch.update_compute_environment(computeEnvironment=arn, state="ENABLED")
    names = [arn.rpartition("/")[2] for arn in arns]
    said = "; ".join(f"compute environment {name} is DISABLED: enable it" for name in names)
    assert told == [f"queue {queue}: jobs wait there for ever, as {said}"]


@pytest.mark.parametrize(
    ("head", "most", "said"),
    [
        ("1", 0, "small-1 has at most 0 vCPUs, and a job takes 1: raise its maximum"),
        ("8", 4, "small-8 has at most 4 vCPUs, and a job takes 8: raise its maximum"),
        ("4", 4, ""),
    ],
)
def test_compute_environment_too_small(
    head: str, most: int, said: str, on_agent: dict[str, str], write: Write
) -> None:
    """A head that needs more vCPUs than its compute environment may have would wait for ever."""
    name = registered(
        resourceRequirements=[{"type": "VCPU", "value": head}, {"type": "MEMORY", "value": "2048"}]
    )
    batch = client("batch")
    (large,) = [
        found
        for found in batch.describe_compute_environments()["computeEnvironments"]
        if "HeadOnDemand" in found["computeEnvironmentName"]
    ]
    small = batch.create_compute_environment(
        computeEnvironmentName=f"small-{head}",
        type="MANAGED",
        state="ENABLED",
        computeResources=large["computeResources"] | {"maxvCpus": most},
    )["computeEnvironmentArn"]
    batch.create_job_queue(
        jobQueueName=name,
        state="ENABLED",
        priority=1,
        computeEnvironmentOrder=[{"order": 1, "computeEnvironment": small}],
    )
    text = PIPELINE.read_text()
    file = write(
        text.replace("unblock: training_finished", f"unblock: training_finished\n          queue: {name}")
    )
    found = wrong(file, on_agent)
    assert found == (
        [f"queue {name}: jobs wait there for ever, as compute environment {said}"] if said else []
    )


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (("ENABLED", "INVALID", 4), ("ENABLED", "VALID", 4), ""),
        (("ENABLED", "VALID", None), ("DISABLED", "VALID", 4), ""),
        (
            ("ENABLED", "INVALID", 4),
            ("ENABLED", "VALID", 1),
            "compute environment a is INVALID (no such subnet): mend it; compute environment b has at most 1",
        ),
    ],
)
def test_one_compute_environment_is_enough(
    first: tuple[str, str, int | None], second: tuple[str, str, int | None], said: str
) -> None:
    """Batch goes from one compute environment to the next, so one that is fit is enough."""
    computes = tuple(
        Compute(name, state, status, "no such subnet", vcpus)
        for name, (state, status, vcpus) in (("a", first), ("b", second))
    )
    found = obstacle(Queue("ENABLED", "VALID", "", computes), 2)
    assert said in found
    assert bool(said) == bool(found)


def test_queue_and_definition_that_do_not_exist(on_agent: dict[str, str], write: Write) -> None:
    """A queue without a stack lacks its definition as well; the stack is named as the fix."""
    text = PIPELINE.read_text()
    file = write(
        text.replace("unblock: training_finished", "unblock: training_finished\n          queue: none")
    )
    definition, queue = wrong(file, on_agent)
    assert definition.startswith("job definition none: there is no active one in us-east-1: deploy the stack")
    assert queue.startswith("queue none: there is none in us-east-1: deploy the stack infra/training.yaml")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"jobRoleArn": ""}, "has no job role"),
        ({"executionRoleArn": ""}, "has no execution role"),
        ({"secrets": []}, "has no secret BUILDKITE_API_TOKEN, so the head cannot unblock the build"),
        ({"environment": []}, "does not set METAFLOW_DATASTORE_SYSROOT_S3"),
        ({"environment": []}, "does not set AWS_DEFAULT_REGION"),
        ({"logConfiguration": {"logDriver": "awslogs"}}, "does not write its log to /aws/batch/modelbuild"),
        ({"environment": [{"name": "METAFLOW_DEFAULT_DATASTORE", "value": "local"}]}, "set it to s3"),
    ],
)
def test_definition_that_lacks_something(
    changes: dict[str, Any], said: str, on_agent: dict[str, str], write: Write
) -> None:
    """What the head needs and its definition does not have is named, with the definition."""
    name = registered(**changes)
    text = PIPELINE.read_text()
    file = write(
        text.replace("unblock: training_finished", f"unblock: training_finished\n          queue: {name}")
    )
    found = [one for one in wrong(file, on_agent) if one.startswith(f"job definition {name}: ")]
    assert [one for one in found if said in one], found


def test_bucket_that_does_not_exist(on_agent: dict[str, str], write: Write) -> None:
    """A bucket that is not there is told with AWS's own code and the fix."""
    text = PIPELINE.read_text().replace(
        "s3://modelbuild-${DATA_LAKE_ACCOUNT?}/models", "s3://nobodys-bucket/models"
    )
    (found,) = wrong(write(text), on_agent)
    assert found.startswith(
        "bucket s3://nobodys-bucket/models: could not write s3://nobodys-bucket/models/model"
    )
    assert found.endswith("deploy the stack that makes it, or correct the bucket's name")


def test_token_that_is_wrong(on_agent: dict[str, str]) -> None:
    """A token that Buildkite refuses is told, and not printed."""
    (found,) = wrong(PIPELINE, {**on_agent, "BUILDKITE_API_TOKEN": "wrong-token"})
    assert found.startswith("API token: ")
    assert "answered 401" in found
    assert "wrong-token" not in found


@pytest.fixture
def api() -> Iterator[Callable[[list[str]], str]]:
    """An API whose token has the given scopes, since the laptop's token may do all."""
    with ExitStack() as stack:

        def serve(scopes: list[str]) -> str:
            class Handler(http_api.JsonHandler):
                def do_GET(self) -> None:
                    token = {"uuid": "0190", "scopes": scopes, "description": "ci"}
                    self.answer(token, 200 if self.path == "/v2/access-token" else 404)

            return f"{http_api.url(stack.enter_context(http_api.served(Handler)))}/v2"

        yield serve


@pytest.mark.parametrize(
    ("scopes", "said"),
    [
        (["read_builds"], "lacks scope write_builds (it has read_builds): make a token with read_builds and"),
        ([], "lacks scope read_builds and write_builds (it has none)"),
        (["write_builds", "graphql"], "lacks scope read_builds (it has write_builds, graphql)"),
    ],
)
def test_token_that_may_too_little(
    scopes: list[str], said: str, on_agent: dict[str, str], api: Callable[[list[str]], str]
) -> None:
    """A token without a scope that the callback needs is told with those it has."""
    (found,) = wrong(
        PIPELINE, {**on_agent, "BUILDKITE_API_URL": api(scopes), "BUILDKITE_API_TOKEN": "some-token"}
    )
    assert said in found
    assert "some-token" not in found


ACTIONS = {
    "Object": ("s3:GetObject", "s3:PutObject", "s3:DeleteObject"),
    "Bucket": ("s3:ListBucket",),
    "Look": (
        "batch:describejobqueues",
        "batch:describejobdefinitions",
        "batch:describecomputeenvironments",
    ),
}


@pytest.fixture
def allow(on_agent: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Become somebody who may do what the doctor does, without some of the actions."""

    def allowed(*missing: str) -> None:
        kept = [action for actions in ACTIONS.values() for action in actions if action not in missing]
        policy = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": kept, "Resource": "*"}}
        iam, name = client("iam"), f"agent-{uuid.uuid4().hex}"
        iam.create_user(UserName=name)
        iam.put_user_policy(UserName=name, PolicyName="doctor", PolicyDocument=json.dumps(policy))
        key = iam.create_access_key(UserName=name)["AccessKey"]
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
        standins.enforce_policies(url, True)

    url = on_agent["AWS_ENDPOINT_URL"]
    yield allowed
    standins.enforce_policies(url, False)


def test_actions_are_enough(on_agent: dict[str, str], allow: Callable[..., None]) -> None:
    """With these actions and no others the doctor sees everything."""
    allow()
    assert wrong(PIPELINE, on_agent) == []


@pytest.mark.parametrize(
    ("action", "beginnings"),
    [
        ("s3:PutObject", ["bucket s3://modelbuild-123456789012/models: could not write s3://"]),
        ("s3:GetObject", ["bucket s3://modelbuild-123456789012/models: could not read s3://"]),
        (
            "s3:DeleteObject",
            ["bucket s3://modelbuild-123456789012/models: writing works, but could not delete"],
        ),
        (
            "batch:describejobdefinitions",
            ["job definition: could not look for job definition modelbuild-head"],
        ),
        (
            "batch:describejobqueues",
            [
                f"queue modelbuild-{name}: could not look at queue modelbuild-{name}"
                for name in ("head", "default", "gpu")
            ],
        ),
        (
            "batch:describecomputeenvironments",
            [
                f"queue modelbuild-{name}: could not look at compute environment modelbuild-"
                for name in ("head", "default", "gpu")
            ],
        ),
    ],
)
def test_action_that_is_not_allowed(
    action: str, beginnings: list[str], on_agent: dict[str, str], allow: Callable[..., None]
) -> None:
    """What the identity may not do is told at the thing it is about, and the rest is looked at."""
    allow(action)
    found = wrong(PIPELINE, on_agent)
    assert len(found) == len(beginnings)
    for text, beginning in zip(found, beginnings, strict=True):
        assert text.startswith(beginning)
        assert "give the role that this runs as the permission" in text or "allow it, or delete" in text
