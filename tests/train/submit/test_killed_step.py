"""A train step that is killed after any of its effects."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.client import BaseClient

from modelbuild.aws.identity import session
from modelbuild.aws.storage import Storage
from modelbuild.buildkite import agent as build_agent
from modelbuild.settings import AwsSettings
from modelbuild.train.attempts import attempt
from train_step import Build, jobs, read_object


class Killed(BaseException):
    """The agent's machine went away; not an ``Exception``, so that nothing is tidied up."""


@pytest.mark.parametrize(
    "effect",
    [
        "source.tar.gz",
        "request.json",
        "RegisterJobDefinition",
        "attempts/1.json",
        "SubmitJob",
        "job.json",
        "train/job/id",
    ],
)
def test_step_that_was_killed_is_finished_by_its_retry(
    build: Build, agent: Any, monkeypatch: pytest.MonkeyPatch, effect: str
) -> None:
    """Whatever the last thing was that a killed step had done, its retry ends with one head that can train,
    and with a build that knows it.
    """
    clients: Any = BaseClient
    call, set_meta_data = clients._make_api_call, build_agent.set_meta_data

    def calls(client: Any, operation: str, parameters: dict[str, Any]) -> Any:
        answer = call(client, operation, parameters)
        written = parameters.get("Key", "") if operation == "PutObject" else operation
        if written == effect or written.endswith(f"/{effect}"):
            raise Killed
        return answer

    def sets(values: dict[str, str]) -> None:
        if effect in values:
            set_meta_data({effect: values[effect]})
            raise Killed
        set_meta_data(values)

    # An image of its own, so that the definition is registered here.
    build.options["image"]["default"] = f"modelbuild/{'default' if 'Def' in effect else 'other'}:9"
    with monkeypatch.context() as patched:
        patched.setattr(clients, "_make_api_call", calls)
        patched.setattr(build_agent, "set_meta_data", sets)
        with pytest.raises(Killed):
            build.train()
    monkeypatch.setattr(attempt, "_PATIENCE_SECONDS", 0.2)
    build.train()
    record = json.loads(read_object(build, "job.json"))
    storage = Storage(session(AwsSettings()))
    heads = {
        job["jobId"]
        for job in jobs(build)
        for entry in job["container"]["environment"]
        if entry["name"] == "ATTEMPT"
        and not storage.exists(f"{build.artifacts}/attempts/{entry['value']}.head")
    }
    assert heads == {record["job_id"]} == {agent.meta_data["train/job/id"]}
    assert agent.meta_data["train/attempt"] == str(record["attempt"])
    assert len(agent.annotations) == 1
