"""The Agent API and the REST API of a started server."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import standins
from modelbuild_local.buildkite.api.rest import RateLimit

names = (f"http-{number}" for number in itertools.count())


class FakeAgent:
    """An agent as the server sees one: a client with an access token."""

    def __init__(self, server: Any, queue: str) -> None:
        self._api: httpx.Client = server.agent_api
        body = {"name": "agent", "hostname": "host", "version": "3.138.3", "meta_data": [f"queue={queue}"]}
        self.registered = self._api.post(
            "/register", json=body, headers={"Authorization": "Token agent-token"}
        ).json()
        self.token = self.registered["access_token"]
        self.job: dict[str, Any] = {}

    def call(self, method: str, path: str, **more: Any) -> httpx.Response:
        """A request with the agent's token; ``{job}`` in the path stands for its job."""
        headers = {"Authorization": f"Token {self.token}", **more.pop("headers", {})}
        return self._api.request(method, path.format(job=self.job.get("id")), headers=headers, **more)

    def take(self) -> dict[str, Any]:
        """Take and start the next job; what it is given to run with."""
        self.job = self.call("GET", "/ping").json()["job"]
        accepted: dict[str, Any] = self.call("PUT", "/jobs/{job}/accept").json()
        assert self.call("PUT", "/jobs/{job}/start", json={}).status_code == 200
        return accepted

    def finish(self, exit_status: int = 0) -> None:
        """End the job."""
        assert (
            self.call("PUT", "/jobs/{job}/finish", json={"exit_status": str(exit_status)}).status_code == 200
        )


@pytest.fixture
def name() -> str:
    """A name of a pipeline, and of a queue, that no other test uses."""
    return next(names)


@pytest.fixture
def agent(server: Any, name: str) -> Iterator[FakeAgent]:
    """A registered agent of the queue ``name``."""
    agent = FakeAgent(server, name)
    yield agent
    agent.call("POST", "/disconnect")


def start_build(server: Any, name: str, *steps: dict[str, Any], **more: Any) -> str:
    """A build of these steps, command steps on the queue ``name``; its path."""
    placed = [{**step, "agents": {"queue": name}} if "command" in step else step for step in steps]
    builds = server.create_pipeline(name, placed)
    answer = server.rest.post(builds, json={"commit": "HEAD", "branch": "main", **more})
    assert answer.status_code == 201, answer.text
    return f"{builds}/{answer.json()['number']}"


def block_of(server: Any, build: str) -> dict[str, Any]:
    """The one manual job of a build."""
    [job] = [job for job in server.rest.get(build).json()["jobs"] if job["type"] == "manual"]
    return dict(job)


def test_intervals_are_what_keeps_the_agent_alive(agent: FakeAgent) -> None:
    """The intervals an agent is told are whole seconds, at least 1: with 0 the agent crashes."""
    for interval in ("ping_interval", "job_status_interval", "heartbeat_interval"):
        assert agent.registered[interval] >= 1


def test_an_idle_agent_gets_json_objects(agent: FakeAgent) -> None:
    """Ping and heartbeat answer with a JSON object even when there is nothing to say."""
    assert agent.call("GET", "/ping").json() == {}
    assert agent.call("POST", "/heartbeat", json={"sent_at": "now"}).json()["sent_at"] == "now"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v3/register"),
        ("GET", "/v3/ping"),
        ("GET", "/v3/jobs/x"),
        ("GET", "/v2/organizations/local/pipelines"),
    ],
)
@pytest.mark.parametrize("token", ["", "Token wrong", "Bearer wrong"])
def test_nobody_gets_in_without_a_token(server: Any, method: str, path: str, token: str) -> None:
    """Both APIs answer 401 and a JSON message without the right token."""
    answer = httpx.request(method, server.url + path, headers={"Authorization": token} if token else {})
    assert answer.status_code == 401
    assert answer.json()["message"]


