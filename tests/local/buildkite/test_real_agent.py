"""The server with the real ``buildkite-agent``: two of them, on a repository of their own."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from modelbuild_local.agent import find
from waiting import SECONDS

# The jobs side by side end when both have begun.
PIPELINE = """
env: {TOP: build}
agents: {queue: real}
again: &again {automatic: {exit_status: 3, limit: 1}}
steps:
  - key: unchanged
    command: exit 1
    if_changed: "*.none"
  - key: elsewhere
    command: exit 1
    if: build.branch =~ /^release\\/.*$$/ && build.env("TOP") == "build"
  - key: matrix
    label: "{{matrix.os}}"
    command: test "{{matrix.os}}" = "$$OS"; exit $$((3 - BUILDKITE_RETRY_COUNT * 3))
    env: {OS: "{{matrix.os}}"}
    retry: *again
    branches: "ma* !release/*"
    matrix: {setup: {os: [linux, plan9]}, adjustments: [{with: {os: plan9}, skip: "no agent"}]}
  - key: parallel
    command: test "$$BUILDKITE_PARALLEL_JOB_COUNT" = 2 && test "$$BUILDKITE_PARALLEL_JOB" -lt 2
    parallelism: 2
  - group: side by side
    key: pair
    steps:
      - key: one
        command: |
          mkdir out && echo content > out/a.txt
          touch "$$BUILDKITE_BUILD_PATH/one"
          until [ -e "$$BUILDKITE_BUILD_PATH/two" ]; do sleep 0.05; done
        artifact_paths: "out/*"
      - key: two
        command: |
          touch "$$BUILDKITE_BUILD_PATH/two"
          until [ -e "$$BUILDKITE_BUILD_PATH/one" ]; do sleep 0.05; done
  - wait
  - key: plugin
    plugins:
      - ./plugins/say: {word: hello}
  - block: go?
    key: go
    depends_on: [plugin, pair]
    blocked_state: running
    fields: [{text: Path, key: model/path}]
  - key: after
    depends_on: go
    command: |
      set -eu
      test "$$(buildkite-agent meta-data get said)" = hello
      test "$$(buildkite-agent meta-data get nothing --default other)" = other
      ! buildkite-agent meta-data exists nothing
      test "$$(buildkite-agent meta-data get model/path)" = s3://bucket/model
      test "$$BUILDKITE_UNBLOCKER $$TOP" = "Ada build"
      buildkite-agent artifact download 'out/*' .
      test "$$(cat out/a.txt)" = content
      buildkite-agent annotate --style success --context result '**done**'
      echo 'agents: {queue: real}' > more.yml
      echo 'steps: [{key: later, command: "test $$$$BUILDKITE_RETRY_COUNT = 1"}]' >> more.yml
      buildkite-agent pipeline upload more.yml
