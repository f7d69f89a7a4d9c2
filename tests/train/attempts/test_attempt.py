"""Conditional writes decide which head trains, in whatever order the heads start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelbuild.aws.batch.jobs import Batch
from modelbuild.aws.identity import session
from modelbuild.aws.storage import Storage
from modelbuild.contract import HeadEnvironment
from modelbuild.errors import AwsError
from modelbuild.settings import AwsSettings
from modelbuild.store.attempts import JobRecord, Run
from modelbuild.store.model import ModelStore
from modelbuild.train.attempts import attempt
from modelbuild.train.attempts.attempt import Attempts, Superseded
from modelbuild.train.head import runs
from waiting import SECONDS, wait_until

BUCKET = "s3://modelbuild-123456789012"
# One run of the step, from where it looks for a head; it waits until the file that it is given is there.
RACER = """
import pathlib, sys, time
from modelbuild.aws.batch.jobs import Batch
from modelbuild.aws.identity import session
from modelbuild.aws.storage import Storage
from modelbuild.settings import AwsSettings
from modelbuild.store.model import ModelStore
from modelbuild.train.attempts.attempt import Attempts

artifacts, name, gate = sys.argv[1:]
aws = session(AwsSettings())
storage, batch = Storage(aws), Batch(aws)
definition = batch.definitions.with_image("modelbuild-head", "modelbuild/default:1")
storage.exists(artifacts + "/warm")

def submit(number):
    return batch.submit(
        name, queue="modelbuild-head", definition=definition, command=["sh", "-c", "exec sleep 600"],
        environment={"ARTIFACTS": artifacts, "ATTEMPT": str(number)}, timeout=600, tags={},
    )

print("ready", flush=True)
while not pathlib.Path(gate).exists():
    pass
