"""The Agent API of a started server."""

from __future__ import annotations

import gzip
from typing import Any

import httpx
import pytest

import reports
import standins
from agent_client import FakeAgent, start_build
from browser import CHROMIUM, started_browser
from modelbuild.report.annotation import render_annotation
from modelbuild.report.build import artifact_path
from modelbuild.report.document import render_document
from modelbuild.report.pictures import draw_pictures
from modelbuild_local.service.session import with_key
from report_scenes import SCENES

LOADED = "[...document.images].filter(one => one.naturalWidth > 0).length"


def test_intervals_are_what_keeps_the_agent_alive(agent: FakeAgent) -> None:
    """The intervals in an agent's registration are whole seconds, at least 1: with 0 the agent crashes."""
    for interval in ("ping_interval", "job_status_interval", "heartbeat_interval"):
        assert agent.registered[interval] >= 1


def test_an_idle_agent_gets_json_objects(agent: FakeAgent) -> None:
    """Ping and heartbeat answer with a JSON object even when there is nothing to say."""
    assert agent.call("GET", "/ping").json() == {}
    assert agent.call("POST", "/heartbeat", json={"sent_at": "now"}).json()["sent_at"] == "now"


def test_a_job_knows_its_build(server: Any, agent: FakeAgent, name: str) -> None:
    """A job's environment describes its build; the step's variables win over the build's."""
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
        "BUILDKITE_AGENT_META_DATA_QUEUE": name,
        "BUILDKITE_AGENT_NAME": "agent",
        "BUILDKITE_BRANCH": "main",
        "BUILDKITE_BUILD_AUTHOR": "Grace",
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
        "BUILDKITE_TRIGGERED_FROM_BUILD_ID": "",
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


def test_later_jobs_get_the_commit_that_the_first_one_checked_out(
    server: Any, agent: FakeAgent, name: str
) -> None:
    """``HEAD`` becomes the commit that the agent of the first job reports, for the API and for later jobs."""
    build = start_build(server, name, {"command": "x"}, {"command": "y"})
    assert agent.take()["env"]["BUILDKITE_COMMIT_RESOLVED"] == "false"
    commit = "0123456789abcdef0123456789abcdef01234567"
    value = f"commit {commit}\nabbrev-commit {commit[:10]}\nAuthor: Ada <ada@example.org>\n\n    Why"
    body = {"key": "buildkite:git:commit", "value": value}
    assert agent.call("POST", "/jobs/{job}/data/set", json=body).is_success
    agent.finish()
    env = agent.take()["env"]
    assert (env["BUILDKITE_COMMIT"], env["BUILDKITE_COMMIT_RESOLVED"]) == (commit, "true")
    assert server.rest.get(build).json()["commit"] == commit


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


@pytest.mark.parametrize(
    "more",
    [{"style": "loud"}, {"priority": 11}, {"priority": "high"}, {"context": "c" * 101}, {"scope": "all"}],
)
def test_a_wrong_annotation_of_a_job_is_refused(
    server: Any, agent: FakeAgent, name: str, more: dict[str, object]
) -> None:
    """The agent's annotations keep to the same limits as those of REST clients."""
    build = start_build(server, name, {"command": "x"})
    agent.take()
    answer = agent.call("POST", "/jobs/{job}/annotations", json={"body": "x", **more})
    assert (answer.status_code, next(iter(more)) in answer.json()["message"]) == (422, True)
    assert server.rest.get(f"{build}/annotations?scope=all").json() == []


def test_artifacts_come_back_as_they_went(server: Any, agent: FakeAgent, name: str) -> None:
    """What is uploaded by the form is found by its pattern, and a request to its address gets the bytes."""
    build = start_build(server, name, {"command": "x", "key": "step"})
    agent.take()
    content = b"--\r\n\r\n\x00\xff" * 100
    agent.upload("out/model.bin", content)
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


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("image/svg+xml", "image/svg+xml"),
        ("text/html; charset=utf-8", "text/html; charset=utf-8"),
        ("application/pdf", "application/octet-stream"),
    ],
)
def test_a_page_or_picture_of_a_job_runs_no_script(
    server: Any, agent: FakeAgent, name: str, written: str, shown: str
) -> None:
    """A browser shows it as a page of no server, that loads nothing; it saves other files."""
    build = start_build(server, name, {"command": "x"})
    agent.take()
    agent.upload("a", b"x", written)
    [found] = server.rest.get(f"{build}/artifacts").json()
    answer = httpx.get(found["download_url"], headers=server.rest.headers, follow_redirects=True)
    assert answer.headers["Content-Type"] == shown
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none';")


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH to show pages with")
def test_a_report_is_shown_with_its_pictures(server: Any, agent: FakeAgent, name: str) -> None:
    """The build page shows the pictures of a report from its artifacts, and a link opens report.html."""
    report = SCENES["better"]()
    pictures = draw_pictures(report)
    start_build(server, name, {"command": "x"})
    agent.take()
    for file, content in pictures.items():
        agent.upload(artifact_path(report, file), content, "image/svg+xml")
    document = render_document(report, reports.JOB, pictures).encode()
    agent.upload(artifact_path(report, "report.html"), document, "text/html; charset=utf-8")
    body = render_annotation(report, reports.JOB, [*pictures, "report.html"])
    assert agent.call("POST", "/jobs/{job}/annotations", json={"context": "x", "body": body}).is_success
    with started_browser() as browser:
        page = f"{server.url}/local/{name}/builds/1"
        browser.show(with_key(page, standins.PAGE_KEY), width=1_200, theme="dark")
        assert browser.evaluate(LOADED) == len(pictures)
        link = browser.evaluate("document.querySelector('a[href*=\"/artifacts/\"]').href")
        browser.show(link, width=1_200, theme="dark")
        assert browser.evaluate(LOADED) == len(pictures)
        assert browser.evaluate("document.querySelector('h2').textContent") == report.verdict.sentence
        paper = browser.evaluate("getComputedStyle(document.body).backgroundColor")
        assert paper == "rgb(20, 23, 27)"


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
