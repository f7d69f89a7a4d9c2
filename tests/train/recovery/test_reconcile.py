"""modelbuild reconcile: what the function did not deliver."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from typing import Any

import pytest

from modelbuild.errors import BuildkiteError
from modelbuild.train.attempts import delivery
from modelbuild.train.recovery import reconcile
from recovery import MODELS, Place, reconciled, wait


def test_reconciliation_finishes_what_is_over_and_nothing_else(
    deaf: Place,
    request_for: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One line for each training that is open: ended, running, vanished, unrecorded, never submitted."""
    died, of_died = deaf.ask(request_for)
    record = {"queue": "modelbuild-head", "region": "us-east-1"}
    head = deaf.ended(deaf.submit(of_died, "sh", "-c", "kill -9 $$"))
    deaf.put(f"{of_died}/job.json", json.dumps({"job_id": head.id, **record}))
    runs, of_runs = deaf.ask(request_for)
    running = deaf.submit(of_runs, "sleep", "60")
    wait(lambda: deaf.described(running)["status"] == "RUNNING")
    vanished, of_vanished = deaf.ask(request_for)
    deaf.put(f"{of_vanished}/job.json", json.dumps({"job_id": "0000-gone", **record}))
    unasked, of_unasked = deaf.ask(request_for)
    failed_before, of_failed_before = deaf.ask(request_for)
    deaf.builds.states[failed_before] = "waiting"

    lines = reconciled(capsys)
    assert re.match(r"unblocked step .* with status failed \(the head died", lines[str(died)])
    assert lines[str(runs)] == f"job {running} is RUNNING: nothing to do"
    for number in (vanished, unasked, failed_before):
        assert "not submitted yet" in lines[str(number)]
    assert not {runs, vanished, unasked, failed_before} & deaf.builds.fields.keys()

    monkeypatch.setattr(reconcile, "YOUNG_SECONDS", 0.0)
    lines = reconciled(capsys)
    assert str(died) not in lines
    assert "Batch does not know job 0000-gone any more" in lines[str(vanished)]
    assert deaf.builds.fields[vanished]["training/status"] == "failed"
    assert "no job was submitted" in deaf.builds.fields[unasked]["training/reason"]
    assert lines[str(failed_before)] == "never submitted, and no build waits for it: skipped"
    assert deaf.get(f"{of_failed_before}/result.json") is None
    assert deaf.get(f"{of_unasked}/delivered.json") is not None
    deaf.client("batch").terminate_job(jobId=running, reason="test is over")
    deaf.ended(running)
    assert "with status cancelled (" in reconciled(capsys)[str(runs)]
    deaf.put(f"{of_failed_before}/delivered.json", "{}")


def test_reconciliation_goes_on_after_a_build_that_cannot_be_told(
    deaf: Place, request_for: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Every training has its turn, and the command fails when one was left."""
    first, of_first = deaf.ask(request_for)
    second, of_second = deaf.ask(request_for)
    for artifacts in (of_first, of_second):
        deaf.put(f"{artifacts}/result.json", json.dumps({"training/status": "cancelled"}))
    deaf.builds.status = 401
    with pytest.raises(BuildkiteError, match="2 of 2 trainings"):
        reconcile.run(MODELS, "modelbuild-head", "modelbuild/buildkite", os.environ)
    assert capsys.readouterr().out.count("not delivered: ") == 2
    deaf.builds.status = 200
    assert set(reconciled(capsys)) == {str(first), str(second)}
    assert reconciled(capsys) == {}


@pytest.mark.parametrize(
    ("token", "said"),
    [
        ("a-token with-a-space", "BUILDKITE_API_TOKEN cannot be sent"),
        ("fine-token", "a defect of modelbuild: KeyError"),
    ],
)
def test_reconciliation_tells_why_it_cannot_tell_and_no_secret(
    deaf: Place,
    request_for: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    token: str,
    said: str,
) -> None:
    """An unusable token, or a defect, is a line for each training: none keeps the others from theirs."""
    for artifacts in (deaf.ask(request_for)[1], deaf.ask(request_for)[1]):
        deaf.put(f"{artifacts}/result.json", json.dumps({"training/status": "cancelled"}))
    with monkeypatch.context() as broken:
        broken.setenv("BUILDKITE_API_TOKEN", token)
        if token == "fine-token":
            broken.setattr(delivery, "deliver_result", lambda *_: os.environ["NOT_SET"])
        with pytest.raises(BuildkiteError, match="2 of 2 trainings"):
            reconcile.run(MODELS, "modelbuild-head", "modelbuild/buildkite", os.environ)
    printed = capsys.readouterr()
    assert printed.out.count(f"not delivered: {said}") == 2
    for part in token.split():
        assert part not in printed.out + printed.err
    assert len(reconciled(capsys)) == 2


def test_reconciliation_ends_a_head_that_waits_for_too_long(
    deaf: Place, request_for: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """What the function does each minute, reconciliation does as well, and tells the build itself; of a head
    that has a newer one, the end is no result.
    """
    number, artifacts = deaf.ask(request_for)
    job_id = deaf.submit(artifacts, "true", VCPU="9", SCHEDULE_TIMEOUT="1")
    deaf.put(f"{artifacts}/job.json", json.dumps({"job_id": job_id, "queue": "q", "region": "r"}))
    old, of_old = deaf.ask(request_for)
    given_up = deaf.submit(of_old, "true", VCPU="9", SCHEDULE_TIMEOUT="1")
    deaf.put(f"{of_old}/job.json", json.dumps({"job_id": "newer", "queue": "q", "region": "r"}))
    deaf.waits(given_up)
    assert re.search(r"status failed \(the head waited .*MISCONFIGURATION", reconciled(capsys)[str(number)])
    assert deaf.ended(job_id).stopped
    deaf.look_at_waiting()
    assert deaf.ended(given_up).status == "FAILED"
    assert deaf.get(f"{of_old}/result.json") is None
    assert old not in deaf.builds.calls
    deaf.put(f"{of_old}/delivered.json", "{}")


def test_reconciliation_lets_deleted_builds_go(
    deaf: Place,
    request_for: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A build that was deleted is written down as one that waits for nothing, with a line, and comes no more.
    Where not even its pipeline is in sight, nothing is written down.
    """
    monkeypatch.setattr(reconcile, "YOUNG_SECONDS", 0.0)
    over, of_over = deaf.ask(request_for)
    deaf.put(f"{of_over}/result.json", json.dumps({"training/status": "cancelled"}))
    unasked, of_unasked = deaf.ask(request_for)
    deaf.builds.deleted |= {over, unasked}
    deaf.builds.pipeline = False
    with pytest.raises(BuildkiteError, match="2 of 2 trainings"):
        reconciled(capsys)
    assert deaf.get(f"{of_unasked}/result.json") is None
    deaf.builds.pipeline = True
    lines = reconciled(capsys)
    assert set(lines) == {str(over), str(unasked)}
    assert all("is gone, the build was deleted: nothing to do" in line for line in lines.values())
    assert deaf.get(f"{of_over}/delivered.json")
    assert reconciled(capsys) == {}
