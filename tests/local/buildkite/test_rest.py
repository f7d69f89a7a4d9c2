"""The REST API's lists, filters and pages, rebuilds, agents and annotations, on an engine in memory."""

from __future__ import annotations

import json
from typing import Any

import pytest

from modelbuild_local.buildkite import agents
from modelbuild_local.buildkite.identity import User, user_id
from modelbuild_local.buildkite.state import Artifact, Build
from rest_client import ROOT, URL, Rest

GRACE = User(user_id("grace@example.org"), "Grace", "grace@example.org")


def pipeline_of(bench: Any, name: str, steps: list[object]) -> Any:
    """A pipeline of these steps."""
    return bench.engine.create_pipeline(name, f"/repositories/{name}", json.dumps({"steps": steps}))


def builds_of(bench: Any) -> list[Build]:
    """Five builds of one pipeline, ten seconds apart: passed, failed, blocked, canceled and running."""
    steps: list[object] = [{"command": "x"}, {"block": "go?", "if": "build.branch == 'wait'"}]
    pipeline = pipeline_of(bench, "p", steps)
    made: list[Build] = []
    agent = bench.agent()
    for branch, exit_status in [("main", 0), ("feature/a", 1), ("wait", 0), ("main", None), ("dev", None)]:
        bench.clock.passed += 10
        build = bench.engine.create_build(
            pipeline,
            commit=f"{len(made)}" * 40,
            branch=branch,
            meta_data={"stage": branch, "number": str(len(made))},
            creator=GRACE if branch == "dev" else None,
        )
        made.append(build)
        job = bench.begin(agent)
        if exit_status is not None:
            agents.finish(bench.engine, job, exit_status, "", "")
        elif branch == "main":
            bench.engine.cancel_build(build)
            agents.finish(bench.engine, job, -1, "SIGTERM", "cancel")
    return made


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("", [5, 4, 3, 2, 1]),
        ("state=passed", [3, 1]),
        ("state=blocked", [3]),
        ("state[]=failed&state[]=canceled", [4, 2]),
        ("state=finished", [4, 3, 2, 1]),
        ("state=running", [5]),
        ("state=nothing", []),
        ("branch=main", [4, 1]),
        ("branch[]=main&branch[]=dev", [5, 4, 1]),
        ("branch=*a*", [4, 3, 2, 1]),
        (f"commit={'1' * 40}", [2]),
        (f"commit={'1' * 7}", []),
        (f"commit[]={'1' * 40}&commit[]={'2' * 40}", [3, 2]),
        (f"creator={GRACE.id}", [5]),
        (f"creator={user_id('ada@example.org')}", [4, 3, 2, 1]),
        ("created_from=2026-01-01T12:00:30Z", [5, 4, 3]),
        ("created_to=2026-01-01T12:00:30Z", [2, 1]),
        ("created_from=2026-01-01T13:00:20.000%2B01:00&created_to=2026-01-01T12:00:40.000001Z", [4, 3, 2]),
        ("finished_from=2026-01-01T12:00:20Z", [4, 2]),
        ("meta_data[stage]=main", [4, 1]),
        ("meta_data[stage]=main&meta_data[number]=3", [4]),
        ("state=passed&branch=main", [1]),
        ("per_page=2", [5, 4]),
        ("per_page=2&page=2", [3, 2]),
        ("per_page=2&page=3", [1]),
        ("per_page=2&page=9", []),
    ],
)
def test_builds_are_filtered(bench: Any, rest: Rest, query: str, numbers: list[int]) -> None:
    """Lists of builds have the newest first, and honour every documented filter."""
    builds_of(bench)
    for path in (f"{ROOT}/pipelines/p/builds", f"{ROOT}/builds", "/v2/builds"):
        answer = rest.get(f"{path}?{query}")
        assert [build["number"] for build in answer.json()] == numbers, answer.text