def test_an_unknown_path_is_json_too(server: Any) -> None:
    """A path that does not exist answers 404 with a JSON message."""
    for path in ("/v3/nothing", "/v2/nothing", "/v3/jobs/x/secrets"):
        answer = httpx.get(server.url + path)
        assert (answer.status_code, bool(answer.json()["message"])) == (404, True)


def test_a_job_knows_its_build(server: Any, agent: FakeAgent, name: str) -> None:
    """A job's environment tells its build; the step's variables win over the build's."""
    step = {
        "command": "make",
        "key": "k",
        "env": {"A": "step", "BUILDKITE_BRANCH": "no"},
        "plugins": [{"docker#v5": None}],
    }
    author = {"name": "Grace", "email": "grace@example.org"}
    start_build(server, name, step, env={"A": "build", "B": "build"}, message="why", author=author)
    env = agent.take()["env"]
    expected = {
        "A": "step",
        "B": "build",
        "BUILDKITE": "true",
        "BUILDKITE_AGENT_NAME": "agent",
        "BUILDKITE_BRANCH": "main",
        "BUILDKITE_BUILD_CREATOR": "Grace",
        "BUILDKITE_BUILD_CREATOR_EMAIL": "grace@example.org",
        "BUILDKITE_BUILD_NUMBER": "1",
        "BUILDKITE_BUILD_URL": f"{server.url}/local/{name}/builds/1",
        "BUILDKITE_COMMAND": "make",
        "BUILDKITE_COMMIT": "HEAD",
        "BUILDKITE_MESSAGE": "why",
        "BUILDKITE_ORGANIZATION_SLUG": "local",
        "BUILDKITE_PIPELINE_SLUG": name,
        "BUILDKITE_PLUGINS": '[{"https://github.com/buildkite-plugins/docker-buildkite-plugin#v5": null}]',
        "BUILDKITE_REPO": "/repository",
        "BUILDKITE_STEP_KEY": "k",
    }
    assert {key: env.get(key) for key in expected} == expected


def test_chunks_are_put_in_order(server: Any, agent: FakeAgent, name: str) -> None:
    """Log chunks may arrive in any order and twice; the log has no time stamps of the agent."""
    build = start_build(server, name, {"command": "x"})
    agent.take()
    chunks = {0: b"\x1b_bk;t=17\x07one\n", 14: "\x1b_bk;t=18\x07zw\u00f6lf\n".encode()}
    for offset in (14, 0, 14):
        query = {"sequence": 1, "offset": offset, "size": len(chunks[offset])}
        body, headers = gzip.compress(chunks[offset]), {"Content-Encoding": "gzip"}
        assert agent.call(
            "POST", "/jobs/{job}/chunks", params=query, content=body, headers=headers
        ).is_success
    log = server.rest.get(f"{build}/jobs/{agent.job['id']}/log").json()
    assert log["content"] == "one\nzw\u00f6lf\n"
    assert log["size"] == len(log["content"].encode())


def test_a_chunk_that_is_not_gzip_is_refused(server: Any, agent: FakeAgent, name: str) -> None:
    """A broken chunk is answered with a 4xx, which the agent does not repeat."""
    start_build(server, name, {"command": "x"})
    agent.take()
    headers = {"Content-Encoding": "gzip"}
    answer = agent.call("POST", "/jobs/{job}/chunks?offset=0", content=b"no gzip", headers=headers)
    assert answer.status_code == 400


