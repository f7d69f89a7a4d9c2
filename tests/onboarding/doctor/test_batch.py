"""Queues, compute environments and job definitions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from doctor import PIPELINE, Write, client, wrong
from modelbuild.aws.account import Compute, Queue
from modelbuild.onboarding.batch import obstacle
from modelbuild.onboarding.doctor import examine


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


@pytest.mark.parametrize("queue", ["modelbuild-head", "modelbuild-default", "modelbuild-gpu"])
def test_queue_that_is_disabled(queue: str, on_agent: dict[str, str]) -> None:
    """A disabled queue is reported: that of heads, and those of the steps."""
    with switched_off(queue):
        assert wrong(PIPELINE, on_agent) == [f"queue {queue}: it is DISABLED and takes no job: enable it"]


@pytest.mark.parametrize("queue", ["modelbuild-head", "modelbuild-gpu"])
def test_compute_environments_that_are_disabled(queue: str, on_agent: dict[str, str]) -> None:
    """A queue whose compute environments are all disabled is reported with their names."""
    batch = client("batch")
    (found,) = batch.describe_job_queues(jobQueues=[queue])["jobQueues"]
    arns = [entry["computeEnvironment"] for entry in found["computeEnvironmentOrder"]]
    for arn in arns:
        batch.update_compute_environment(computeEnvironment=arn, state="DISABLED")
    disabled = wrong(PIPELINE, on_agent)
    for arn in arns:
        batch.update_compute_environment(computeEnvironment=arn, state="ENABLED")
    names = [arn.rpartition("/")[2] for arn in arns]
    message = "; ".join(f"compute environment {name} is DISABLED: enable it" for name in names)
    assert disabled == [f"queue {queue}: jobs wait there for ever, as {message}"]


@pytest.mark.parametrize(
    ("head", "most", "message"),
    [
        ("1", 0, "small-1 has at most 0 vCPUs, and a job takes 1: raise its maximum"),
        ("8", 4, "small-8 has at most 4 vCPUs, and a job takes 8: raise its maximum"),
        ("4", 4, ""),
    ],
)
def test_compute_environment_too_small(
    head: str, most: int, message: str, on_agent: dict[str, str], write: Write
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
        [f"queue {name}: jobs wait there for ever, as compute environment {message}"] if message else []
    )
    told = f"queue {name}: the function modelbuild-ended sees heads in modelbuild-head only"
    for pipeline, is_told in ((file, True), (PIPELINE, False)):
        lines = [line.text for line in examine(pipeline, on_agent) if line.ok]
        assert any(line.startswith(told) for line in lines) is is_told


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (("ENABLED", "INVALID", 4), ("ENABLED", "VALID", 4), ""),
        (("ENABLED", "VALID", None), ("DISABLED", "VALID", 4), ""),
        (
            ("ENABLED", "INVALID", 4),
            ("ENABLED", "VALID", 1),
            "compute environment a is INVALID (no such subnet): repair it; "
            "compute environment b has at most 1",
        ),
    ],
)
def test_one_compute_environment_is_enough(
    first: tuple[str, str, int | None], second: tuple[str, str, int | None], message: str
) -> None:
    """Batch goes from one compute environment to the next, so one that is fit is enough."""
    computes = tuple(
        Compute(name, state, status, "no such subnet", vcpus)
        for name, (state, status, vcpus) in (("a", first), ("b", second))
    )
    found = obstacle(Queue("ENABLED", "VALID", "", computes), 2)
    assert message in found
    assert bool(message) == bool(found)


@pytest.mark.parametrize(
    ("option", "number"),
    [("", 1), ("\n            score-live: {timeout: 0}", 0)],
    ids=["by-default", "never"],
)
def test_without_its_definition_no_live_model_scores(
    option: str, number: int, on_agent: dict[str, str], write: Write
) -> None:
    """Where notify would submit a job and the stack is older, the line says what notify does instead."""
    elsewhere = "compare-with:\n            endpoint: sentiment"
    text = PIPELINE.read_text()
    assert elsewhere in text
    aws = "aws: {region: eu-west-1}\n          "
    found = wrong(write(text.replace(elsewhere, f"{aws}{elsewhere}{option}")), on_agent)
    assert len(found) == number
    assert all(
        line.startswith("job definition modelbuild-score: there is no active one in eu-west-1, so where")
        for line in found
    )


def test_queue_and_definition_that_do_not_exist(on_agent: dict[str, str], write: Write) -> None:
    """A queue without a stack lacks its definition as well; the stack is named as the fix."""
    text = PIPELINE.read_text()
    file = write(
        text.replace("unblock: training_finished", "unblock: training_finished\n          queue: none")
    )
    definition, queue = wrong(file, on_agent)
    assert definition.startswith("job definition none: there is no active one in us-east-1: deploy the stack")
    assert queue.startswith("queue none: it does not exist in us-east-1: deploy the stack")


@pytest.mark.parametrize(
    ("changes", "message"),
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
    changes: dict[str, Any], message: str, on_agent: dict[str, str], write: Write
) -> None:
    """What the head needs and its definition does not have is named, with the definition."""
    name = registered(**changes)
    text = PIPELINE.read_text()
    file = write(
        text.replace("unblock: training_finished", f"unblock: training_finished\n          queue: {name}")
    )
    found = [one for one in wrong(file, on_agent) if one.startswith(f"job definition {name}: ")]
    assert [one for one in found if message in one], found