@pytest.mark.parametrize(
    ("query", "status"), [("created_from=yesterday", 422), ("page=0", 400), ("per_page=x", 400)]
)
def test_a_wrong_filter_is_refused(bench: Any, rest: Rest, query: str, status: int) -> None:
    """An invalid time or number is refused with its name."""
    builds_of(bench)
    answer = rest.get(f"{ROOT}/builds?{query}")
    assert (answer.status_code, query.split("=")[0] in answer.json()["message"]) == (status, True)


def test_pages_lead_to_each_other(bench: Any, rest: Rest) -> None:
    """``Link`` names the next, last, first and previous page, with the filters of the query."""
    builds_of(bench)
    answer = rest.get(f"{ROOT}/builds?branch=*a*&per_page=2")
    assert set(answer.links) == {"next", "last"}
    answer = rest.get(answer.links["next"]["url"])
    assert [build["number"] for build in answer.json()] == [2, 1]
    assert set(answer.links) == {"first", "prev"}
    assert [build["number"] for build in rest.get(answer.links["prev"]["url"]).json()] == [4, 3]
    assert "Link" not in rest.get(f"{ROOT}/builds").headers


def test_a_page_has_30_items_and_100_at_most(bench: Any, rest: Rest) -> None:
    """A list has 30 items a page unless the query says otherwise, and never more than 100."""
    pipeline = pipeline_of(bench, "many", [{"command": "x"}])
    for _ in range(101):
        bench.engine.create_build(pipeline, commit="HEAD", branch="main")
    for query, count in (("", 30), ("?per_page=50", 50), ("?per_page=500", 100)):
        assert len(rest.get(f"{ROOT}/builds{query}").json()) == count


def test_a_rebuild_repeats_a_build(bench: Any, rest: Rest) -> None:
    """A rebuild has the commit, branch, message and variables of the other, not its meta-data."""
    pipeline_of(bench, "p", [{"command": "x"}])
    body = {
        "commit": "HEAD",
        "branch": "dev",
        "message": "why",
        "env": {"A": 1, "B": True, "C": None},
        "meta_data": {"k": True, "n": 2},
        "author": {"name": "Grace", "email": "grace@example.org"},
        "clean_checkout": True,
    }
    first = rest.request("POST", f"{ROOT}/pipelines/p/builds", json=body).json()
    assert (first["meta_data"], first["creator"]["name"]) == ({"k": "true", "n": "2"}, "Grace")
    answer = rest.request("PUT", f"{ROOT}/pipelines/p/builds/1/rebuild")
    again = answer.json()
    assert (answer.status_code, again["number"], again["state"]) == (200, 2, "scheduled")
    for name in ("commit", "branch", "message", "env"):
        assert again[name] == first[name]
    assert again["env"] == {"A": "1", "B": "true", "C": ""}
    assert (again["meta_data"], again["creator"]["name"]) == ({}, "Ada")
    assert again["rebuilt_from"] == {"id": first["id"], "number": 1, "url": first["url"]}
    bench.drain(bench.agent())
    job = bench.engine.builds[again["id"]].jobs[0]
    env = rest.get(f"{ROOT}/jobs/{job.id}/env").json()["env"]
    assert (env["BUILDKITE_REBUILT_FROM_BUILD_ID"], env["BUILDKITE_REBUILT_FROM_BUILD_NUMBER"]) == (
        first["id"],
        "1",
    )
    assert env["BUILDKITE_CLEAN_CHECKOUT"] == "true"
    assert rest.request("PUT", f"{ROOT}/pipelines/p/builds/9/rebuild").status_code == 404


