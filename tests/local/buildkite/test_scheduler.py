"""Which job runs when, and what state the build is in."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelbuild_local.buildkite import agents
from modelbuild_local.buildkite.agents import LOST_AFTER
from modelbuild_local.buildkite.environment import job_environment
from modelbuild_local.buildkite.errors import Refused
from modelbuild_local.buildkite.pipeline.graph import ancestors, before_barrier
from modelbuild_local.buildkite.scheduling.scheduler import is_over
from modelbuild_local.buildkite.state import Build, Job, Step


def command(key: str, **more: object) -> dict[str, object]:
    """A command step."""
    return {"command": "true", "key": key, **more}


def states(build: Build) -> dict[str, str]:
    """The state of the newest job by the key, or else the type, of its step."""
    return {step.key or step.definition.type: step.job.state for step in build.steps}


def job_of(build: Build, key: str) -> Job:
    """The newest job of a step."""
    step = build.find(key)
    assert isinstance(step, Step)
    return step.job


def test_steps_without_dependencies_run_side_by_side(bench: Any) -> None:
    """Two agents work on two independent steps at the same time."""
    build = bench.build([command("a"), command("b")])
    started = [bench.begin(bench.agent()), bench.begin(bench.agent())]
    assert [job.step.key for job in started if job] == ["a", "b"]
    assert build.state == "running"


def test_a_wait_step_waits_for_everything_before_it(bench: Any) -> None:
    """Behind a wait step nothing starts until all before it has passed."""
    build = bench.build([command("a"), command("b"), "wait", command("c")])
    agent = bench.agent()
    assert bench.run(agent) == "a"
    assert states(build)["c"] == "waiting"
    assert bench.drain(agent) == ["b", "c"]
    assert build.state == "passed"


def test_depends_on_ignores_wait_steps(bench: Any) -> None:
    """A step with ``depends_on`` waits for what it names, and for no wait step before it."""
    bench.build([command("a"), command("slow"), "wait", command("c", depends_on="a"), command("d")])
    assert bench.drain(bench.agent(), {"slow": 1}) == ["a", "slow", "c"]


def test_a_group_stands_for_its_members(bench: Any) -> None:
    """A step that depends on a group waits for all its steps; all steps of a group wait for what the group
    depends on.
    """
    bench.build(
        [
            command("last", depends_on="g"),
            {"group": "G", "key": "g", "depends_on": "first", "steps": [command("x"), "wait", command("y")]},
            command("first"),
        ]
    )
    assert bench.drain(bench.agent()) == ["first", "x", "y", "last"]


def test_a_hard_failure_stops_what_depends_on_it(bench: Any) -> None:
    """After a failure its dependents never run, a block does not open, and the build fails at its end."""
    build = bench.build([command("a"), command("b"), {"block": "go?", "key": "go"}, command("c")])
    agent = bench.agent()
    bench.run(agent, 1)
    assert build.state == "failing"
    assert states(build)["go"] == "waiting_failed"
    assert bench.drain(agent) == ["b"]
    assert build.state == "failed"
    assert not build.blocked
    assert states(build) == {"a": "finished", "b": "finished", "go": "broken", "c": "broken"}


@pytest.mark.parametrize("rule", [True, [{"exit_status": 3}], [{"exit_status": "*"}]])
def test_a_soft_failure_stops_nothing(bench: Any, rule: object) -> None:
    """A step that may fail softly lets the build go on and pass."""
    build = bench.build([command("a", soft_fail=rule), "wait", command("b")])
    assert bench.drain(bench.agent(), {"a": 3}) == ["a", "b"]
    assert build.state == "passed"
    assert job_of(build, "a").soft_failed


def test_a_soft_failure_rule_is_for_its_exit_status_alone(bench: Any) -> None:
    """An exit status that no rule names is a hard failure."""
    build = bench.build([command("a", soft_fail=[{"exit_status": 3}]), "wait", command("b")])
    assert bench.drain(bench.agent(), {"a": 4}) == ["a"]
    assert build.state == "failed"


@pytest.mark.parametrize(
    "cleanup",
    [
        command("cleanup", depends_on=[{"step": "b", "allow_failure": True}]),
        command("cleanup", depends_on="b", allow_dependency_failure=True),
    ],
)
def test_a_failure_can_be_allowed(bench: Any, cleanup: dict[str, object]) -> None:
    """A step runs after a failure that it allows, also one further up; the build fails all the same."""
    build = bench.build([command("a"), command("b", depends_on="a"), cleanup])
    assert bench.drain(bench.agent(), {"a": 1}) == ["a", "cleanup"]
    assert build.state == "failed"


def test_a_wait_step_can_continue_on_failure(bench: Any) -> None:
    """Behind ``continue_on_failure`` steps run whatever happened; the build fails all the same."""
    build = bench.build([command("a"), {"wait": None, "continue_on_failure": True}, command("b")])
    assert bench.drain(bench.agent(), {"a": 1}) == ["a", "b"]
    assert build.state == "failed"


@pytest.mark.parametrize("message", ["passed", "failed", "running"])
def test_a_blocked_build_is_in_the_state_the_step_says(bench: Any, message: str) -> None:
    """While it waits for a person the build is blocked, in the state that ``blocked_state`` says."""
    build = bench.build([command("a"), {"block": "go?", "blocked_state": message}, command("b")])
    agent = bench.agent()
    assert bench.drain(agent) == ["a"]
    assert (build.state, build.blocked) == (message, True)
    bench.engine.unblock(job_of(build, build.steps[1].id), {}, bench.engine.user)
    assert bench.drain(agent) == ["b"]
    assert (build.state, build.blocked) == ("passed", False)


def test_an_open_block_survives_a_failure_elsewhere(bench: Any) -> None:
    """A block that is open stays open when another step fails, and what depends on it alone still runs."""
    build = bench.build(
        [
            command("a", depends_on=[]),
            {"block": "go?", "key": "go", "depends_on": []},
            command("b", depends_on="go"),
        ]
    )
    agent = bench.agent()
    bench.run(agent, 1)
    assert (build.state, build.blocked) == ("failed", True)
    bench.engine.unblock(job_of(build, "go"), {}, bench.engine.user)
    assert bench.drain(agent) == ["b"]
    assert (build.state, build.blocked) == ("failed", False)


def test_input_step_delays_no_other_step(bench: Any) -> None:
    """Steps after an input step do not wait for it, unless they name it."""
    bench.build([{"input": "who?", "key": "who"}, command("a"), command("b", depends_on="who")])
    assert bench.drain(bench.agent()) == ["a"]


def test_uploaded_steps_stand_behind_their_uploader(bench: Any) -> None:
    """Uploaded steps wait for the job that uploaded them, and a wait step behind it waits for them too."""
    build = bench.build([command("up"), "wait", command("last")])
    agent = bench.agent()
    job = bench.begin(agent)
    assert job is not None
    bench.engine.upload(job, "1", {"steps": [command("x"), "wait", command("y")]})
    bench.engine.upload(job, "1", {"steps": [command("x"), "wait", command("y")]})
    assert agents.ping(bench.engine, bench.agent()) is None
    agents.finish(bench.engine, job, 0, "", "")
    assert bench.drain(agent) == ["x", "y", "last"]
    assert [step.key for step in build.steps] == ["up", "x", None, "y", None, "last"]


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([command("x", depends_on="nobody")], "depends on 'nobody', which is not a step"),
        ([command("up")], "the key 'up' has already been used"),
        ([command("x", depends_on="y"), command("y", depends_on="x")], "on itself"),
        ([command("x", depends_on="last")], "on itself"),
    ],
)
def test_steps_that_could_never_run_are_refused(bench: Any, steps: list[object], message: str) -> None:
    """Unknown dependencies, keys that are taken and circles are refused, and nothing of the upload stays."""
    build = bench.build([command("up"), "wait", command("last")])
    job = bench.begin(bench.agent())
    assert job is not None
    with pytest.raises(Refused, match=message):
        bench.engine.upload(job, "1", {"steps": steps})
    assert [step.key for step in build.steps] == ["up", None, "last"]


def test_automatic_retries_end_at_their_limit(bench: Any) -> None:
    """A job whose exit status a rule names is retried up to the rule's limit; dependents wait meanwhile."""
    rule = {"automatic": [{"exit_status": 7, "limit": 2}]}
    build = bench.build([command("a", retry=rule), "wait", command("b")])
    agent = bench.agent()
    assert [bench.run(agent, 7) for _ in range(3)] == ["a", "a", "a"]
    assert build.state == "failed"
    assert [job.retried_in is not None for job in build.jobs if job.step.key == "a"] == [True, True, False]
    bench.engine.retry(job_of(build, "a"))
    assert bench.drain(agent) == ["a", "b"]
    assert build.state == "passed"