def test_meta_data_belongs_to_the_build(server: Any, agent: FakeAgent, name: str) -> None:
    """Meta-data is written by jobs, read by jobs and by the build's id, and shown by the REST API."""
    build = start_build(server, name, {"command": "x"})
    agent.take()
    items = [{"key": "a", "value": "1"}, {"key": "b", "value": "2"}]
    assert agent.call("POST", "/jobs/{job}/data/set-batch", json={"items": items}).is_success
    assert agent.call("POST", "/jobs/{job}/data/set", json={"key": "c/d", "value": "3"}).is_success
    number = server.rest.get(build).json()["id"]
    assert agent.call("POST", f"/builds/{number}/data/get", json={"key": "a"}).json() == {
        "key": "a",
        "value": "1",
    }
    assert agent.call("POST", "/jobs/{job}/data/get", json={"key": "no"}).status_code == 404
    assert agent.call("POST", "/jobs/{job}/data/exists", json={"key": "c/d"}).json() == {"exists": True}
    assert agent.call("POST", "/jobs/{job}/data/exists", json={"key": "no"}).json() == {"exists": False}
    assert agent.call("POST", "/jobs/{job}/data/keys", json={}).json() == ["a", "b", "c/d"]
    assert server.rest.get(build).json()["meta_data"] == {"a": "1", "b": "2", "c/d": "3"}
    assert agent.call("POST", "/jobs/{job}/data/set", json={"key": "e", "value": " "}).status_code == 422


def test_the_token_of_a_job_is_for_that_job(server: Any, agent: FakeAgent, name: str) -> None:
    """A job's token opens that job, no other one, and nothing once the job has ended."""
    start_build(server, name, {"command": "x"}, {"command": "y"})
    accepted = agent.take()
    other = FakeAgent(server, name)
    other.take()
    headers = {"Authorization": f"Token {accepted['token']}"}
    mine, theirs = f"/jobs/{agent.job['id']}", f"/jobs/{other.job['id']}"
    assert agent.call("GET", mine, headers=headers).json()["state"] == "running"
    assert agent.call("GET", theirs, headers=headers).status_code == 404
    agent.finish()
    assert agent.call("GET", mine, headers=headers).status_code == 401
    other.call("POST", "/disconnect")


def test_annotations_are_replaced_by_context(server: Any, agent: FakeAgent, name: str) -> None:
    """There is one annotation for each context: it is replaced, extended, restyled and removed."""
    build = start_build(server, name, {"command": "x"})
    agent.take()
    for body in (
        {"context": "a/b", "body": "one", "style": "info"},
        {"context": "a/b", "body": "two"},
        {"context": "a/b", "body": " three", "append": True},
        {"context": "a/b", "style": "error"},
        {"context": "first", "body": "*x*", "priority": 9},
    ):
        assert agent.call("POST", "/jobs/{job}/annotations", json=body).status_code == 201
    notes = server.rest.get(f"{build}/annotations").json()
    assert [(note["context"], note["style"], note["body_html"].strip()) for note in notes] == [
        ("first", None, "<p><em>x</em></p>"),
        ("a/b", "error", "<p>two three</p>"),
    ]
    assert agent.call("DELETE", "/jobs/{job}/annotations/a%2Fb").is_success
    assert [note["context"] for note in server.rest.get(f"{build}/annotations").json()] == ["first"]


def test_artifacts_come_back_as_they_went(server: Any, agent: FakeAgent, name: str) -> None:
    """What is uploaded by the form is found by its pattern, and only who knows the address gets the bytes."""
    build = start_build(server, name, {"command": "x", "key": "step"})
    agent.take()
    content = b"--\r\n\r\n\x00\xff" * 100
    item = {"path": "out/model.bin", "file_size": len(content), "sha1sum": hashlib.sha1(content).hexdigest()}
    answer = agent.call("POST", "/jobs/{job}/artifacts", json={"id": "batch", "artifacts": [item]}).json()
    action, [artifact] = answer["upload_instructions"]["action"], answer["artifact_ids"]
    upload = httpx.post(
        action["url"] + action["path"], data={"path": item["path"]}, files={action["file_input"]: content}
    )
    assert upload.status_code == 200
    done = {"artifacts": [{"id": artifact, "state": "finished"}]}
    assert agent.call("PUT", "/jobs/{job}/artifacts", json=done).is_success
    number = server.rest.get(build).json()["id"]
    for query, found in (("out/*", 1), ("**/*.bin", 1), ("*.txt", 0)):
        path = f"/builds/{number}/artifacts/search"
        results = agent.call(
            "GET", path, params={"query": query, "scope": "step", "state": "finished"}
        ).json()
        assert len(results) == found, query
        for result in results:
            assert httpx.get(result["url"]).content == content
            assert httpx.get(result["url"] + "x").status_code == 404
    [shown] = server.rest.get(f"{build}/artifacts").json()
    download = httpx.get(shown["download_url"], headers=server.rest.headers, follow_redirects=True)
    assert download.content == content


