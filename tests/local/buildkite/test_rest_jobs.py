"""Jobs in the REST API, on an engine in memory."""

from __future__ import annotations

from typing import Any

import pytest

from rest_client import ROOT, Rest


def test_a_finished_wait_step_has_passed(bench: Any, rest: Rest) -> None:
    """The filters by state know no ``finished``: ``passed`` finds a wait step that is over."""
    build = bench.build([{"command": "x"}, "wait", {"command": "y"}, "wait", {"block": "go?"}])
    path = f"{ROOT}/pipelines/{build.pipeline.slug}/builds/1"
    for expected in ([], ["script", "waiter", "script", "waiter"]):
        listed = rest.get(f"{path}/jobs?state[]=passed").json()["items"]
        within = rest.get(f"{path}?job_states[]=passed").json()["jobs"]
        assert [job["type"] for job in listed] == [job["type"] for job in within] == expected
        bench.drain(bench.agent())


def test_jobs_are_counted_by_state(bench: Any, rest: Rest) -> None:
    """Getting a build counts all its jobs by state, whatever the query leaves of them; lists do not."""
    steps = [{"command": "x", "retry": {"automatic": {"limit": 1}}}, {"command": "y", "skip": True}, "wait"]
    build = bench.build(steps)
    bench.drain(bench.agent(), {"": 1})
    path = f"{ROOT}/pipelines/{build.pipeline.slug}/builds/1"
    shown = rest.get(f"{path}?job_states[]=broken&exclude_pipeline=true").json()
    assert shown["job_state_counts"] == {"total": 3, "states": {"failed": 1, "broken": 2}}
    assert [job["broken_reason"] for job in shown["jobs"]] == ["skipped", None]
    assert "pipeline" not in shown
    retried = rest.get(f"{path}?include_retried_jobs=true&exclude_jobs=true").json()
    assert (retried["job_state_counts"]["total"], "jobs" in retried) == (4, False)
    [listed] = rest.get(f"{ROOT}/builds").json()
    assert "job_state_counts" not in listed


def test_jobs_come_in_pages(bench: Any, rest: Rest) -> None:
    """Jobs of a build come 30 at a time in pipeline order; ``links`` lead forward and back."""
    build = bench.build([{"command": "x", "label": "%n", "parallelism": 70}])
    path = f"{ROOT}/pipelines/{build.pipeline.slug}/builds/1/jobs"
    pages = [rest.get(path).json()]
    while "next" in pages[-1]["links"]:
        pages.append(rest.get(pages[-1]["links"]["next"]).json())
    names = [[job["name"] for job in page["items"]] for page in pages]
    assert [name for page in names for name in page] == [str(number) for number in range(70)]
    assert [len(page) for page in names] == [30, 30, 10]
    back = rest.get(pages[2]["links"]["prev"]).json()
    assert [job["name"] for job in back["items"]] == names[1]
    assert "prev" not in pages[0]["links"]
    for query in ("after=nobody", "per_page=0", "state[]=finished", f"after={build.id}&before={build.id}"):
        assert rest.get(f"{path}?{query}").status_code == 400


@pytest.mark.parametrize(
    ("states", "retried"),
    [(None, ["a", "b", "c"]), ("failed", ["a"]), ("soft_failed, canceled", ["b", "c"]), ("timed_out", [])],
)
def test_failed_jobs_are_retried_together(
    bench: Any, rest: Rest, states: str | None, retried: list[str]
) -> None:
    """All jobs that failed in one of these ways, and may be retried, are retried; others are left."""
    steps = [
        {"command": "x", "key": "a"},
        {"command": "x", "key": "b", "soft_fail": True},
        {"command": "x", "key": "c"},
        {"command": "x", "key": "d", "retry": {"manual": False}},
        {"command": "x", "key": "e"},
    ]
    build = bench.build(steps)
    bench.engine.cancel_job(build.jobs[2])
    bench.drain(agent := bench.agent(), {"a": 1, "b": 1, "d": 1})
    path = f"{ROOT}/pipelines/{build.pipeline.slug}/builds/1/retry_failed_jobs"
    answer = rest.request("PUT", path, json={"states": states} if states else {})
    assert (answer.status_code, answer.json()["retried_jobs_count"]) == (202, len(retried))
    assert bench.drain(agent) == retried
    assert rest.request("PUT", path, json={"states": "passed"}).status_code == 400


def test_matrix_and_parallel_jobs_are_reported_apart(bench: Any, rest: Rest) -> None:
    """A job says its place among parallel jobs, its values of a matrix, and why it is broken."""
    build = bench.build(
        [
            {"command": "x", "parallelism": 2},
            {"command": "y", "matrix": {"setup": {"os": ["a"]}}},
            {"block": "b", "branches": "other"},
        ]
    )
    jobs = rest.get(f"{ROOT}/pipelines/{build.pipeline.slug}/builds/1").json()["jobs"]
    assert [(job.get("parallel_group_index"), job.get("parallel_group_total")) for job in jobs] == [
        (0, 2),
        (1, 2),
        (None, None),
        (None, None),
    ]
    assert [job.get("matrix") for job in jobs] == [None, None, {"os": "a"}, None]
    assert (jobs[3]["state"], jobs[3]["broken_reason"]) == ("broken", "branch_mismatch")


def test_a_retry_names_the_job_that_it_repeats(bench: Any, rest: Rest) -> None:
    """The job that was retried has the id and the kind of its retry, and the new one those of its source."""
    build = bench.build([{"command": "x"}, {"command": "y"}])
    agent = bench.agent()
    bench.run(agent, 1)
    retry = rest.request("PUT", f"{ROOT}/jobs/{build.jobs[0].id}/retry").json()
    path = f"{ROOT}/pipelines/{build.pipeline.slug}/builds/1?include_retried_jobs=true"
    first, second, _ = rest.get(path).json()["jobs"]
    assert (first["retried_in_job_id"], first["retry_type"], first["retry_source"]) == (
        second["id"],
        "manual",
        None,
    )
    assert second["retry_source"] == {"job_id": first["id"], "retry_type": "manual"}
    assert (retry["id"], second["retry_type"], second["retries_count"]) == (second["id"], None, 1)


def test_each_job_of_a_group_names_it(bench: Any, rest: Rest) -> None:
    """Command, wait and block steps of a group have its key, and no other step has."""
    group = {"group": "G", "key": "g", "steps": [{"command": "x"}, "wait", {"block": "go?"}]}
    build = bench.build([group, {"command": "y"}])
    jobs = rest.get(f"{ROOT}/pipelines/{build.pipeline.slug}/builds/1").json()["jobs"]
    assert [job["group_key"] for job in jobs] == ["g", "g", "g", None]


def test_a_job_of_a_canceled_build_is_not_retried(bench: Any, rest: Rest) -> None:
    """The retry of a job of a canceled build is 422 with Buildkite's sentence."""
    build = bench.build([{"command": "x"}])
    bench.engine.cancel_build(build)
    answer = rest.request("PUT", f"{ROOT}/jobs/{build.jobs[0].id}/retry")
    assert (answer.status_code, answer.json()) == (
        422,
        {"message": "Jobs from canceled builds cannot be retried"},
    )