def test_other_exit_statuses_are_not_retried(bench: Any) -> None:
    """A job whose exit status no rule names is not retried."""
    bench.build([command("a", retry={"automatic": [{"exit_status": 7}]})])
    assert bench.drain(bench.agent(), {"a": 8}) == ["a"]


def test_canceling_stops_jobs_and_opens_nothing(bench: Any) -> None:
    """A canceled build cancels its running job, drops the others, and can no longer be unblocked."""
    build = bench.build([command("a"), {"block": "go?", "key": "go", "depends_on": []}, command("b")])
    job = bench.begin(bench.agent())
    assert job is not None
    bench.engine.cancel_build(build)
    assert (job.state, build.state) == ("canceling", "canceling")
    with pytest.raises(Refused, match="canceled"):
        bench.engine.unblock(job_of(build, "go"), {}, bench.engine.user)
    agents.finish(bench.engine, job, -1, "SIGTERM", "cancel")
    assert build.state == "canceled"
    assert states(build) == {"a": "canceled", "go": "canceled", "b": "canceled"}


def test_a_job_that_runs_too_long_is_stopped(bench: Any) -> None:
    """After ``timeout_in_minutes`` the job's state makes the agent stop it, and the step has failed."""
    build = bench.build([command("a", timeout_in_minutes=2)])
    job = bench.begin(bench.agent())
    assert job is not None
    bench.clock.passed += 119
    job.agent.seen = bench.clock.passed if job.agent else 0
    agents.tick(bench.engine)
    assert job.state == "running"
    bench.clock.passed += 2
    agents.tick(bench.engine)
    assert job.state == "timing_out"
    agents.finish(bench.engine, job, -1, "SIGTERM", "cancel")
    assert (job.state, build.state) == ("timed_out", "failed")


