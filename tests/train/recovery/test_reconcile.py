"""modelbuild reconcile: what the function did not deliver."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from typing import Any

import pytest

import samples
import sweeps
from modelbuild.aws.batch.jobs import Batch
from modelbuild.aws.identity import session
from modelbuild.aws.storage import Storage
from modelbuild.buildkite.access import ApiAccess
from modelbuild.contract import unsuccessful
from modelbuild.errors import BuildkiteError
from modelbuild.settings import AwsSettings
from modelbuild.store.model import ModelStore
from modelbuild.train.attempts import delivery
from modelbuild.train.attempts.attempt import Attempts
from modelbuild.train.recovery import reconcile
from recovery import MODELS, TrainingStack, reconciled
from waiting import wait_until


def test_reconciliation_finishes_what_is_over_and_nothing_else(
    stack_without_rule: TrainingStack,
    request_for: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One line for each training that is open: ended, running, vanished, unrecorded, never submitted."""
    died, of_died = stack_without_rule.write_request(request_for)
    record = {"queue": "modelbuild-head", "region": "us-east-1"}
    head = stack_without_rule.ended(stack_without_rule.submit(of_died, "sh", "-c", "kill -9 $$"))
    stack_without_rule.put(f"{of_died}/job.json", json.dumps({"job_id": head.id, **record}))
    runs, of_runs = stack_without_rule.write_request(request_for)
    running = stack_without_rule.submit(of_runs, "sleep", "600")
    wait_until(lambda: stack_without_rule.described(running)["status"] == "RUNNING")
    vanished, of_vanished = stack_without_rule.write_request(request_for)
    stack_without_rule.put(f"{of_vanished}/job.json", json.dumps({"job_id": "0000-gone", **record}))
    unasked, of_unasked = stack_without_rule.write_request(request_for)
    failed_before, of_failed_before = stack_without_rule.write_request(request_for)
    stack_without_rule.builds.states[failed_before] = "waiting"

    lines = reconciled(capsys)
    assert re.match(r"unblocked step .* with status failed \(the head died", lines[str(died)])
    assert lines[str(runs)] == f"job {running} is RUNNING: nothing to do"
    for number in (vanished, unasked, failed_before):
        assert "not submitted yet" in lines[str(number)]
    assert not {runs, vanished, unasked, failed_before} & stack_without_rule.builds.fields.keys()

    monkeypatch.setattr(reconcile, "YOUNG_SECONDS", 0.0)
    lines = reconciled(capsys)
    assert str(died) not in lines
    assert "Batch does not know job 0000-gone any more" in lines[str(vanished)]
    assert stack_without_rule.builds.fields[vanished]["training/status"] == "failed"
    assert "no job was submitted" in stack_without_rule.builds.fields[unasked]["training/reason"]
    assert lines[str(failed_before)] == "never submitted, and no build waits for it: skipped"
    assert stack_without_rule.get(f"{of_failed_before}/result.json") is None
    assert stack_without_rule.get(f"{of_unasked}/delivered.json") is not None
    stack_without_rule.client("batch").terminate_job(jobId=running, reason="test is over")
    stack_without_rule.ended(running)
    assert "with status cancelled (" in reconciled(capsys)[str(runs)]
    stack_without_rule.put(f"{of_failed_before}/delivered.json", "{}")


