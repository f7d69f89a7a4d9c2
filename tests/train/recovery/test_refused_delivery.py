"""What the function does not deliver: outdated heads, builds of others, and while Buildkite fails."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from modelbuild.errors import BuildkiteError, VerificationFailed
from modelbuild.train.recovery import ended
from recovery import MODELS, Place, reconciled, wait


def test_function_repeats_nothing_that_was_told(place: Place, request_for: Callable[..., Any]) -> None:
    """Where the head has told its end, Buildkite is not called at all; nor for what is no head."""
    number, artifacts = place.ask(request_for)
    place.put(f"{artifacts}/delivered.json", "{}")
    job_id = place.submit(artifacts, "false")
    wait(lambda: f"{artifacts} ended: nothing to do" in place.said())
    other = place.client("batch").submit_job(
        jobName="other",
        jobQueue="modelbuild-head",
        jobDefinition="modelbuild-head",
        containerOverrides={"command": ["true"]},
    )["jobId"]
    wait(lambda: f"job {other} is no head of a training" in place.said())
    assert number not in place.builds.calls
    assert place.get(f"{artifacts}/result.json") is None
    assert place.ended(job_id).status == "FAILED"


def test_end_of_an_old_head_says_nothing(deaf: Place, request_for: Callable[..., Any]) -> None:
    """A training that has a newer head is not over."""
    number, artifacts = deaf.ask(request_for)
    record = {"job_id": "newer", "queue": "modelbuild-head", "region": "us-east-1"}
    deaf.put(f"{artifacts}/job.json", json.dumps(record))
    old = deaf.ended(deaf.submit(artifacts, "false"))
    assert "job newer is the head" in ended.run(old, 5)
    assert number not in deaf.builds.calls


def test_result_of_the_flow_wins(deaf: Place, request_for: Callable[..., Any]) -> None:
    """A head that died after its flow published has trained a model: the flow's result is delivered."""
    number, artifacts = deaf.ask(request_for)
    deaf.put(f"{artifacts}/result.json", json.dumps({"training/status": "succeeded", "model/image": "i"}))
    head = deaf.ended(deaf.submit(artifacts, "false"))
    ended.run(head, 5)
    assert deaf.builds.fields[number]["training/status"] == "succeeded"
    assert deaf.builds.fields[number]["model/image"] == "i"
    ended.run(head, 5)
    assert deaf.builds.calls.count(number) == 2


def test_function_fails_while_buildkite_is_away_and_loses_nothing(
    deaf: Place, request_for: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """The result is in S3 before Buildkite is told; what failed is repeated by whoever comes next."""
    number, artifacts = deaf.ask(request_for)
    head = deaf.ended(deaf.submit(artifacts, "sh", "-c", "kill -9 $$"))
    deaf.builds.status = 503
    with pytest.raises(BuildkiteError):
        ended.run(head, 0.2)
    assert json.loads(deaf.get(f"{artifacts}/result.json") or "")["training/status"] == "failed"
    assert deaf.get(f"{artifacts}/delivered.json") is None
    deaf.builds.status = 200
    reconciled(capsys)
    assert deaf.builds.fields[number]["training/status"] == "failed"


def test_request_of_another_build_tells_nobody(
    deaf: Place, request_for: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """A request that names another build than its prefix is refused by the function and by reconciliation:
    with access to one prefix, a program cannot have the build of another one unblocked.
    """
    victim, of_victim = deaf.ask(request_for)
    forged = f"{MODELS}/sentiment/{next(deaf.numbers)}"
    deaf.put(f"{forged}/request.json", deaf.get(f"{of_victim}/request.json") or "")
    deaf.put(f"{forged}/result.json", json.dumps({"training/status": "succeeded", "model/image": "mine"}))
    head = deaf.ended(deaf.submit(forged, "false"))
    with pytest.raises(VerificationFailed, match=f"request of another build .its model id is {victim}"):
        ended.run(head, 5)
    line = reconciled(capsys)[forged.rpartition("/")[2]]
    assert line.startswith("skipped: ")
    assert victim not in deaf.builds.calls
    for artifacts in (forged, of_victim):
        deaf.put(f"{artifacts}/delivered.json", "{}")