def test_a_build_of_a_pull_request(bench: Any, rest: Rest) -> None:
    """A build may be of a pull request: conditions, variables, the build itself and its rebuild say so."""
    condition = 'build.pull_request.repository.fork && build.pull_request.labels includes "gpu"'
    pipeline_of(bench, "p", [{"command": "x", "if": f"{condition} && build.pull_request.id == '7'"}])
    body = {
        "commit": "HEAD",
        "branch": "topic",
        "pull_request_id": 7,
        "pull_request_base_branch": "main",
        "pull_request_repository": "/fork",
        "pull_request_labels": ["gpu", "ml"],
    }
    first = rest.request("POST", f"{ROOT}/pipelines/p/builds", json=body).json()
    again = rest.request("PUT", f"{ROOT}/pipelines/p/builds/1/rebuild").json()
    for shown in (first, again):
        assert shown["pull_request"] == {
            "id": "7",
            "base": "main",
            "repository": "/fork",
            "labels": ["gpu", "ml"],
        }
    assert bench.drain(bench.agent()) == ["", ""]
    env = rest.get(f"{ROOT}/jobs/{first['jobs'][0]['id']}/env").json()["env"]
    assert [env[f"BUILDKITE_PULL_REQUEST{name}"] for name in ("", "_BASE_BRANCH", "_REPO", "_LABELS")] == [
        "7",
        "main",
        "/fork",
        "gpu,ml",
    ]
    other = rest.request("POST", f"{ROOT}/pipelines/p/builds", json={"commit": "HEAD", "branch": "topic"})
    assert (other.json()["pull_request"], other.json()["state"]) == (None, "not_run")


def test_a_build_says_since_when_it_fails(bench: Any, rest: Rest) -> None:
    """``failing_at`` is the time of the first failure before the end, and stays when a retry passes."""
    build = bench.build([{"command": "x"}, {"command": "y"}])
    path = f"{ROOT}/pipelines/{build.pipeline.slug}/builds/1"
    agent = bench.agent()
    assert rest.get(path).json()["failing_at"] is None
    bench.run(agent, 1)
    bench.engine.retry(build.jobs[0])
    bench.drain(agent)
    shown = rest.get(path).json()
    assert (shown["state"], shown["failing_at"]) == ("passed", "2026-01-01T12:00:01.000Z")


def test_organization_and_agents(bench: Any, rest: Rest) -> None:
    """There is one organization; its list of agents has the connected ones, each with the job it runs."""
    [organization] = rest.get("/v2/organizations").json()
    assert organization == rest.get(ROOT).json()
    assert (organization["slug"], organization["agents_url"]) == ("local", f"{URL}{ROOT}/agents")
    bench.build([{"command": "x", "key": "k"}])
    busy, gone = bench.agent("queue=default", "gpu=true"), bench.agent()
    bench.begin(busy)
    agents.disconnect(bench.engine, gone)
    [shown] = rest.get(f"{ROOT}/agents").json()
    assert (shown["id"], shown["queue"], shown["meta_data"]) == (
        busy.id,
        "default",
        ["queue=default", "gpu=true"],
    )
    assert (shown["job"]["step_key"], shown["job"]["state"]) == ("k", "running")
    for query, found in (("name=agent-0", 1), ("name=agent", 0), ("hostname=host", 1), ("version=1", 0)):
        assert len(rest.get(f"{ROOT}/agents?{query}").json()) == found, query
    assert rest.get(f"{ROOT}/agents/{gone.id}").json()["connection_state"] == "disconnected"
    assert rest.get(f"{ROOT}/agents/nobody").status_code == 404
    assert rest.get("/v2/organizations/other").status_code == 404


