from __future__ import annotations

import json
from typing import Any

import boto3
import pytest
from botocore.exceptions import ReadTimeoutError

from modelbuild.aws.batch.definitions import _in_order
from modelbuild.aws.batch.jobs import Batch
from modelbuild.aws.failures import NotFound
from modelbuild.aws.identity import session
from modelbuild.errors import AwsError, ConfigurationError
from modelbuild.settings import AwsSettings


@pytest.fixture
def batch(cloud: str) -> Batch:
    """Batch as the default identity sees it."""
    assert cloud
    return Batch(session(AwsSettings()))


def register(name: str, **container: Any) -> None:
    """Register a revision of a definition, as the stack would."""
    client: Any = boto3.client("batch")
    client.register_job_definition(
        jobDefinitionName=name,
        type="container",
        retryStrategy={"attempts": 1},
        timeout={"attemptDurationSeconds": 600},
        containerProperties={
            "image": "unset:1",
            "command": ["head"],
            "environment": [{"name": "A", "value": "1"}],
            "secrets": [{"name": "BUILDKITE_API_TOKEN", "valueFrom": "arn:aws:secretsmanager:::secret:x"}],
            "resourceRequirements": [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "512"}],
            **container,
        },
    )


def described(arn: str) -> Any:
    """A definition as Batch describes it."""
    return boto3.client("batch").describe_job_definitions(jobDefinitions=[arn])["jobDefinitions"][0]


def test_copy_differs_in_image_only(batch: Batch) -> None:
    """Roles, secrets, variables, retries and timeout are the stack's; the image is the build's."""
    register("copied")
    copy = described(batch.definitions.with_image("copied", "repo/head@sha256:1"))
    assert copy["containerProperties"]["image"] == "repo/head@sha256:1"
    assert copy["containerProperties"]["command"] == ["head"]
    assert copy["containerProperties"]["environment"] == [{"name": "A", "value": "1"}]
    assert [one["name"] for one in copy["containerProperties"]["secrets"]] == ["BUILDKITE_API_TOKEN"]
    assert copy["retryStrategy"]["attempts"] == 1
    assert copy["timeout"] == {"attemptDurationSeconds": 600}


def test_copy_is_registered_once(batch: Batch) -> None:
    """The same content gives the same definition; another image gives another."""
    register("reused")
    first = batch.definitions.with_image("reused", "repo/head:1")
    assert batch.definitions.with_image("reused", "repo/head:1") == first
    assert first.endswith(":1")
    assert batch.definitions.with_image("reused", "repo/head:2") != first


def test_order_of_a_description_does_not_count(batch: Batch) -> None:
    """Batch may describe the variables, secrets and sizes of one definition in any order, also within an
    entry: each order gives the same copy. Another order of a command is another command.
    """
    variables = [{"name": name, "value": "1"} for name in ("A", "B", "C")]
    register("ordered", environment=variables, command=["head", "now"])
    first = batch.definitions.with_image("ordered", "repo/head:1")
    sizes = [{"value": "512", "type": "MEMORY"}, {"value": "1", "type": "VCPU"}]
    shuffled = [{"value": "1", "name": name} for name in ("C", "A", "B")]
    register("ordered", environment=shuffled, command=["head", "now"], resourceRequirements=sizes)
    assert batch.definitions.with_image("ordered", "repo/head:1") == first
    register("ordered", environment=variables, command=["now", "head"])
    assert batch.definitions.with_image("ordered", "repo/head:1") != first


def test_order_of_retry_rules_counts() -> None:
    """The first rule that fits decides whether Batch retries, so another order is another definition."""
    rules = [{"onReason": "a*", "action": "RETRY"}, {"onReason": "*", "action": "EXIT"}]
    one, other = ({"retryStrategy": {"evaluateOnExit": found}} for found in (rules, rules[::-1]))
    assert _in_order(one) == one
    assert _in_order(one) != _in_order(other)


def test_copy_is_of_the_newest_revision(batch: Batch) -> None:
    """A stack that was deployed again counts from its newest revision on."""
    register("newer")
    before = batch.definitions.with_image("newer", "repo/head:1")
    for number in range(2, 12):
        register("newer", environment=[{"name": "A", "value": str(number)}])
    after = batch.definitions.with_image("newer", "repo/head:1")
    assert after != before
    assert described(after)["containerProperties"]["environment"] == [{"name": "A", "value": "11"}]


def test_missing_definition_is_reported(batch: Batch) -> None:
    """No definition of the queue's name: the stack is not deployed, or the option is wrong."""
    with pytest.raises(ConfigurationError, match=r"no active Batch job definition absent in us-east-1"):
        batch.definitions.with_image("absent", "repo/head:1")


def test_forgotten_job_is_not_found(batch: Batch) -> None:
    """Batch forgets jobs, and that is said."""
    with pytest.raises(NotFound, match="a week after they end"):
        batch.describe("0e7c6a3c-0000-0000-0000-000000000000")


def test_submission_is_not_repeated_unasked(cloud: str) -> None:
    """A lost answer to SubmitJob may mean that the job runs: no second call is made behind the scenes."""
    assert cloud
    made: Any = session(AwsSettings())
    calls = []

    def lose(**_: Any) -> None:
        calls.append(1)
        raise ReadTimeoutError(endpoint_url=cloud)

    made.get_component("event_emitter").register("before-send.batch.SubmitJob", lose)
    with pytest.raises(AwsError, match="could not submit job a-job to queue a-queue"):
        Batch(made).submit(
            "a-job", queue="a-queue", definition="a:1", command=["a"], environment={}, timeout=60, tags={}
        )
    assert len(calls) == 1


def test_many_jobs_are_described_with_few_calls(cloud: str) -> None:
    """Batch limits calls of DescribeJobs: each asks for a hundred jobs; without jobs there is no call."""
    assert cloud
    made: Any = session(AwsSettings())
    asked = []

    def note(params: Any, **_: Any) -> None:
        asked.append(len(json.loads(params["body"])["jobs"]))

    made.get_component("event_emitter").register("before-call.batch.DescribeJobs", note)
    batch = Batch(made)
    assert batch.describe_all([f"job-{number}" for number in range(250)]) == {}
    assert batch.describe_all([]) == {}
    assert asked == [100, 100, 50]
