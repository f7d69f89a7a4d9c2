"""What the function does not deliver: outdated heads, builds of others, and while Buildkite fails."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from modelbuild.errors import BuildkiteError, VerificationFailed
from modelbuild.train.recovery import ended
from recovery import MODELS, TrainingStack, reconciled
from waiting import wait_until


def test_function_repeats_no_delivery(stack: TrainingStack, request_for: Callable[..., Any]) -> None:
    """Where the head has delivered its result, and for a job that is no head, Buildkite is not called."""
    number, artifacts = stack.write_request(request_for)
    stack.put(f"{artifacts}/delivered.json", "{}")
    job_id = stack.submit(artifacts, "false")
    wait_until(lambda: f"{artifacts} ended: nothing to do" in stack.function_log())
    other = stack.client("batch").submit_job(
        jobName="other",
        jobQueue="modelbuild-head",
        jobDefinition="modelbuild-head",
        containerOverrides={"command": ["true"]},
    )["jobId"]
    wait_until(lambda: f"job {other} is no head of a training" in stack.function_log())
    assert number not in stack.builds.calls
    assert stack.get(f"{artifacts}/result.json") is None
    assert stack.ended(job_id).status == "FAILED"


def test_end_of_an_old_head_delivers_nothing(
    stack_without_rule: TrainingStack, request_for: Callable[..., Any]
) -> None:
    """A training that has a newer head is not over."""
    number, artifacts = stack_without_rule.write_request(request_for)
    record = {"job_id": "newer", "queue": "modelbuild-head", "region": "us-east-1"}
    stack_without_rule.put(f"{artifacts}/job.json", json.dumps(record))
    old = stack_without_rule.ended(stack_without_rule.submit(artifacts, "false"))
    assert "job newer is the head" in ended.run(old, 5)
    assert number not in stack_without_rule.builds.calls


def test_result_of_the_flow_wins(stack_without_rule: TrainingStack, request_for: Callable[..., Any]) -> None:
    """A head that died after its flow published has trained a model: the flow's result is delivered."""
    number, artifacts = stack_without_rule.write_request(request_for)
    stack_without_rule.put(
        f"{artifacts}/result.json", json.dumps({"training/status": "succeeded", "model/image": "i"})
    )
    head = stack_without_rule.ended(stack_without_rule.submit(artifacts, "false"))
    ended.run(head, 5)
    assert stack_without_rule.builds.fields[number]["training/status"] == "succeeded"
    assert stack_without_rule.builds.fields[number]["model/image"] == "i"
    ended.run(head, 5)
    assert stack_without_rule.builds.calls.count(number) == 2


def test_function_fails_while_buildkite_is_away_and_loses_nothing(
    stack_without_rule: TrainingStack, request_for: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """The result is in S3 before Buildkite is called; reconciliation repeats what failed."""
    number, artifacts = stack_without_rule.write_request(request_for)
    head = stack_without_rule.ended(stack_without_rule.submit(artifacts, "sh", "-c", "kill -9 $$"))
    stack_without_rule.builds.status = 503
    with pytest.raises(BuildkiteError):
        ended.run(head, 0.2)
    assert json.loads(stack_without_rule.get(f"{artifacts}/result.json") or "")["training/status"] == "failed"
    assert stack_without_rule.get(f"{artifacts}/delivered.json") is None
    stack_without_rule.builds.status = 200
    reconciled(capsys)
    assert stack_without_rule.builds.fields[number]["training/status"] == "failed"


def test_request_of_another_build_is_refused(
    stack_without_rule: TrainingStack, request_for: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """A request that names another build than its prefix is refused by the function and by reconciliation:
    with access to one prefix, a program cannot have the build of another one unblocked.
    """
    victim, of_victim = stack_without_rule.write_request(request_for)
    forged = f"{MODELS}/sentiment/{next(stack_without_rule.numbers)}"
    stack_without_rule.put(
        f"{forged}/request.json", stack_without_rule.get(f"{of_victim}/request.json") or ""
    )
    stack_without_rule.put(
        f"{forged}/result.json", json.dumps({"training/status": "succeeded", "model/image": "mine"})
    )
    head = stack_without_rule.ended(stack_without_rule.submit(forged, "false"))
    with pytest.raises(VerificationFailed, match=f"request of another build .its model id is {victim}"):
        ended.run(head, 5)
    line = reconciled(capsys)[forged.rpartition("/")[2]]
    assert line.startswith("skipped: ")
    assert victim not in stack_without_rule.builds.calls
    for artifacts in (forged, of_victim):
        stack_without_rule.put(f"{artifacts}/delivered.json", "{}")