def test_an_uploaded_pipeline_extends_the_build(server: Any, agent: FakeAgent, name: str) -> None:
    """An upload adds steps, once for its id; what is wrong is answered with 422."""
    build = start_build(server, name, {"command": "x"})
    agent.take()
    for uploaded in ({"uuid": "u", "pipeline": {"steps": ["wait", {"command": "y", "key": "y"}]}},) * 2:
        assert agent.call("POST", "/jobs/{job}/pipelines?async=true", json=uploaded).is_success
    assert agent.call("GET", "/jobs/{job}/pipelines/u").json()["state"] == "applied"
    assert [job["step_key"] for job in server.rest.get(build).json()["jobs"]] == [None, None, "y"]
    for wrong in (
        {"pipeline": {"steps": [{"trigger": "x"}]}},
        {"pipeline": {"steps": []}, "replace": True},
        {},
    ):
        answer = agent.call("POST", "/jobs/{job}/pipelines", json=wrong)
        assert (answer.status_code, bool(answer.json()["message"])) == (422, True)


def test_unblocking_hands_over_the_fields(server: Any, agent: FakeAgent, name: str) -> None:
    """Fields become meta-data, absent ones by their defaults; later jobs learn who unblocked."""
    fields = [
        {"text": "Path", "key": "model/path"},
        {"text": "Reason", "key": "reason", "required": False},
        {"select": "Size", "key": "size", "default": "s", "options": [{"label": "S", "value": "s"}]},
    ]
    block = {"block": "go?", "key": "go", "fields": fields, "blocked_state": "running"}
    build = start_build(server, name, block, {"command": "x"})
    shown = server.rest.get(build).json()
    assert (shown["state"], shown["blocked"]) == ("running", True)
    [job] = server.rest.get(f"{build}/jobs", params={"step_key": "go", "state[]": "blocked"}).json()["items"]
    assert (job["unblockable"], job["label"]) == (True, "go?")
    answer = server.rest.put(f"/jobs/{job['id']}/unblock", json={"fields": {"model/path": "s3://b/m"}})
    assert (answer.status_code, answer.json()["state"]) == (200, "unblocked")
    assert answer.json()["unblocked_by"]["name"] == "Ada"
    meta_data = server.rest.get(build).json()["meta_data"]
    assert meta_data == {"model/path": "s3://b/m", "reason": "", "size": "s"}
    env = agent.take()["env"]
    assert (env["BUILDKITE_UNBLOCKER"], env["BUILDKITE_UNBLOCKER_EMAIL"]) == ("Ada", "ada@example.org")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "The field 'path' is required"),
        ({"fields": {"path": ""}}, "The field 'path' is required"),
        ({"fields": {"path": "x", "other": "y"}}, "no field with the key 'other'"),
        ({"fields": {"path": "x", "size": "huge"}}, "'huge' is not an option"),
        ({"fields": {"path": "x", "digits": "a1"}}, "must match"),
        ({"fields": ["path"]}, "must be a map"),
        ({"fields": {"path": "x"}, "unblocker": "nobody"}, "not a valid user id"),
    ],
)
def test_wrong_fields_are_refused(server: Any, name: str, body: dict[str, Any], message: str) -> None:
    """An unblock with missing, unknown or wrong fields is answered with 422, and the block stays closed."""
    fields = [
        {"text": "Path", "key": "path"},
        {"text": "Digits", "key": "digits", "format": "[0-9]+", "required": False},
        {"select": "Size", "key": "size", "required": False, "options": [{"label": "S", "value": "s"}]},
    ]
    build = start_build(server, name, {"block": "go?", "fields": fields})
    job = block_of(server, build)
    answer = server.rest.put(f"{build}/jobs/{job['id']}/unblock", json=body)
    assert answer.status_code == 422
    assert message in answer.json()["message"]
    assert block_of(server, build)["state"] == "blocked"


