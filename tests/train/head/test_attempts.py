"""Several heads of one training: which one trains, and what it delivers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from typing import Any

import pytest

import flow_files
from heads import HEAD_SECONDS, Head
from modelbuild.aws.identity import session
from modelbuild.aws.storage import Storage
from modelbuild.buildkite.access import ApiAccess
from modelbuild.contract import TrainingResult
from modelbuild.settings import AwsSettings
from modelbuild.store.model import ModelStore
from modelbuild.train.attempts import delivery
from modelbuild.train.commit import source


@pytest.fixture
def archived_in_two(repository: Any) -> bytes:
    """The archive of a commit with a flow of two steps that work."""
    commit = repository.commit(flow_files.files("two_steps"))
    return source.archive(repository.folder, commit, flow="flows/flow.py").content


def test_next_attempt_goes_on_where_the_last_one_failed(
    head: Head, archived_in_two: bytes, buildkite: Any
) -> None:
    """A second head resumes the first one's run: finished steps are kept, each attempt has its own result."""
    head.environ["METAFLOW_DATASTORE_SYSROOT_LOCAL"] = head.environ["HOME"]
    head.write_request(archived_in_two, parameters={"act": "publish"})
    code, output = head.run()
    assert code == 13, output
    assert "the object that it needs is not there (flows/flow.py, line " in head.result().reason
    head.storage.write(f"{head.artifacts}/needed", b"")
    head.environ["ATTEMPT"] = "2"
    code, output = head.run()
    assert code == 0, output
    assert "head: resuming run" in output
    assert output.count("took its time") == 0
    assert head.result().status == "failed"
    second = head.storage.read(f"{head.artifacts}/attempts/2/result.json")
    assert TrainingResult.model_validate_json(second).status == "succeeded"
    assert [fields["training/status"] for fields in buildkite.fields] == ["failed"]


def test_head_that_batch_starts_again_goes_on(head: Head, archived_in_two: bytes, buildkite: Any) -> None:
    """A head that is killed outright and started again resumes the flow, and the build is unblocked once."""
    head.environ |= {"METAFLOW_DATASTORE_SYSROOT_LOCAL": head.environ["HOME"], "AWS_BATCH_JOB_ID": "a-job"}
    head.write_request(archived_in_two, parameters={"act": "wait"})
    process = head.start()
    assert process.stdout is not None
    assert any("waiting now" in line for line in process.stdout)
    (flow,) = _children(process.pid)
    process.kill()
    os.killpg(flow, signal.SIGKILL)
    process.wait()
    head.storage.write(f"{head.artifacts}/needed", b"")
    code, output = head.run()
    assert code == 0, output
    assert "head: resuming run" in output
    assert output.count("took its time") == 0
    assert [fields["training/status"] for fields in buildkite.fields] == ["succeeded"]


def test_head_of_an_attempt_that_another_job_has_stands_down(
    head: Head, archived: bytes, buildkite: Any
) -> None:
    """A second job for the same attempt neither trains nor says anything."""
    head.write_request(archived, parameters={"act": "publish"})
    head.storage.write(f"{head.artifacts}/attempts/1.head", b'{"job_id": "another-job"}')
    code, output = head.run()
    assert (code, buildkite.fields) == (0, [])
    assert "belongs to job another-job: nothing to do" in output
    assert "acting" not in output


def test_undelivered_result_of_an_earlier_start_is_delivered(
    head: Head, archived: bytes, buildkite: Any
) -> None:
    """A head that was lost between its result and the delivery does not run the flow again."""
    head.write_request(archived, parameters={"act": "publish"})
    earlier = TrainingResult(status="failed", reason="step train failed")
    head.storage.write(f"{head.artifacts}/result.json", earlier.to_json().encode())
    code, output = head.run()
    assert code == 13
    assert "acting" not in output
    assert buildkite.fields == [earlier.to_fields()]


def _children(pid: int) -> list[int]:
    command = ["ps", "-A", "-o", "ppid=", "-o", "pid="]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    pairs = (line.split() for line in listed)
    return [int(child) for parent, child in pairs if int(parent) == pid]


def test_undelivered_model_of_an_earlier_attempt_is_delivered_and_not_trained_again(
    head: Head, archived: bytes, buildkite: Any
) -> None:
    """A model that was made when the build was over is the result of the next attempt, which delivers it."""
    head.write_request(archived, parameters={"act": "publish"})
    made = TrainingResult(status="succeeded", manifest="s3://somewhere/manifest.json")
    head.storage.write(f"{head.artifacts}/result.json", made.to_json().encode())
    head.storage.write(f"{head.artifacts}/delivered.json", b"{}")
    head.environ["ATTEMPT"] = "2"
    code, output = head.run()
    assert code == 0, output
    assert "acting" not in output
    assert buildkite.fields == [made.to_fields()]
    second = head.storage.read(f"{head.artifacts}/attempts/2/result.json")
    assert TrainingResult.model_validate_json(second) == made


def test_head_whose_attempt_is_outdated_unblocks_nothing(head: Head, archived: bytes, buildkite: Any) -> None:
    """A head that failed before its step was reached does not speak for the attempt that came after it."""
    head.write_request(archived, flow="flows/absent.py")
    buildkite.state = "waiting"
    process = head.start()
    assert process.stdout is not None
    assert any("is waiting; waiting until it is blocked" in line for line in process.stdout)
    record = {"job_id": "another-job", "queue": "modelbuild-head", "region": "us-east-1", "attempt": 2}
    head.storage.write(f"{head.artifacts}/job.json", json.dumps(record).encode())
    buildkite.state = "blocked"
    output, _ = process.communicate(timeout=HEAD_SECONDS)
    assert process.returncode == 13
    assert "for a later attempt at the training to unblock: nothing to do" in output
    assert buildkite.fields == []


def test_build_that_is_retried_at_the_last_moment_is_unblocked(
    head: Head, buildkite: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """A step that is retried after its build was found over, and before that was written down, counts on
    being told.
    """

    class Retried(Storage):
        def write_once(self, uri: str, body: bytes, content_type: str = "application/json") -> bool:
            written = super().write_once(uri, body, content_type)
            if uri.endswith("/delivered.json"):
                buildkite.over, buildkite.state = False, "blocked"
            return written

    request = head.write_request(b"")
    buildkite.over, buildkite.state = True, "waiting"
    result = TrainingResult(status="succeeded")
    access = ApiAccess.read(head.environ)
    message = delivery.deliver_result(
        ModelStore(Retried(session(AwsSettings())), request.artifacts), 1, request, result, access
    )
    assert "the build is failed: nothing to do" in capsys.readouterr().out
    assert "with status succeeded" in message
    assert buildkite.fields == [result.to_fields()]