attempts = Attempts(ModelStore(storage, artifacts), batch, "modelbuild-head", name)
print(attempts.find_or_submit(submit, {}, lambda: False, lambda line: None).job_id)
"""


def unsaid(line: str) -> None:
    """Take a line for the log."""
    assert line


@pytest.fixture
def attempts(aws: Any, request: pytest.FixtureRequest) -> Attempts:
    """The attempts at a training of its own."""
    assert aws.url
    made = session(AwsSettings())
    name = f"{request.node.name}-{time.monotonic_ns()}".replace("[", "-").replace("]", "")
    store = ModelStore(Storage(made), f"{BUCKET}/models/{name}")
    return Attempts(store, Batch(made), "modelbuild-head", name)


def submitter(attempts: Attempts, script: str = "exec sleep 600") -> Callable[[int], str]:
    """Submits a head that runs a script."""

    def submit(number: int) -> str:
        definition = attempts.batch.definitions.with_image("modelbuild-head", "modelbuild/default:1")
        return attempts.batch.submit(
            attempts.name,
            queue=attempts.queue,
            definition=definition,
            command=["sh", "-c", script],
            environment={"ARTIFACTS": attempts.store.prefix, "ATTEMPT": str(number)},
            timeout=600,
            tags={},
        )

    return submit


def wait_until_over(attempts: Attempts, job_id: str) -> None:
    """Return once a job has ended."""
    wait_until(lambda: attempts.batch.describe(job_id).ended, f"the end of job {job_id}")


def head(
    attempts: Attempts, script: str = "exec sleep 600", unblocked: Callable[[], bool] = lambda: False
) -> JobRecord:
    """What one run of the step does."""
    return attempts.find_or_submit(submitter(attempts, script), {"by": "a test"}, unblocked, unsaid)


@pytest.mark.parametrize("round_", range(2))
def test_two_steps_that_race_share_one_head(
    aws: Any, attempts: Attempts, tmp_path: Path, round_: int
) -> None:
    """Two processes that ask at the same moment, at first or after a failure, end up with one live job."""
    ended = []
    if round_ % 2:
        ended = [head(attempts, "exit 3").job_id]
        wait_until_over(attempts, ended[0])
    gate = tmp_path / "gate"
    command = [sys.executable, "-c", RACER, attempts.store.prefix, attempts.name, str(gate)]
    environ = {**os.environ, **aws.environ()}
    racers = [subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    gate.touch()
    lines = [racer.communicate(timeout=SECONDS)[0].strip() for racer in racers]
    assert lines[0] == lines[1] != ""
    assert set(attempts.batch.find(attempts.queue, attempts.name)) == {lines[0], *ended}
    attempts.batch.terminate(lines[0], "the test is over")


def test_claim_of_a_dead_step_is_released(attempts: Attempts, monkeypatch: pytest.MonkeyPatch) -> None:
    """The claim of a step that died before it submitted its job ends after a while; its job would stop."""
    monkeypatch.setattr(attempt, "_PATIENCE_SECONDS", 0.2)
    attempts.store.objects.write(f"{attempts.store.prefix}/attempts/1.json", b"{}")
    record = head(attempts)
    assert record.attempt == 2
    with pytest.raises(Superseded, match=r"attempt 1 .* belongs to no job any more"):
        attempt.claim_attempt(attempts.store.attempt(1), "a-late-job")
    attempts.batch.terminate(record.job_id, "the test is over")


def no_other(number: int) -> str:
    """Submits nothing."""
    pytest.fail(f"another head, for attempt {number}")


def test_started_head_is_not_replaced(attempts: Attempts, monkeypatch: pytest.MonkeyPatch) -> None:
    """A head that runs is attached to, also while Batch does not list it, or lists it in another queue."""
    monkeypatch.setattr(attempt, "_PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(Batch, "find", lambda *_: [])
    attempts.store.objects.write(f"{attempts.store.prefix}/attempts/1.json", b"{}")
    job_id = submitter(attempts)(1)
    attempt.claim_attempt(attempts.store.attempt(1), job_id)
    record = attempts.find_or_submit(no_other, {}, lambda: False, unsaid)
    assert (record.attempt, record.job_id) == (1, job_id)
    attempts.batch.terminate(job_id, "the test is over")


def test_lost_answer_of_s3_is_no_other_run(attempts: Attempts, monkeypatch: pytest.MonkeyPatch) -> None:
    """A claim that S3 took, and refused when it was repeated, is this run's own: the step does not wait."""
    write_once = Storage.write_once

    def repeated(storage: Storage, uri: str, body: bytes, content_type: str = "application/json") -> bool:
        write_once(storage, uri, body, content_type)
        return write_once(storage, uri, body, content_type)

    monkeypatch.setattr(Storage, "write_once", repeated)
    before = time.monotonic()
    record = head(attempts)
    assert record.attempt == 1
    assert time.monotonic() - before < 20
    assert attempts.store.job() == record
    attempts.batch.terminate(record.job_id, "the test is over")


def put_result(attempts: Attempts, folder: str, status: str, *, delivered: bool) -> None:
    """The files of a head that has delivered its result, or is about to."""
    text = json.dumps({"training/status": status})
    attempts.store.objects.write(f"{attempts.store.prefix}/{folder}result.json", text.encode())
    if delivered:
        attempts.store.objects.write(f"{attempts.store.prefix}/{folder}delivered.json", text.encode())


def test_failed_head_that_still_delivers_does_not_delay_the_next_attempt(attempts: Attempts) -> None:
    """Once its result is there an attempt is over, although its head runs until the result is delivered."""
    first = head(attempts)
    put_result(attempts, "", "failed", delivered=False)
    second = head(attempts)
    assert (first.attempt, second.attempt) == (1, 2)
    for record in (first, second):
        attempts.batch.terminate(record.job_id, "the test is over")


def test_undelivered_model_is_delivered_by_another_head(attempts: Attempts) -> None:
    """A training that ended when its build was over gets a head that delivers its result, now that the build
    goes on; one that was told, or is going to be, gets none.
    """
    first = head(attempts, "exit 0")
    put_result(attempts, "", "succeeded", delivered=False)
    assert head(attempts) == first
    put_result(attempts, "", "succeeded", delivered=True)
    assert head(attempts, unblocked=lambda: True) == first
    second = head(attempts)
    assert second.attempt == 2
    assert head(attempts) == second
    attempts.batch.terminate(second.job_id, "the test is over")