def test_the_job_of_a_silent_agent_has_failed(bench: Any) -> None:
    """An agent that is silent for too long is lost, and so is its job."""
    build = bench.build([command("a")])
    agent = bench.agent()
    job = bench.begin(agent)
    assert job is not None
    bench.clock.passed += LOST_AFTER + 1
    agents.tick(bench.engine)
    assert (agent.connection_state, job.exit_status, job.signal_reason) == ("lost", -1, "agent_stop")
    assert build.state == "failed"


def test_agents_take_jobs_of_their_queue(bench: Any) -> None:
    """A step goes to an agent with its queue; without one, to the queue ``default``."""
    bench.build([command("gpu", agents={"queue": "gpu"}), command("any")])
    assert bench.drain(bench.agent("queue=gpu")) == ["gpu"]
    assert bench.drain(bench.agent("queue=default")) == ["any"]


def test_a_concurrency_group_limits_over_builds(bench: Any) -> None:
    """No more jobs of a concurrency group run at once than it allows, whatever build they are in."""
    step = command("deploy", concurrency=1, concurrency_group="deploy")
    bench.build([step])
    bench.build([step])
    first = bench.begin(bench.agent())
    assert first is not None
    assert bench.begin(other := bench.agent()) is None
    agents.finish(bench.engine, first, 0, "", "")
    assert bench.run(other) == "deploy"


def test_a_job_is_accepted_by_its_own_agent_alone(bench: Any) -> None:
    """A job may only be accepted by the agent it was given to."""
    bench.build([command("a")])
    job = agents.ping(bench.engine, bench.agent())
    assert job is not None
    with pytest.raises(Refused, match="not assigned"):
        agents.accept(bench.agent(), job)


def test_each_place_that_sets_a_variable_overrides_the_places_before(bench: Any) -> None:
    """Each of these wins over those before: the pipeline, the ``env`` of its own steps, the build, the
    ``env`` of an uploaded pipeline, the step.
    """
    names = ["settings", "editor", "build", "upload", "step"]
    values = {place: dict.fromkeys(names[number:], place) for number, place in enumerate(names)}
    editor = json.dumps({"env": values["editor"], "steps": [command("up")]})
    pipeline = bench.engine.create_pipeline("p", "/repository", editor, env=values["settings"])
    bench.engine.create_build(pipeline, commit="HEAD", branch="main", env=values["build"])
    agent = bench.agent()
    job = bench.begin(agent)
    step = command("x", env=values["step"])
    bench.engine.upload(job, "1", {"env": values["upload"], "steps": [step]})
    agents.finish(bench.engine, job, 0, "", "")
    job = bench.begin(agent)
    env = job_environment(job, job.step.definition, agent, "local", "http://page")
    assert {name: env[name] for name in names} == {name: name for name in names}


