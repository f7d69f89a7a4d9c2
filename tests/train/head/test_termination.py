"""A head that is terminated, and one whose host goes away."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest

from heads import HEAD_SECONDS, Head
from modelbuild.aws.batch.jobs import Batch, BatchJob
from modelbuild.aws.identity import session
from modelbuild.contract import TrainingResult
from modelbuild.errors import AwsError
from modelbuild.settings import AwsSettings
from modelbuild.train.head import command, flow_process
from waiting import runs, wait_until


def test_termination_reaches_flow_and_build(head: Head, archived: bytes, buildkite: Any) -> None:
    """SIGTERM: the flow's processes end, the result says cancelled, the build is unblocked, exit 143."""
    head.write_request(archived, parameters={"act": "wait"})
    process = head.start()
    assert process.stdout is not None
    pid = ""
    for line in process.stdout:
        if "waiting now" in line:
            pid = line.split("(pid ")[1].split(")")[0]
            break
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=HEAD_SECONDS)
    assert process.returncode == 143, output
    assert buildkite.fields == [head.result().to_fields()]
    assert head.result().status == "cancelled"
    assert "terminated from outside" in head.result().reason
    wait_until(lambda: not runs(pid), f"the end of process {pid}")


@pytest.fixture
def own_job(aws: Any) -> Iterator[Any]:
    """A job of Batch for a head that is started here, with a timeout of a day: it runs, and does nothing."""
    assert aws.url
    batch: Any = boto3.client("batch")
    job = batch.submit_job(
        jobName="a-head",
        jobQueue="modelbuild-head",
        jobDefinition=Batch(session(AwsSettings())).definitions.with_image(
            "modelbuild-head", "modelbuild/default:1"
        ),
        containerOverrides={"command": ["sh", "-c", "exec sleep 600"]},
    )["jobId"]
    wait_until(lambda: batch.describe_jobs(jobs=[job])["jobs"][0]["status"] == "RUNNING", "the job to run")
    yield job
    batch.terminate_job(jobId=job, reason="the test is over")


def terminated_while_it_waits(head: Head) -> subprocess.Popen[str]:
    """A head that got SIGTERM while its flow ran."""
    process = head.start()
    assert process.stdout is not None
    assert any("waiting now" in line for line in process.stdout)
    process.send_signal(signal.SIGTERM)
    return process


def test_host_that_goes_away_ends_no_training(
    head: Head, archived: bytes, buildkite: Any, own_job: str
) -> None:
    """SIGTERM without TerminateJob comes from a host that is shut down: the head stops the flow, says
    nothing and waits for its host's end, so that Batch starts it again.
    """
    head.environ["AWS_BATCH_JOB_ID"] = own_job
    head.write_request(archived, parameters={"act": "wait"})
    process = terminated_while_it_waits(head)
    assert process.stdout is not None
    assert any("its host goes away" in line for line in process.stdout)
    assert process.poll() is None
    process.kill()
    process.communicate()
    assert buildkite.fields == []
    assert not head.storage.exists(f"{head.artifacts}/result.json")


def test_termination_that_batch_knows_of_is_a_cancellation(
    head: Head, archived: bytes, buildkite: Any, own_job: str
) -> None:
    """SIGTERM after TerminateJob ends the training."""
    head.environ["AWS_BATCH_JOB_ID"] = own_job
    boto3.client("batch").terminate_job(jobId=own_job, reason="not needed any more")
    head.write_request(archived, parameters={"act": "wait"})
    output, _ = terminated_while_it_waits(head).communicate(timeout=HEAD_SECONDS)
    assert "cancelled" in output
    assert [fields["training/status"] for fields in buildkite.fields] == ["cancelled"]


def test_termination_that_batch_cannot_explain_ends_no_training() -> None:
    """A host that goes away may have no network any more, and Batch throttles: a refused look is not
    taken for a cancellation, which would be the result for good. What Batch forgot was ended by a person.
    """

    def refuse(job_ids: list[str]) -> dict[str, BatchJob]:
        raise AwsError(f"could not look for job {job_ids[0]} (ThrottlingException)")

    def terminated(describe: Callable[[list[str]], dict[str, BatchJob]]) -> TrainingResult | None:
        head: Any = SimpleNamespace(
            own=SimpleNamespace(job_id="job-1"), batch=SimpleNamespace(describe_all=describe)
        )
        return command._why_terminated(head)

    assert terminated(refuse) is None
    unknown = terminated(lambda _: {})
    assert unknown is not None
    assert unknown.status == "cancelled"


def test_flow_that_will_not_stop_is_killed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A flow that does not end when asked to is killed with its children, so that the result is delivered in
    time.
    """
    monkeypatch.setattr(flow_process, "STOP_SECONDS", 0.3)
    script = f"trap '' INT; sleep 60 & echo $! >{tmp_path / 'child'}; echo ready; wait; sleep 60"
    with subprocess.Popen(["bash", "-c", script], stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        before = time.monotonic()
        flow_process._stop(process)
    assert process.returncode == -signal.SIGKILL
    assert time.monotonic() - before < 10
    child = (tmp_path / "child").read_text().strip()
    wait_until(lambda: not runs(child), f"the end of process {child}")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows which signals a process holds back")
def test_early_termination_reaches_the_build(head: Head, archived: bytes, buildkite: Any) -> None:
    """SIGTERM while the head still starts is not lost: the build is unblocked as cancelled."""
    head.write_request(archived, parameters={"act": "wait"})
    process = head.start()
    # Once the head keeps SIGTERM waiting, it is the head that answers it.
    wait_until(lambda: _blocked(process.pid) & 1 << (signal.SIGTERM - 1), "the head to hold SIGTERM back")
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=HEAD_SECONDS)
    assert process.returncode == 143, output
    assert buildkite.fields == [head.result().to_fields()]
    assert head.result().status == "cancelled"


def _blocked(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("SigBlk:")[1].split()[0], 16)


def test_build_that_is_cancelled_before_its_block_ends_the_wait(
    head: Head, archived: bytes, buildkite: Any
) -> None:
    """The training is over and the block not reached yet: the head waits, and ends when the build does."""
    head.write_request(archived, parameters={"act": "publish"})
    earlier = TrainingResult(status="succeeded", manifest="s3://somewhere/manifest.json")
    head.storage.write(f"{head.artifacts}/result.json", earlier.to_json().encode())
    buildkite.state = "waiting"
    process = head.start()
    assert process.stdout is not None
    assert any("waiting until it is blocked" in line for line in process.stdout)
    buildkite.over = True
    output, _ = process.communicate(timeout=HEAD_SECONDS)
    assert process.returncode == 0
    assert "nothing to do" in output
    assert buildkite.fields == []


def test_superseded_head_that_is_terminated_delivers_nothing(
    head: Head, archived: bytes, buildkite: Any
) -> None:
    """A job that is not the head of the attempt writes no result, whenever it gets SIGTERM."""
    head.write_request(archived, parameters={"act": "publish"})
    head.storage.write(f"{head.artifacts}/attempts/1.head", b'{"job_id": ""}')
    process = head.start(held=True)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=HEAD_SECONDS)
    assert process.returncode == 0, output
    assert "belongs to no job any more: nothing to do" in output
    assert buildkite.fields == []
    assert [uri for uri, _ in head.storage.list(head.artifacts) if uri.endswith("result.json")] == []