def test_late_record_brings_no_old_head_back(attempts: Attempts) -> None:
    """A run of the step that was held up before it wrote its head down leaves a newer one there."""

    def held_up(number: int) -> str:
        job_id = submitter(attempts, "exit 3")(number)
        wait_until_over(attempts, job_id)
        newer.append(head(attempts))
        return job_id

    newer: list[JobRecord] = []
    attempts.find_or_submit(held_up, {}, lambda: False, unsaid)
    assert newer[0].attempt == 2
    assert attempts.store.job() == newer[0]
    attempts.batch.terminate(newer[0].job_id, "the test is over")


def test_lost_answer_of_batch_submits_no_second_training(attempts: Attempts) -> None:
    """A job that was submitted although the call failed stands down; the next attempt trains."""
    submit = submitter(attempts)
    submitted = []

    def loses_the_answer(number: int) -> str:
        submitted.append(submit(number))
        raise AwsError("could not submit: read timeout")

    with pytest.raises(AwsError, match="read timeout"):
        attempts.find_or_submit(loses_the_answer, {}, lambda: False, unsaid)
    with pytest.raises(Superseded):
        attempt.claim_attempt(attempts.store.attempt(1), submitted[0])
    record = head(attempts)
    attempt.claim_attempt(attempts.store.attempt(record.attempt), record.job_id)
    for job_id in (*submitted, record.job_id):
        attempts.batch.terminate(job_id, "the test is over")


def test_head_enters_again_and_no_other_does(attempts: Attempts) -> None:
    """Batch may start a head a second time; another job of the same attempt stands down."""
    attempt.claim_attempt(attempts.store.attempt(1), "a-job")
    attempt.claim_attempt(attempts.store.attempt(1), "a-job")
    with pytest.raises(Superseded, match="belongs to job a-job"):
        attempt.claim_attempt(attempts.store.attempt(1), "another-job")


def test_what_a_head_left_is_ended_before_its_run_is_resumed(attempts: Attempts) -> None:
    """Steps that outlived their head end; those of other runs do not."""
    head = HeadEnvironment(artifacts="s3://bucket/models/a", user="modelbuild", queue="modelbuild-default")
    definition = attempts.batch.definitions.with_image("modelbuild-head", "modelbuild/default:1")

    def step(run_id: str) -> str:
        return attempts.batch.submit(
            f"modelbuild-DemoFlow-{run_id}-train-3-0",
            queue="modelbuild-default",
            definition=definition,
            command=["sh", "-c", "exec sleep 600"],
            environment={},
            timeout=600,
            tags={},
        )

    run_id = str(time.monotonic_ns())
    ours, other = step(run_id), step(f"{run_id}9")
    run = Run(flow_name="DemoFlow", run_id=run_id)
    assert runs.end_steps(attempts.batch, head, run) == [ours]
    assert attempts.batch.describe(ours).status == "FAILED"
    assert not attempts.batch.describe(other).ended
    assert runs.end_steps(attempts.batch, head, run) == []
    assert not runs.lost_hosts(attempts.batch, head, run)
    attempts.batch.terminate(other, "the test is over")


def test_newest_run_is_resumed(attempts: Attempts) -> None:
    """The run to go on from is the newest that was written down, in whatever attempt."""
    store = attempts.store
    assert runs.newest_run(store, 3) is None
    first, second = (Run(flow_name="DemoFlow", run_id=name) for name in ("1", "2"))
    runs.record_run(store.attempt(1), first)
    assert runs.newest_run(store, 3) == first
    runs.record_run(store.attempt(2), second)
    assert runs.newest_run(store, 3) == second
    assert runs.newest_run(store, 1) == first
    assert json.loads(store.objects.read(f"{store.prefix}/attempts/2.run")) == {
        "flow_name": "DemoFlow",
        "run_id": "2",
    }