def test_only_what_is_blocked_can_be_unblocked(server: Any, agent: FakeAgent, name: str) -> None:
    """Command jobs answer 400; a block that is not open yet, no longer, or of a canceled build 422."""
    build = start_build(server, name, {"command": "x"}, {"block": "go?"})
    block = block_of(server, build)["id"]
    agent.take()
    answers = [server.rest.put(f"{build}/jobs/{agent.job['id']}/unblock")]
    answers.append(server.rest.put(f"{build}/jobs/{block}/unblock"))
    agent.finish()
    assert server.rest.put(f"{build}/jobs/{block}/unblock").status_code == 200
    answers.append(server.rest.put(f"{build}/jobs/{block}/unblock"))
    closed = "The job's state must be blocked"
    assert [(answer.status_code, answer.json()["message"]) for answer in answers] == [
        (400, "This job type cannot be unblocked"),
        (422, closed),
        (422, closed),
    ]


def test_a_canceled_build_stays_closed(server: Any, name: str) -> None:
    """After a cancel the block cannot be unblocked."""
    build = start_build(server, name, {"block": "go?"})
    assert server.rest.put(f"{build}/cancel").json()["state"] == "canceled"
    assert server.rest.put(f"{build}/jobs/{block_of(server, build)['id']}/unblock").status_code == 422


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


def test_jobs_tell_when_an_agent_was_busy(server: Any, agent: FakeAgent, name: str) -> None:
    """A job carries its agent's name and the times between which the agent was busy."""
    build = start_build(server, name, {"command": "x"})
    agent.take()
    agent.finish()
    [job] = server.rest.get(build).json()["jobs"]
    assert job["agent"]["name"] == "agent"
    assert job["started_at"] <= job["finished_at"]


@pytest.mark.parametrize("missing", ["commit", "branch"])
def test_a_build_needs_commit_and_branch(server: Any, name: str, missing: str) -> None:
    """A build without a commit or a branch is refused."""
    builds = server.create_pipeline(name, ["wait"])
    body = {"commit": "HEAD", "branch": "main"}
    del body[missing]
    answer = server.rest.post(builds, json=body)
    assert answer.status_code == 422
    assert missing in answer.json()["message"]


def test_each_answer_tells_the_rate_limit(server: Any) -> None:
    """REST answers carry the headers a polite client reads, errors too."""
    for path in ("/pipelines", "/pipelines/nobody"):
        headers = server.rest.get(path).headers
        for name in ("Limit", "Remaining", "Reset"):
            assert int(headers[f"RateLimit-User-{name}"]) >= 1


def test_the_rate_limit_lasts_a_minute() -> None:
    """Over the limit nothing is served until the window has passed."""
    limit = RateLimit(2)
    assert [limit.take(second)[0] for second in (0, 1, 2, 59, 60)] == [True, True, False, False, True]


@pytest.mark.parametrize("how", ["end of input", "SIGTERM", "SIGINT"])
def test_the_server_stops_when_it_is_told(tmp_path: Path, how: str) -> None:
    """The end of standard input and both signals end the server with exit code 0."""
    with standins.started("buildkite", "--data", tmp_path) as running, httpx.Client() as client:
        client.get(f"{running.url}/")
        if how == "end of input":
            assert running.stop() == 0
        else:
            running.process.send_signal(signal.Signals[how])
            assert running.process.wait(10) == 0


def test_token_says_what_it_may_do(server: Any) -> None:
    """The REST token's own page lists the scopes that the callback needs, and not the token."""
    answer = httpx.get(f"{server.url}/v2/access-token", headers=server.rest.headers)
    assert answer.status_code == 200
    assert {"read_builds", "write_builds"} <= set(answer.json()["scopes"])
    assert "api-token" not in answer.text
    assert httpx.get(f"{server.url}/v2/access-token").status_code == 401
