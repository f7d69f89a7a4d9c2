from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

import policies
import standins
from modelbuild.aws.batch.jobs import Batch
from modelbuild.aws.identity import session
from modelbuild.aws.logs import Logs
from modelbuild.errors import AwsError
from modelbuild.settings import AwsSettings
from modelbuild.settings.train import TrainSettings
from modelbuild.train.submit import command

IAM = Path(__file__).parents[2] / "docs" / "iam"
POLICY = json.loads((IAM / "train.json").read_text())
WAIT = json.loads((IAM / "train-wait.json").read_text())
BUCKET = "s3://modelbuild-123456789012"
_numbers = itertools.count(1)


class Person:
    """A user with one policy, and a build of its own that it trains."""

    def __init__(self, laptop: Any, repository: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self._laptop = laptop
        self._monkeypatch = monkeypatch
        self._number = next(_numbers)
        self._commit = repository.commit(
            {"flows/flow.py": "# a flow", "flows/params.yaml": f"number: {self._number}\n"}
        )

    def may(self, policy: dict[str, Any]) -> None:
        """Be a user with this policy, from now on and with policies enforced."""
        policies.become(self._laptop.url, self._monkeypatch, policies.as_moto_reads(policy))

    def train(self) -> None:
        """Run the step; the definition is not registered yet."""
        images = {"default": f"modelbuild/default:{self._number}", "train-gpu": "t", "serve": "s"}
        settings = TrainSettings.model_validate(
            {
                "flow": "flows/flow.py",
                "artifacts": f"{BUCKET}/models",
                "unblock": "training_finished",
                "image": images,
            }
        )
        number = str(self._number)
        command.run(
            settings,
            {
                "BUILDKITE_ORGANIZATION_SLUG": "local",
                "BUILDKITE_PIPELINE_SLUG": "policy",
                "BUILDKITE_BUILD_NUMBER": number,
                "BUILDKITE_BUILD_ID": f"0190-{number}",
                "BUILDKITE_BUILD_URL": f"http://buildkite.example/local/policy/builds/{number}",
                "BUILDKITE_COMMIT": self._commit,
                "BUILDKITE_BRANCH": "main",
            },
        )


@pytest.fixture
def person(aws: Any, agent: Any, repository: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Person]:
    """A user in the checkout of a build; afterwards policies are ignored again."""
    assert agent.calls == []
    script = Path(aws.bin) / "python"
    script.write_text("#!/bin/sh\nexec sleep 60\n")
    script.chmod(0o755)
    monkeypatch.chdir(repository.folder)
    yield Person(aws, repository, monkeypatch)
    standins.enforce_policies(aws.url, False)


def test_policy_is_enough(person: Person, agent: Any) -> None:
    """With the policy of the documentation, and nothing more, the step submits, and a retry shows it."""
    person.may(POLICY)
    person.train()
    person.train()
    assert agent.meta_data["train/job/id"]


# Moto asks for no permission to tag, to pass a role, or to tell what is missing from what is forbidden.
@pytest.mark.parametrize(
    ("sid", "could_not"),
    [
        ("RequestAndSource", "write s3://.*/source.tar.gz"),
        ("Look", "look for job definition modelbuild-head "),
        ("DefinitionWithTheImageOfTheBuild", "register job definition modelbuild-head-"),
        ("Submit", "submit job policy-"),
    ],
)
def test_each_statement_is_needed(person: Person, agent: Any, sid: str, could_not: str) -> None:
    """Without one of its statements the step says what AWS refused, and shows no job."""
    person.may(policies.without(POLICY, sid))
    with pytest.raises(AwsError, match=f"(?s)could not {could_not}.*AccessDenied"):
        person.train()
    assert "train/job/id" not in agent.meta_data


@pytest.mark.parametrize("missing", [None, "CancelWithTheStep", "Follow"])
def test_waiting_needs_its_own_statements(person: Person, agent: Any, missing: str | None) -> None:
    """A step that waits may read the log and end the training with the second policy, and not without."""
    own = [statement for statement in WAIT["Statement"] if statement["Sid"] != missing]
    person.may({**POLICY, "Statement": POLICY["Statement"] + own})
    person.train()
    made = session(AwsSettings())
    calls: dict[str, Callable[[], object]] = {
        "CancelWithTheStep": lambda: Batch(made).terminate(agent.meta_data["train/job/id"], "a reason"),
        "Follow": lambda: list(Logs(made).new("no-such-stream")),
    }
    for sid, call in calls.items():
        if sid == missing:
            with pytest.raises(AwsError, match=r"AccessDenied|not authorized"):
                call()
        else:
            call()


def test_other_objects_are_out_of_reach(person: Person) -> None:
    """The policy opens the models of its bucket and nothing beside them."""
    person.may(POLICY)
    storage: Any = boto3.Session().client("s3")
    with pytest.raises(ClientError, match="AccessDenied"):
        storage.put_object(Bucket=BUCKET[5:], Key="athena/a-result", Body=b"")
