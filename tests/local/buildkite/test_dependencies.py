"""Dependencies over uploads, failed waits and canceled jobs, as Buildkite documents them."""

from __future__ import annotations

from typing import Any

import pytest

from modelbuild_local.buildkite import agents
from modelbuild_local.buildkite.errors import Refused
from modelbuild_local.buildkite.state import Build, Job, Step

CONTINUE = {"wait": None, "continue_on_failure": True}


def command(key: str, **more: object) -> dict[str, object]:
    """A command step."""
    return {"command": "true", "key": key, **more}


def job_of(build: Build, key: str) -> Job:
    """The newest job of a step."""
    step = build.find(key)
    assert isinstance(step, Step)
    return step.job


def upload_by(bench: Any, key: str, steps: list[object]) -> None:
    """The next job, which is of this step, uploads the steps and ends."""
    job = bench.begin(bench.agent())
    assert job is not None
    assert job.step.key == key
    bench.engine.upload(job, key, {"steps": steps})
    agents.finish(bench.engine, job, 0, "", "")


@pytest.mark.parametrize("rest", [["a", "b"], ["b", "a"]])
def test_a_dependency_stands_for_what_it_uploads(bench: Any, rest: list[str]) -> None:
    """If B depends on A, and A uploads C, then B depends on C too, wherever B stands."""
    steps = {"a": command("a"), "b": command("b", depends_on="a")}
    bench.build([steps[key] for key in rest])
    upload_by(bench, "a", [command("c")])
    assert bench.drain(bench.agent()) == ["c", "b"]


def test_a_dependency_stands_for_uploads_of_uploads(bench: Any) -> None:
    """B waits also for D, which C uploads, which A uploads."""
    bench.build([command("b", depends_on="a"), command("a")])
    upload_by(bench, "a", [command("c")])
    upload_by(bench, "c", [command("d")])
    assert bench.drain(bench.agent()) == ["d", "b"]


def test_failed_upload_fails_jobs_that_depend_on_its_uploader(bench: Any) -> None:
    """B does not run when C fails, which A uploaded."""
    build = bench.build([command("a"), command("b", depends_on="a")])
    upload_by(bench, "a", [command("c")])
    assert bench.drain(bench.agent(), {"c": 1}) == ["c"]
    assert job_of(build, "b").state == "broken"


def test_a_dependency_on_a_group_stands_for_what_its_steps_upload(bench: Any) -> None:
    """B depends on a group: it waits for what a step of the group uploads."""
    bench.build([{"group": "G", "key": "g", "steps": [command("a")]}, command("b", depends_on="g")])
    upload_by(bench, "a", [command("c")])
    assert bench.drain(bench.agent()) == ["c", "b"]


def test_a_wait_in_a_group_waits_for_uploads_of_the_group(bench: Any) -> None:
    """Inside a group, a wait waits for what earlier steps of the group upload, a wait among it included."""
    bench.build([{"group": "G", "steps": [command("a"), "wait", command("b")]}, command("other")])
    upload_by(bench, "a", [command("c"), "wait", command("d")])
    ran = bench.drain(bench.agent())
    assert [key for key in ran if key != "other"] == ["c", "d", "b"]


def test_uploaded_wait_does_not_wait_for_its_dependents(bench: Any) -> None:
    """B stands before A and depends on it: a wait that A uploads does not wait for B."""
    bench.build([command("b", depends_on="a"), command("first"), command("a", depends_on="first")])
    assert bench.run(bench.agent()) == "first"
    upload_by(bench, "a", [command("c"), "wait", command("d")])
    assert bench.drain(bench.agent()) == ["c", "d", "b"]


def test_upload_that_depends_on_its_dependents_is_refused(bench: Any) -> None:
    """B depends on A: A may not upload a step that depends on B, and nothing of the upload stays."""
    build = bench.build([command("a"), command("b", depends_on="a")])
    job = bench.begin(bench.agent())
    with pytest.raises(Refused, match="on itself"):
        bench.engine.upload(job, "1", {"steps": [command("c", depends_on="b")]})
    agents.finish(bench.engine, job, 0, "", "")
    assert bench.drain(bench.agent()) == ["b"]
    assert build.state == "passed"