def test_programs_annotate_builds_and_jobs(bench: Any, rest: Rest) -> None:
    """An annotation is made, extended, listed by scope and deleted, of a build or of one of its jobs."""
    build = bench.build([{"command": "x"}])
    of_build = f"{ROOT}/pipelines/{build.pipeline.slug}/builds/1/annotations"
    of_job = f"{ROOT}/jobs/{build.jobs[0].id}/annotations"
    body = {"body": "Hello", "style": "info", "context": "c", "priority": 5}
    made = rest.request("POST", of_build, json=body)
    assert (made.status_code, made.json()["scope"], made.json()["job_id"]) == (201, "build", None)
    rest.request("POST", of_build, json={"body": " world", "context": "c", "append": True, "priority": 5})
    rest.request("POST", of_job, json={"body": "Mine", "context": "c"})
    [note] = rest.get(of_build).json()
    assert (note["body_html"].strip(), note["style"], note["priority"]) == ("<p>Hello world</p>", "info", 5)
    assert len(rest.get(f"{of_build}?scope=all").json()) == 2
    [mine] = rest.get(f"{of_job}?omit_body=true").json()
    assert (mine["job_id"], mine["scope"], "body_html" in mine) == (build.jobs[0].id, "job", False)
    assert rest.request("DELETE", f"{of_build}/{mine['id']}").status_code == 404
    assert rest.request("DELETE", f"{of_job}/{mine['id']}").status_code == 204
    assert rest.request("DELETE", f"{of_build}/{note['id']}").status_code == 204
    assert rest.get(f"{of_build}?scope=all").json() == []


@pytest.mark.parametrize(
    "more", [{"body": ""}, {"style": "loud"}, {"priority": 11}, {"priority": "high"}, {"context": "c" * 101}]
)
def test_a_wrong_annotation_is_refused(bench: Any, rest: Rest, more: dict[str, object]) -> None:
    """A body is needed; style, priority and context keep to Buildkite's limits."""
    build = bench.build([{"command": "x"}])
    path = f"{ROOT}/pipelines/{build.pipeline.slug}/builds/1/annotations"
    answer = rest.request("POST", path, json={"body": "x", **more})
    assert (answer.status_code, next(iter(more)) in answer.json()["message"]) == (422, True)


def test_artifacts_are_found_by_id_and_filter(bench: Any, rest: Rest) -> None:
    """An artifact is read by its id, with its build in the path and without, and lists are filtered."""
    build = bench.build([{"command": "x"}, {"command": "y"}])
    first, second = build.jobs
    for job, path in ((first, "logs/a.txt"), (second, "b.txt")):
        artifact = Artifact(job, path, "", "", 1, "", "", "text/plain", "", bench.clock.now())
        artifact.state = "finished" if job is first else "new"
        build.artifacts.append(artifact)
    of_build = f"{ROOT}/pipelines/{build.pipeline.slug}/builds/1"
    [found] = rest.get(f"{of_build}/artifacts?path=logs/*").json()
    assert [found] == rest.get(f"{of_build}/artifacts?state=finished").json()
    assert [found] == rest.get(f"{ROOT}/jobs/{first.id}/artifacts").json()
    for path in (f"{of_build}/jobs/{first.id}", f"{ROOT}/jobs/{first.id}"):
        assert rest.get(f"{path}/artifacts/{found['id']}").json() == found
    assert rest.get(f"{ROOT}/jobs/{second.id}/artifacts/{found['id']}").status_code == 404
    download = f"{ROOT}/jobs/{first.id}/artifacts/{found['id']}/download"
    assert rest.get(download).status_code == 404
    (bench.engine.artifact_files / found["id"]).write_bytes(b"x")
    answer = rest.get(download)
    assert (answer.status_code, answer.json()["url"]) == (302, answer.headers["location"])
    assert rest.get(f"{of_build}/artifacts?state=lost").status_code == 422


def test_pipelines_are_found_by_name_and_repository(bench: Any, rest: Rest) -> None:
    """Lists of pipelines match parts of names and repositories, without regard to case."""
    for name in ("Shop", "Mail"):
        pipeline_of(bench, name, [{"command": "x"}])
    assert [one["name"] for one in rest.get(f"{ROOT}/pipelines?name=SHO").json()] == ["Shop"]
    assert [one["name"] for one in rest.get(f"{ROOT}/pipelines?repository=/mail").json()] == ["Mail"]
