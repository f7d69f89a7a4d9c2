"""Builds and jobs as the REST API shows, retries and refuses them."""

from __future__ import annotations

from typing import Any

import pytest

from agent_client import FakeAgent, start_build


def test_a_retry_is_a_new_job(server: Any, agent: FakeAgent, name: str) -> None:
    """A retry makes a new job of the same step; the old one keeps its state, and can be retried once."""
    build = start_build(server, name, {"command": "x", "key": "x"})
    agent.take()
    assert server.rest.put(f"{build}/jobs/{agent.job['id']}/retry").status_code == 400
    agent.finish(3)
    old = agent.job["id"]
    new = server.rest.put(f"{build}/jobs/{old}/retry").json()
    assert (new["state"], new["step_key"]) == ("scheduled", "x")
    shown = server.rest.get(f"{build}/jobs/{old}").json()
    assert (shown["state"], shown["retried"], shown["retried_in_job_id"]) == ("failed", True, new["id"])
    assert server.rest.put(f"{build}/jobs/{old}/retry").status_code == 422
    assert agent.take()["env"]["BUILDKITE_RETRY_COUNT"] == "1"
    agent.finish()
    assert server.rest.get(build).json()["state"] == "passed"
    assert [job["id"] for job in server.rest.get(build).json()["jobs"]] == [new["id"]]
    with_retried = server.rest.get(build, params={"include_retried_jobs": "true"}).json()["jobs"]
    assert [job["id"] for job in with_retried] == [old, new["id"]]


def test_a_job_whose_agent_leaves_has_failed(server: Any, agent: FakeAgent, name: str) -> None:
    """A job does not stay running when its agent disconnects."""
    build = start_build(server, name, {"command": "x"})
    agent.take()
    agent.call("POST", "/disconnect")
    [job] = server.rest.get(build).json()["jobs"]
    assert (job["state"], job["exit_status"], job["signal_reason"]) == ("failed", -1, "agent_stop")


def test_jobs_have_the_times_of_their_agent(server: Any, agent: FakeAgent, name: str) -> None:
    """A job carries its agent's name and the times between which the agent was busy."""
    build = start_build(server, name, {"command": "x"})
    agent.take()
    agent.finish()
    [job] = server.rest.get(build).json()["jobs"]
    assert job["agent"]["name"] == "agent"
    assert job["started_at"] <= job["finished_at"]


def test_initial_meta_data_has_the_limit_of_meta_data(server: Any, name: str) -> None:
    """A value over 100 kB is refused when a build is created, too."""
    builds = server.create_pipeline(name, [{"command": "x"}])
    body = {"commit": "HEAD", "branch": "main", "meta_data": {"k": "x" * 100_001}}
    answer = server.rest.post(builds, json=body)
    assert (answer.status_code, "over 100000 bytes" in answer.json()["message"]) == (422, True)
    assert server.rest.get(builds).json() == []


@pytest.mark.parametrize("content", [b'{"message": "\\ud800"}', b'{"env": ' + b"[" * 100_000, b"{"])
def test_a_body_that_cannot_be_answered_is_refused(server: Any, name: str, content: bytes) -> None:
    """JSON with half of a surrogate pair, or nested without end, is 400 as a body that is no JSON is."""
    builds = server.create_pipeline(name, [{"command": "x"}])
    assert server.rest.post(builds, content=content).status_code == 400


@pytest.mark.parametrize("missing", ["commit", "branch"])
def test_a_build_needs_commit_and_branch(server: Any, name: str, missing: str) -> None:
    """A build without a commit or a branch is refused."""
    builds = server.create_pipeline(name, ["wait"])
    body = {"commit": "HEAD", "branch": "main"}
    del body[missing]
    answer = server.rest.post(builds, json=body)
    assert answer.status_code == 422
    assert missing in answer.json()["message"]
