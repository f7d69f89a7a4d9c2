"""Automatic and manual retries, as Buildkite documents them."""

from __future__ import annotations

from typing import Any

import pytest

from modelbuild_local.buildkite import agents
from modelbuild_local.buildkite.errors import Refused
from modelbuild_local.buildkite.pipeline.attributes.retry import Retry

End = tuple[int, str, str]


def attempts(bench: Any, retry: object, ends: list[End]) -> int:
    """How many jobs a step has, of which each ends in the next of these ways."""
    build = bench.build([{"command": "x", "retry": retry}])
    agent = bench.agent()
    for exit_status, signal, reason in ends:
        job = bench.begin(agent)
        if job is None:
            break
        agents.finish(bench.engine, job, exit_status, signal, reason)
    return len(build.jobs)


def test_rules_count_each_for_itself(bench: Any) -> None:
    """Each retry rule tracks its own count: a rule's retries do not use up those of another."""
    rules = [{"exit_status": 1, "limit": 1}, {"exit_status": 2, "limit": 2}]
    ends = [(2, "", ""), (1, "", ""), (2, "", ""), (2, "", ""), (0, "", "")]
    assert attempts(bench, {"automatic": rules}, ends) == 4


def test_the_first_rule_that_fits_decides(bench: Any) -> None:
    """When the first rule that matches has no retries left, no later rule is asked."""
    rules = [{"exit_status": 3, "limit": 0}, {"exit_status": "*", "limit": 4}]
    assert attempts(bench, {"automatic": rules}, [(3, "", "")] * 3) == 1
    assert attempts(bench, {"automatic": rules}, [(4, "", ""), (3, "", ""), (3, "", "")]) == 2


@pytest.mark.parametrize(
    ("rule", "end", "retried"),
    [
        (True, (1, "", ""), True),
        ("true", (1, "", ""), True),
        (False, (1, "", ""), False),
        (None, (1, "", ""), False),
        ({}, (255, "", ""), True),
        ({"exit_status": "*"}, (-1, "", "agent_stop"), False),
        ({"exit_status": -1}, (-1, "", "agent_stop"), True),
        ({"exit_status": [1, 5, 42]}, (5, "", ""), True),
        ({"exit_status": [1, 5, 42]}, (6, "", ""), False),
        ({"exit_status": ["*"]}, (6, "", ""), True),
        ({"signal": "none"}, (1, "", ""), True),
        ({"signal": "none"}, (137, "SIGKILL", ""), False),
        ({"signal": "*"}, (137, "SIGKILL", ""), True),
        ({"signal": "kill"}, (137, "SIGKILL", ""), True),
        ({"signal": "SIGKILL"}, (137, "KILL", ""), True),
        ({"signal": ["int", "SigTerm"]}, (143, "SIGTERM", ""), True),
        ({"signal": ["int", "none"]}, (143, "SIGTERM", ""), False),
        ({"signal_reason": "none"}, (1, "", ""), True),
        ({"signal_reason": "none"}, (-1, "", "agent_stop"), False),
        ({"signal_reason": "agent_stop"}, (-1, "", "agent_stop"), True),
        ({"signal_reason": ["stack_error", "agent_stop"]}, (-1, "", "agent_stop"), True),
        ({"signal_reason": "agent_stop", "exit_status": 7}, (-1, "", "agent_stop"), False),
        ({"limit": 0}, (1, "", ""), False),
    ],
)
def test_a_rule_fits_when_all_it_names_does(bench: Any, rule: object, end: End, retried: bool) -> None:
    """Exit statuses, signals and reasons may be lists; ``none`` is their absence, ``*`` is 1 to 255."""
    assert attempts(bench, {"automatic": rule}, [end]) == (2 if retried else 1)


@pytest.mark.parametrize(
    "rule", [{"limit": 11}, {"limit": -1}, {"signal_reason": "cancle"}, {"exit_status": "all"}, {"times": 3}]
)
def test_a_wrong_rule_is_refused(rule: object) -> None:
    """A limit over 10, a reason that does not exist and an unknown attribute are refused."""
    with pytest.raises(ValueError, match="validation error"):
        Retry.model_validate({"automatic": rule})


def test_a_canceled_job_is_not_retried_by_a_rule(bench: Any) -> None:
    """Automatic retries never run for canceled jobs; a job that timed out matches the reason ``cancel``."""
    build = bench.build([{"command": "x", "timeout_in_minutes": 1, "retry": {"automatic": True}}])
    agent = bench.agent()
    job = bench.begin(agent)
    bench.engine.cancel_job(job)
    agents.finish(bench.engine, job, 143, "SIGTERM", "cancel")
    assert len(build.jobs) == 1
    bench.engine.retry(job)
    job = bench.begin(agent)
    bench.clock.passed = agent.seen = 61
    agents.tick(bench.engine)
    agents.finish(bench.engine, job, 143, "SIGTERM", "cancel")
    assert (job.state, len(build.jobs)) == ("timed_out", 3)


@pytest.mark.parametrize("ended", [True, False])
def test_a_job_of_a_canceled_build_is_not_retried_by_hand(bench: Any, ended: bool) -> None:
    """Jobs from canceled builds cannot be retried, whether they failed before it or were canceled with it."""
    build = bench.build([{"command": "x", "key": "a"}, {"command": "y", "key": "b"}])
    if ended:
        bench.run(bench.agent(), 1)
    bench.engine.cancel_build(build)
    with pytest.raises(Refused, match="Jobs from canceled builds cannot be retried") as refused:
        bench.engine.retry(build.jobs[0])
    assert (refused.value.status, build.state, len(build.jobs)) == (422, "canceled", 2)


@pytest.mark.parametrize(
    ("manual", "exit_status", "status", "message"),
    [
        (None, 0, 400, "Only failed, timed out or canceled jobs"),
        ({"permit_on_passed": True}, 0, None, ""),
        (False, 1, 422, "not allowed"),
        ("false", 1, 422, "not allowed"),
        ({"allowed": False, "reason": "A deployment happens once"}, 1, 422, "happens once"),
        (True, 1, None, ""),
    ],
)
def test_the_step_says_what_people_may_retry(
    bench: Any, manual: object, exit_status: int, status: int | None, message: str
) -> None:
    """``retry.manual`` decides for what failed, and with ``permit_on_passed`` for what passed."""
    build = bench.build([{"command": "x", "retry": {"manual": manual}}])
    bench.run(bench.agent(), exit_status)
    if status is None:
        assert bench.engine.retry(build.jobs[0]).state == "scheduled"
        return
    with pytest.raises(Refused, match=message) as refused:
        bench.engine.retry(build.jobs[0])
    assert refused.value.status == status


def test_a_job_is_retried_once(bench: Any) -> None:
    """To retry a second time, the new job is retried."""
    build = bench.build([{"command": "x"}])
    bench.run(bench.agent(), 1)
    first = build.jobs[0]
    bench.engine.retry(first)
    with pytest.raises(Refused, match="already been retried"):
        bench.engine.retry(first)