"""

HOOK = """#!/usr/bin/env bash
set -euo pipefail
echo "+++ said"
buildkite-agent meta-data set said "$BUILDKITE_PLUGIN_SAY_WORD"
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a pipeline and a plugin, committed on ``main``."""
    root = tmp_path_factory.mktemp("repository")
    hook = root / "plugins/say/hooks/command"
    hook.parent.mkdir(parents=True)
    hook.write_text(HOOK)
    hook.chmod(0o755)
    (root / ".buildkite").mkdir()
    (root / ".buildkite/pipeline.yml").write_text(PIPELINE)
    identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    for command in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "First"]):
        subprocess.run(["git", "-C", str(root), *identity, *command], check=True)
    return root


@pytest.fixture(scope="module")
def agents(server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Two real agents on the queue ``real``."""
    home = tmp_path_factory.mktemp("agent")
    binary = find()
    command = [str(binary), "start", "--endpoint", f"{server.url}/v3", "--token", "agent-token"]
    command += ["--spawn", "2", "--name", "real-%spawn", "--tags", "queue=real", "--ping-mode", "poll-only"]
    command += ["--build-path", str(home / "builds"), "--plugins-path", str(home / "plugins"), "--no-color"]
    environment = {**os.environ, "PATH": f"{Path(binary).parent}{os.pathsep}{os.environ['PATH']}"}
    with (home / "log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
        yield
        process.terminate()
        process.wait(SECONDS)


def wait_for(server: Any, build: str, what: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The build once ``what`` holds of it."""
    deadline = time.monotonic() + 3 * SECONDS
    while not what(shown := server.rest.get(build).json()):
        if time.monotonic() > deadline:
            jobs = [(job["step_key"], job["state"]) for job in shown["jobs"]]
            raise AssertionError(f"the build is still {shown['state']}: {jobs}")
        time.sleep(0.1)
    return dict(shown)


def over(build: dict[str, Any]) -> bool:
    """Whether the build has ended."""
    return build["finished_at"] is not None


def start(server: Any, name: str, repository: Path, steps: list[dict[str, Any]]) -> str:
    """A build of the repository's commit with these first steps; its path."""
    placed = [{"agents": {"queue": "real"}, **step} for step in steps]
    builds = server.create_pipeline(name, placed, str(repository))
    answer = server.rest.post(builds, json={"commit": "HEAD", "branch": "main", "message": "First"})
    return f"{builds}/{answer.json()['number']}"


def job_with(build: dict[str, Any], key: str) -> dict[str, Any]:
    """The newest job of a step."""
    [job] = [job for job in build["jobs"] if job["step_key"] == key]
    return dict(job)


@pytest.mark.usefixtures("agents")
def test_the_agent_does_a_whole_build(server: Any, repository: Path) -> None:
    """The real agent checks out, uploads, runs plugins, passes meta-data and artifacts, and is retried."""
    build = start(
        server, "real whole", repository, [{"key": "upload", "command": "buildkite-agent pipeline upload"}]
    )
    shown = wait_for(server, build, lambda build: build["blocked"] or over(build))
    assert (shown["state"], shown["blocked"]) == ("running", True), logs(server, shown)
    for key, reason in (("unchanged", "if_changed matched no"), ("elsewhere", "conditional_failed")):
        assert job_with(shown, key)["broken_reason"].startswith(reason)
    matrix = [job for job in shown["jobs"] if job["step_key"] == "matrix"]
    assert [(job["name"], job["state"]) for job in matrix] == [("linux", "passed"), ("plan9", "broken")]
    parallel = [job["state"] for job in shown["jobs"] if job["step_key"] == "parallel"]
    assert parallel == ["passed", "passed"], logs(server, shown)
    one, two = job_with(shown, "one"), job_with(shown, "two")
    assert one["agent"]["name"] != two["agent"]["name"]
    assert max(one["started_at"], two["started_at"]) < min(one["finished_at"], two["finished_at"])

    fields = {"fields": {"model/path": "s3://bucket/model"}}
    assert server.rest.put(f"/jobs/{job_with(shown, 'go')['id']}/unblock", json=fields).status_code == 200
    shown = wait_for(server, build, over)
    assert job_with(shown, "after")["state"] == "passed", logs(server, shown)
    assert [note["body_html"].strip() for note in server.rest.get(f"{build}/annotations").json()] == [
        "<p><strong>done</strong></p>"
    ]
    assert (shown["state"], job_with(shown, "later")["exit_status"]) == ("failed", 1)

    assert server.rest.put(f"{build}/jobs/{job_with(shown, 'later')['id']}/retry").status_code == 200
    shown = wait_for(server, build, over)
    assert shown["state"] == "passed", logs(server, shown)


@pytest.mark.usefixtures("agents")
def test_the_agent_stops_a_canceled_job(server: Any, repository: Path) -> None:
    """A canceled build ends its running job within seconds, as canceled."""
    build = start(server, "real cancel", repository, [{"key": "long", "command": "sleep 600"}])
    wait_for(server, build, lambda build: "sleep 600" in log_of(server, build, "long"))
    server.rest.put(f"{build}/cancel")
    shown = wait_for(server, build, over)
    assert (shown["state"], job_with(shown, "long")["state"]) == ("canceled", "canceled")


def log_of(server: Any, build: dict[str, Any], key: str) -> str:
    """The log of a step's newest job so far."""
    path = f"/pipelines/{build['pipeline']['slug']}/builds/{build['number']}"
    return str(server.rest.get(f"{path}/jobs/{job_with(build, key)['id']}/log").json()["content"])


def logs(server: Any, build: dict[str, Any]) -> str:
    """All logs, for the message of a test that fails."""
    return "\n".join(
        log_of(server, build, job["step_key"]) for job in build["jobs"] if job["type"] == "script"
    )


@pytest.mark.usefixtures("agents")
def test_the_agent_gets_a_token_that_its_log_redacts(server: Any, repository: Path) -> None:
    """A job gets an OIDC token with the audience and the tags it asked for, which no log shows."""
    command = """
      set -- --audience sts.amazonaws.com --aws-session-tag pipeline_slug
      token="$(buildkite-agent oidc request-token "$@")"
      printf %s "$token" | buildkite-agent redactor add
      echo "the token is $token"
      printf %s "$token" | buildkite-agent meta-data set token
      ! buildkite-agent oidc request-token --aws-session-tag colour
    """
    build = start(server, "real token", repository, [{"key": "who", "command": command}])
    shown = wait_for(server, build, over)
    assert shown["state"] == "passed", logs(server, shown)
    token = shown["meta_data"]["token"]
    text = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    assert claims["aud"] == "sts.amazonaws.com"
    assert claims["sub"].startswith("organization:local:pipeline:real-token:ref:refs/heads/main:commit:")
    assert claims["sub"].endswith(":step:who")
    assert claims["https://aws.amazon.com/tags"]["principal_tags"] == {"pipeline_slug": ["real-token"]}
    assert "the token is [REDACTED]" in logs(server, shown)
    assert token not in logs(server, shown)
