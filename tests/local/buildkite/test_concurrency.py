"""Concurrency groups, as Buildkite documents them."""

from __future__ import annotations

from typing import Any

from modelbuild_local.buildkite import agents
from modelbuild_local.buildkite.api.views import job_state


def step(key: str, **more: object) -> dict[str, object]:
    """A command step of the group ``g``, of which one job runs at a time."""
    return {"command": "x", "key": key, "concurrency": 1, "concurrency_group": "g", **more}


def test_jobs_run_in_the_order_they_were_created(bench: Any) -> None:
    """A job that waits for others keeps its place before jobs that were created later and could run."""
    bench.build([{"command": "x", "key": "test"}, step("first", depends_on="test")])
    bench.clock.passed += 1
    bench.build([step("second")])
    assert bench.drain(bench.agent()) == ["test", "first", "second"]


def test_a_gate_lets_one_build_through_at_a_time(bench: Any) -> None:
    """Between two steps of one group, the second of which closes the gate, only one build works."""
    gate = [step("open"), "wait", {"command": "x", "key": "work"}, "wait", step("close")]
    first = bench.build(gate)
    bench.clock.passed += 1
    second = bench.build(gate)
    one, other = bench.agent(), bench.agent()
    bench.run(one)
    job = bench.begin(one)
    assert (job.build, job.step.key) == (first, "work")
    assert bench.begin(other) is None
    agents.finish(bench.engine, job, 0, "", "")
    assert bench.drain(other) == ["close", "open", "work", "close"]
    assert (first.state, second.state) == ("passed", "passed")


def test_an_eager_job_overtakes(bench: Any) -> None:
    """With ``concurrency_method: eager`` a job starts as soon as a place is free."""
    bench.build([{"command": "x", "key": "test"}, step("first", depends_on="test")])
    bench.clock.passed += 1
    bench.build([step("second", concurrency_method="eager", priority=1)])
    assert bench.drain(bench.agent()) == ["second", "test", "first"]


def test_job_behind_a_closed_block_is_not_queued(bench: Any) -> None:
    """A job is not in the queue of its group before the block or input step before it is opened."""
    build = bench.build([{"block": "go?"}, step("first")])
    bench.clock.passed += 1
    bench.build([step("second")])
    assert bench.drain(bench.agent()) == ["second"]
    bench.engine.unblock(build.jobs[0], {}, bench.engine.user)
    assert bench.drain(bench.agent()) == ["first"]


def test_job_does_not_wait_for_its_dependents(bench: Any) -> None:
    """A job that was created earlier, but depends on this one, does not hold it up."""
    bench.build([step("first", depends_on="second"), step("second")])
    assert bench.drain(bench.agent()) == ["second", "first"]


def test_job_that_will_not_run_is_not_queued(bench: Any) -> None:
    """A job whose dependency failed, or that is left out of its build, is not in the queue."""
    bench.build(
        [{"command": "x", "key": "test"}, step("first", depends_on="test"), {"block": "b", "depends_on": []}]
    )
    bench.build([step("out", skip=True)])
    bench.clock.passed += 1
    bench.build([step("second")])
    assert bench.drain(bench.agent(), {"test": 1}) == ["test", "second"]


def test_a_job_without_a_place_in_its_group_is_limited(bench: Any) -> None:
    """The state is ``limited`` while the jobs ahead take the places, and ``scheduled`` from then on."""
    first = bench.build([step("first")])
    bench.clock.passed += 1
    second = bench.build([step("second"), {"command": "x", "key": "other"}])

    def states() -> list[str]:
        return [job_state(job) for build in (first, second) for job in build.jobs]

    assert states() == ["scheduled", "limited", "scheduled"]
    job = bench.begin(bench.agent())
    assert states() == ["running", "limited", "scheduled"]
    agents.finish(bench.engine, job, 0, "", "")
    assert states() == ["passed", "scheduled", "scheduled"]
    bench.engine.cancel_build(second)
    assert states() == ["passed", "canceled", "canceled"]