def test_reconciliation_leaves_candidates_to_their_sweep(
    stack_without_rule: TrainingStack,
    request_for: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A candidate has a request and no head: while its sweep trains, its files end no training."""
    monkeypatch.setattr(reconcile, "YOUNG_SECONDS", 0.0)
    number, artifacts = stack_without_rule.write_request(request_for)
    running = stack_without_rule.submit(artifacts, "sleep", "600")
    wait_until(lambda: stack_without_rule.described(running)["status"] == "RUNNING")
    parameters = {"model": {"buckets": 4096, "ngrams": 2}}
    build = samples.build(number)
    sweep = sweeps.request_of(
        request_for(artifacts, model_id=str(number), build=build, parameters=parameters)
    )
    candidate = sweep.candidate(3, {"model.buckets": 2048})
    stack_without_rule.put(f"{candidate.artifacts}/candidate.json", candidate.to_json())

    assert reconciled(capsys) == {str(number): f"job {running} is RUNNING: nothing to do"}
    assert number not in stack_without_rule.builds.fields
    assert stack_without_rule.get(f"{candidate.artifacts}/result.json") is None
    stack_without_rule.client("batch").terminate_job(jobId=running, reason="test is over")
    stack_without_rule.ended(running)
    assert "with status cancelled (" in reconciled(capsys)[str(number)]
    assert reconciled(capsys) == {}


def test_reconciliation_continues_after_a_failed_delivery(
    stack_without_rule: TrainingStack, request_for: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Every training has its turn, and the command fails when one was left."""
    first, of_first = stack_without_rule.write_request(request_for)
    second, of_second = stack_without_rule.write_request(request_for)
    for artifacts in (of_first, of_second):
        stack_without_rule.put(f"{artifacts}/result.json", json.dumps({"training/status": "cancelled"}))
    stack_without_rule.builds.status = 401
    with pytest.raises(BuildkiteError, match="2 of 2 trainings"):
        reconcile.run(MODELS, "modelbuild-head", "modelbuild/buildkite", os.environ)
    assert capsys.readouterr().out.count("not delivered: ") == 2
    stack_without_rule.builds.status = 200
    assert set(reconciled(capsys)) == {str(first), str(second)}
    assert reconciled(capsys) == {}


@pytest.mark.parametrize(
    ("token", "message"),
    [
        ("a-token with-a-space", "BUILDKITE_API_TOKEN cannot be sent"),
        ("fine-token", "a defect of modelbuild: KeyError"),
    ],
)
def test_reconciliation_reports_why_a_delivery_failed_without_secrets(
    stack_without_rule: TrainingStack,
    request_for: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    token: str,
    message: str,
) -> None:
    """An unusable token, or a defect, is a line for each training: none keeps the others from theirs."""
    for artifacts in (
        stack_without_rule.write_request(request_for)[1],
        stack_without_rule.write_request(request_for)[1],
    ):
        stack_without_rule.put(f"{artifacts}/result.json", json.dumps({"training/status": "cancelled"}))
    with monkeypatch.context() as broken:
        broken.setenv("BUILDKITE_API_TOKEN", token)
        if token == "fine-token":
            broken.setattr(delivery, "deliver_result", lambda *_: os.environ["NOT_SET"])
        with pytest.raises(BuildkiteError, match="2 of 2 trainings"):
            reconcile.run(MODELS, "modelbuild-head", "modelbuild/buildkite", os.environ)
    printed = capsys.readouterr()
    assert printed.out.count(f"not delivered: {message}") == 2
    for part in token.split():
        assert part not in printed.out + printed.err
    assert len(reconciled(capsys)) == 2


def test_reconciliation_ends_a_head_that_waits_for_too_long(
    stack_without_rule: TrainingStack, request_for: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """What the function does each minute, reconciliation does as well, and unblocks the build itself; of a
    head that has a newer one, the end is no result.
    """
    number, artifacts = stack_without_rule.write_request(request_for)
    job_id = stack_without_rule.submit(artifacts, "true", VCPU="9", SCHEDULE_TIMEOUT="1")
    stack_without_rule.put(
        f"{artifacts}/job.json", json.dumps({"job_id": job_id, "queue": "q", "region": "r"})
    )
    old, of_old = stack_without_rule.write_request(request_for)
    given_up = stack_without_rule.submit(of_old, "true", VCPU="9", SCHEDULE_TIMEOUT="1")
    stack_without_rule.put(f"{of_old}/job.json", json.dumps({"job_id": "newer", "queue": "q", "region": "r"}))
    stack_without_rule.wait_in_queue(given_up)
    assert re.search(r"status failed \(the head waited .*MISCONFIGURATION", reconciled(capsys)[str(number)])
    assert stack_without_rule.ended(job_id).stopped
    stack_without_rule.run_schedule_rule()
    assert stack_without_rule.ended(given_up).status == "FAILED"
    assert stack_without_rule.get(f"{of_old}/result.json") is None
    assert old not in stack_without_rule.builds.calls
    stack_without_rule.put(f"{of_old}/delivered.json", "{}")


def test_reconciliation_drops_deleted_builds(
    stack_without_rule: TrainingStack,
    request_for: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A build that was deleted is written down as one that waits for nothing, with a line, and comes no more.
    Where not even its pipeline is in sight, nothing is written down.
    """
    monkeypatch.setattr(reconcile, "YOUNG_SECONDS", 0.0)
    over, of_over = stack_without_rule.write_request(request_for)
    stack_without_rule.put(f"{of_over}/result.json", json.dumps({"training/status": "cancelled"}))
    unasked, of_unasked = stack_without_rule.write_request(request_for)
    stack_without_rule.builds.deleted |= {over, unasked}
    stack_without_rule.builds.pipeline = False
    with pytest.raises(BuildkiteError, match="2 of 2 trainings"):
        reconciled(capsys)
    assert stack_without_rule.get(f"{of_unasked}/result.json") is None
    stack_without_rule.builds.pipeline = True
    lines = reconciled(capsys)
    assert set(lines) == {str(over), str(unasked)}
    assert all("is gone, the build was deleted: nothing to do" in line for line in lines.values())
    assert stack_without_rule.get(f"{of_over}/delivered.json")
    assert reconciled(capsys) == {}


def test_head_that_waits_for_its_step_is_healthy(
    stack_without_rule: TrainingStack, request_for: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """A head with a result lives until its build comes to the step, and delivers the result itself."""
    number, artifacts = stack_without_rule.write_request(request_for)
    head = stack_without_rule.submit(artifacts, "sleep", "600")
    wait_until(lambda: stack_without_rule.described(head)["status"] == "RUNNING")
    stack_without_rule.put(f"{artifacts}/result.json", json.dumps({"training/status": "cancelled"}))
    line = f"job {head} delivers that the training was cancelled: nothing to do"
    assert reconciled(capsys) == {str(number): line}
    assert number not in stack_without_rule.builds.calls
    stack_without_rule.client("batch").terminate_job(jobId=head, reason="test is over")
    stack_without_rule.ended(head)
    assert "with status cancelled" in reconciled(capsys)[str(number)]


def test_step_that_is_not_reached_is_no_failure_and_not_waited_for_without_end(
    stack_without_rule: TrainingStack,
    request_for: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each run looks again, for a month; a Buildkite that does not answer is a failure as before."""
    monkeypatch.setattr(reconcile, "_SECONDS_EACH", 1.0)
    number, artifacts = stack_without_rule.write_request(request_for)
    stack_without_rule.put(f"{artifacts}/result.json", json.dumps({"training/status": "cancelled"}))
    stack_without_rule.builds.states[number] = "waiting"
    line = reconciled(capsys)[str(number)]
    assert line.startswith("not delivered yet, the next run looks again: ")
    assert line.endswith("is waiting; waiting until it is blocked")
    stack_without_rule.builds.status = 503
    with pytest.raises(BuildkiteError, match="1 of 1 trainings"):
        reconciled(capsys)
    stack_without_rule.builds.status = 200
    monkeypatch.setattr(reconcile, "_OLD_SECONDS", 0.0)
    assert "not looked at again" in reconciled(capsys)[str(number)]
    assert reconciled(capsys) == {}


@pytest.mark.parametrize("state", ["waiting", "blocked"])
def test_training_that_was_never_submitted_is_closed_and_may_be_retried(
    stack_without_rule: TrainingStack,
    request_for: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    state: str,
) -> None:
    """Once its build is over, or waits, it is looked at no more; a retried step makes the next attempt, which
    does not end with the result of this one.
    """
    number, artifacts = stack_without_rule.write_request(request_for)
    stack_without_rule.builds.states[number] = state
    if state == "waiting":
        stack_without_rule.builds.over.add(number)
    monkeypatch.setattr(reconcile, "YOUNG_SECONDS", 0.0)
    reconciled(capsys)
    assert reconciled(capsys) == {}
    aws = session(AwsSettings())
    store = ModelStore(Storage(aws), artifacts)
    attempts = Attempts(store, Batch(aws), "modelbuild-head", f"demo-sentiment-{number}")

    def submit(attempt: int) -> str:
        return stack_without_rule.submit(artifacts, "true", ATTEMPT=str(attempt))

    record = attempts.find_or_submit(submit, {"by": "the retry"}, lambda: True, print, first_run=True)
    assert record.attempt == 2
    assert store.attempt(2).result() is None
    stack_without_rule.ended(record.job_id)
    store.attempt(2).record_delivered(unsuccessful("failed", "the test is over"), step_unblocked=True)


def test_step_that_submits_at_this_moment_is_left(
    stack_without_rule: TrainingStack, request_for: Callable[..., Any]
) -> None:
    """A retried step may submit the head of an old request."""
    _, artifacts = stack_without_rule.write_request(request_for)
    store = ModelStore(Storage(session(AwsSettings())), artifacts)
    assert store.attempt(1).claim({"by": "the retry"})
    old = reconcile._OpenTraining(store, store.request(), 10 * reconcile.YOUNG_SECONDS, None, 1)
    assert "not submitted yet: skipped" in reconcile._deliver(old, None, ApiAccess.read(os.environ))
    assert store.attempt(1).holder() is None
    stack_without_rule.put(f"{artifacts}/delivered.json", "{}")


def test_head_of_an_abandoned_attempt_is_no_head(
    stack_without_rule: TrainingStack,
    request_for: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A job that stood down has ended well and has not trained: its end is no result."""
    monkeypatch.setattr(reconcile, "YOUNG_SECONDS", 0.0)
    number, artifacts = stack_without_rule.write_request(request_for)
    stack_without_rule.builds.states[number] = "waiting"
    stack_without_rule.put(f"{artifacts}/attempts/1.head", json.dumps({"job_id": ""}))
    stack_without_rule.ended(stack_without_rule.submit(artifacts, "true"))
    assert reconciled(capsys) == {str(number): "never submitted, and no build waits for it: skipped"}
    assert stack_without_rule.get(f"{artifacts}/result.json") is None
    stack_without_rule.put(f"{artifacts}/delivered.json", "{}")