def test_nothing_is_waited_for_through_a_step_that_is_left_out(bench: Any) -> None:
    """A step that is left out waits for nothing, and what depends on it begins at once, also when a step that
    it names is canceled.
    """
    steps = [command("a"), command("b", depends_on="a", skip=True), command("c", depends_on="b")]
    build = bench.build(steps)
    agent = bench.agent()
    job = bench.begin(agent)
    bench.engine.cancel_job(job)
    agents.finish(bench.engine, job, 1, "", "")
    assert bench.run(agent) == "c"
    assert states(build) == {"a": "canceled", "b": "broken", "c": "finished"}
    assert [step.key for step in ancestors(build, build.steps[2])] == ["b"]


@st.composite
def pipelines(draw: st.DrawFn) -> list[object]:
    """Pipelines of every kind of step, with dependencies on earlier steps."""
    steps: list[object] = []
    for number in range(draw(st.integers(1, 9))):
        key = f"s{number}"
        earlier = st.sampled_from([f"s{other}" for other in range(number)]) if number else st.nothing()
        edges = st.lists(st.fixed_dictionaries({"step": earlier, "allow_failure": st.booleans()}), max_size=3)
        step: dict[str, object] = {"key": key}
        kind = draw(st.sampled_from(["command", "command", "command", "wait", "block", "input"]))
        step[kind] = "true" if kind == "command" else key
        if number and draw(st.booleans()):
            step["depends_on"] = draw(edges)
        if kind == "command" and draw(st.booleans()):
            step["retry"] = {"automatic": {"exit_status": 1, "limit": 1}}
        if kind == "command":
            step["soft_fail"] = draw(st.booleans())
            step["parallelism"] = draw(st.integers(1, 2))
        if kind == "wait":
            step["continue_on_failure"] = draw(st.booleans())
        step["skip"] = draw(st.integers(0, 5)) == 0
        steps.append(step)
    return steps


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=pipelines(), choices=st.data())
def test_no_pipeline_hangs_or_runs_ahead(
    make_bench: Callable[[], Any], steps: list[object], choices: st.DataObject
) -> None:
    """Whatever fails, is uploaded or canceled, a build comes to its end and no job starts before its turn."""
    bench = make_bench()
    build = bench.build(steps)
    runners = [bench.agent(), bench.agent()]
    running: list[Job] = []
    uploads = iter(choices.draw(st.lists(pipelines(), max_size=2)))
    for _ in range(200):
        for agent in runners:
            job = bench.begin(agent)
            if job is not None:
                running.append(job)
                assert_its_turn(build, job.step)
        blocked = [step.job for step in build.steps if step.job.state == "blocked"]
        if blocked:
            assert_its_turn(build, blocked[0].step)
            bench.engine.unblock(blocked[0], {}, bench.engine.user)
        elif running:
            job = running.pop(choices.draw(st.integers(0, len(running) - 1)))
            act = choices.draw(st.sampled_from(["finish", "finish", "finish", "upload", "cancel"]))
            if act == "cancel":
                bench.engine.cancel_job(job)
            elif act == "upload" and (steps := next(uploads, [])):
                bench.engine.upload(job, job.id, {"steps": renamed(steps, f"-{job.id[:8]}")})
            agents.finish(bench.engine, job, choices.draw(st.sampled_from([0, 0, 1, 2])), "", "")
        else:
            break
    assert is_over(build), states(build)
    if all(step.omitted for step in build.steps if step.definition.type != "wait"):
        assert build.state in ("not_run", "passed")
    else:
        failed = any(step.job.failed for step in build.steps)
        assert build.state == ("failed" if failed else "passed")


def renamed(steps: list[Any], suffix: str) -> list[object]:
    """The same steps under keys of their own."""
    text = json.dumps(steps)
    return list(json.loads(re.sub(r'"(s\d)"', rf'"\1{suffix}"', text)))


def assert_its_turn(build: Build, step: Step) -> None:
    """What ``step`` waits for has passed, or ended in a failure that it allows; nothing of it is canceled."""
    for edge in step.edges:
        for job in [target.job for target in edge.targets]:
            assert job.passed or (
                edge.allow_failure and (job.failed or job.state in ("waiting_failed", "broken"))
            )
    if step.position.is_barrier:
        assert all(other.job.passed for other in before_barrier(build.steps, step))
    assert not any(other.job.state == "canceled" for other in ancestors(build, step))