@pytest.mark.parametrize(
    ("steps", "ran"),
    [
        ([command("a"), CONTINUE, command("b"), "wait", command("c")], ["a", "b"]),
        ([command("a"), "wait", command("b"), CONTINUE, command("c")], ["a"]),
        ([command("a"), CONTINUE, command("b"), CONTINUE, command("c")], ["a", "b", "c"]),
        ([command("a"), {"block": "go?"}, command("b"), CONTINUE, command("c")], ["a"]),
        (
            [
                command("a"),
                {"group": "g", "steps": [command("b", depends_on="a"), "wait"]},
                CONTINUE,
                command("c"),
            ],
            ["a", "c"],
        ),
        ([command("a"), "wait", command("b", allow_dependency_failure=True)], ["a"]),
        (
            [command("a"), {"wait": None, "depends_on": "a", "continue_on_failure": True}, command("b")],
            ["a", "b"],
        ),
    ],
)
def test_continue_on_failure_goes_no_further_than_a_wait(
    bench: Any, steps: list[object], ran: list[str]
) -> None:
    """Behind a wait that failed nothing runs, also not behind a later wait with ``continue_on_failure``."""
    build = bench.build(steps)
    assert bench.drain(bench.agent(), {"a": 1}) == ran
    assert build.state == "failed"


@pytest.mark.parametrize(
    "steps",
    [
        [CONTINUE, command("b")],
        [{"wait": None, "depends_on": "a", "continue_on_failure": True}, command("b")],
        [CONTINUE, CONTINUE, command("b")],
        [command("b", depends_on="a", allow_dependency_failure=True)],
        [command("b", depends_on=[{"step": "a", "allow_failure": True}])],
        [command("m", depends_on="a"), command("b", depends_on="m", allow_dependency_failure=True)],
    ],
)
def test_nothing_runs_behind_a_canceled_job(bench: Any, steps: list[object]) -> None:
    """``continue_on_failure`` and ``allow_dependency_failure`` are for failures, not for canceled jobs."""
    build = bench.build([command("a"), *steps, command("side", depends_on=[])])
    job = bench.begin(agent := bench.agent())
    bench.engine.cancel_job(job)
    agents.finish(bench.engine, job, -1, "SIGTERM", "cancel")
    assert bench.drain(agent) == ["side"]
    assert job_of(build, "b").state == "broken"
    assert build.state == "failed"


def test_a_retry_of_a_canceled_job_lets_the_build_go_on(bench: Any) -> None:
    """A canceled job of a build that goes on may be retried by hand, and what stands behind it then runs."""
    build = bench.build([command("a"), CONTINUE, command("b")])
    bench.engine.cancel_job(job_of(build, "a"))
    assert build.state == "failed"
    bench.engine.retry(job_of(build, "a"))
    assert bench.drain(bench.agent()) == ["a", "b"]
    assert build.state == "passed"


def test_jobs_that_want_it_are_canceled_when_the_build_fails(bench: Any) -> None:
    """``cancel_on_build_failing`` stops a job once another has failed; others go on, and the build fails."""
    fast = {"cancel_on_build_failing": True}
    build = bench.build([command("a"), command("b", **fast), command("c"), command("d", **fast), "wait"])
    first, second, third = (bench.begin(bench.agent()) for _ in range(3))
    agents.finish(bench.engine, first, 1, "", "")
    assert [job_of(build, key).state for key in "bcd"] == ["canceling", "running", "canceled"]
    agents.finish(bench.engine, second, -1, "SIGTERM", "cancel")
    assert build.state == "failing"
    agents.finish(bench.engine, third, 0, "", "")
    assert (build.state, second.state) == ("failed", "canceled")


def test_a_job_that_times_out_is_a_failure(bench: Any) -> None:
    """A job that timed out has failed, so that ``continue_on_failure`` goes on behind it."""
    bench.build([command("a", timeout_in_minutes=1), CONTINUE, command("b")])
    agent = bench.agent()
    job = bench.begin(agent)
    bench.clock.passed = agent.seen = 61
    agents.tick(bench.engine)
    agents.finish(bench.engine, job, -1, "SIGTERM", "cancel")
    assert job.state == "timed_out"
    assert bench.drain(agent) == ["b"]


def test_a_job_that_times_out_with_0_has_passed(bench: Any) -> None:
    """A job that times out with an exit status of 0 is marked as passed."""
    build = bench.build([command("a", timeout_in_minutes=1)])
    agent = bench.agent()
    job = bench.begin(agent)
    bench.clock.passed = agent.seen = 61
    agents.tick(bench.engine)
    agents.finish(bench.engine, job, 0, "", "")
    assert (job.state, build.state) == ("finished", "passed")
