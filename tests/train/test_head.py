from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

import flow_files
from modelbuild.aws.batch import Batch
from modelbuild.aws.identity import session
from modelbuild.aws.storage import Storage
from modelbuild.buildkite import rate_limiter
from modelbuild.contract import TrainingRequest, TrainingResult
from modelbuild.log.events import TRAINING_ENDED, Event, parse_event
from modelbuild.settings import AwsSettings
from modelbuild.store.model import ModelStore
from modelbuild.train.attempts import delivery
from modelbuild.train.commit import source
from modelbuild.train.head import command as head_module

# ``python -m modelbuild head`` for a Buildkite that takes any number of calls: turns need not be waited for.
QUICK_HEAD = """
import runpy, sys
from modelbuild.buildkite import rate_limiter
rate_limiter.SLICE_SECONDS = 0.05
sys.argv = ["modelbuild", "head"]
runpy.run_module("modelbuild", run_name="__main__")
"""


class Head:
    """A training in S3, and ``modelbuild head`` as Batch would run it."""

    def __init__(self, place: str, environ: dict[str, str], make: Callable[..., TrainingRequest]) -> None:
        self.artifacts = place
        self.environ = environ
        self.storage = Storage(session(AwsSettings()))
        self._make = make

    def ask(self, archived: bytes, **changes: Any) -> TrainingRequest:
        """Write the archive and a request for it."""
        request = self._make(self.artifacts, **changes)
        digest = hashlib.sha256(archived).hexdigest()
        request = request.model_copy(update={"source": request.source.model_copy(update={"sha256": digest})})
        self.storage.write(request.source.path, archived)
        self.storage.write(f"{self.artifacts}/request.json", request.to_json().encode())
        return request

    def start(self, *, held: bool = False) -> subprocess.Popen[str]:
        """Start the head; ``held`` is that SIGTERM waits from the first moment on."""
        earlier = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM} if held else ())
        try:
            return subprocess.Popen(
                [sys.executable, "-c", QUICK_HEAD],
                env=self.environ,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, earlier)

    def run(self) -> tuple[int, str]:
        """Run the head to its end: exit code and output."""
        process = self.start()
        output, _ = process.communicate(timeout=60)
        return process.returncode, output

    def result(self) -> TrainingResult:
        """The stored result."""
        return TrainingResult.model_validate_json(self.storage.read(f"{self.artifacts}/result.json"))


@pytest.fixture
def head(
    aws: Any,
    buildkite: Any,
    request_for: Any,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Head:
    """A head for a place in S3 of its own, that talks to a build that waits."""
    monkeypatch.setattr(rate_limiter, "SLICE_SECONDS", 0.05)
    place = f"s3://modelbuild-123456789012/models/{request.node.name}/demo/sentiment/7"
    place = place.replace("[", "-").replace("]", "")
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        **aws.environ(),
        "ARTIFACTS": place,
        "MODEL_ID": "7",
        "UNBLOCK_STEP": "training_finished",
        "METAFLOW_USER": "modelbuild",
        "METAFLOW_DEFAULT_DATASTORE": "local",
        "METAFLOW_DEFAULT_METADATA": "local",
        "BUILDKITE_API_URL": buildkite.url,
        "BUILDKITE_API_TOKEN": "the-rest-token",
    }
    return Head(place, environ, request_for)


@pytest.fixture
def archived(repository: Any) -> bytes:
    """The archive of a commit with the flow that does what its parameter says."""
    commit = repository.commit(flow_files.files("demo"))
    return source.archive(repository.folder, commit, flow="flows/flow.py").content


@pytest.fixture
def archived_in_two(repository: Any) -> bytes:
    """The archive of a commit with a flow of two steps that work."""
    commit = repository.commit(flow_files.files("two_steps"))
    return source.archive(repository.folder, commit, flow="flows/flow.py").content


def line_of(part: str) -> int:
    """The line of the flow ``demo`` that has this part."""
    lines = flow_files.source("demo").splitlines()
    return next(number for number, text in enumerate(lines, 1) if part in text)


def test_success_is_the_flows_own_result(head: Head, archived: bytes, buildkite: Any) -> None:
    """A flow that ends well and published: exit 0, and what it stored is what the build hears."""
    head.ask(archived, parameters={"act": "publish"})
    code, output = head.run()
    assert code == 0, output
    assert "acting publish train-gpu:1 default:1" in output
    assert "token None home []" in output
    # So many calls before one that AWS throttles counts as failed.
    assert "attempts 7" in output
    stored = head.result()
    assert stored.manifest == "s3://somewhere/manifest.json"
    assert buildkite.fields == [stored.to_fields()]
    assert buildkite.tokens == {"Bearer the-rest-token"}
    # The flow prints the line of an event as well, which shows and is none.
    said = [event for event in map(parse_event, output.splitlines()) if event is not None]
    assert said == [Event(TRAINING_ENDED, "head: the training succeeded")]
    assert '\nmodelbuild_event {"name": "training-ended", "text": "forged"}\n' in output


def test_failing_step_is_named_without_secrets(head: Head, archived: bytes, buildkite: Any) -> None:
    """A step that raises: the reason names the step and the exception, and the secret in it is gone."""
    head.ask(archived, parameters={"act": "raise"})
    code, output = head.run()
    assert code == 13, output
    assert buildkite.fields == [head.result().to_fields()]
    assert head.result().status == "failed"
    line = line_of("lost the key")
    said = f"step start failed: RuntimeError: lost the key [redacted] (flows/flow.py, line {line})"
    assert head.result().reason.startswith(f"{said}; its log ends: ")


def test_token_that_was_stored_with_a_line_break_tells(head: Head, archived: bytes, buildkite: Any) -> None:
    """White space around the token in its secret is no part of it, and the log has neither."""
    head.environ["BUILDKITE_API_TOKEN"] = "the-rest-token\n"
    head.ask(archived, parameters={"act": "publish"})
    code, output = head.run()
    assert code == 0, output
    assert buildkite.tokens == {"Bearer the-rest-token"}
    assert "the-rest-token" not in output


def test_token_that_cannot_be_sent_is_told_and_not_shown(head: Head, archived: bytes, buildkite: Any) -> None:
    """The training runs and its result is stored; the log says at its begin and end what is to be mended."""
    head.environ["BUILDKITE_API_TOKEN"] = "the-first-half\nthe-second-half"
    head.ask(archived, parameters={"act": "publish"})
    code, output = head.run()
    assert code == 10, output
    assert head.result().status == "succeeded"
    assert buildkite.fields == []
    assert output.count("BUILDKITE_API_TOKEN cannot be sent: character 15 of 30 is not one of ") == 2
    assert output.count("then run modelbuild reconcile, which tells the builds that wait") == 2
    assert "the-first-half" not in output
    assert "the-second-half" not in output
    assert "Traceback" not in output


def test_wrong_parameter_is_the_reason(head: Head, archived: bytes, buildkite: Any) -> None:
    """Parameters that the flow's own parser refuses: its sentence reaches the build."""
    head.ask(archived, parameters={"act": 5})
    code, output = head.run()
    assert code == 13, output
    assert buildkite.fields[0]["training/status"] == "failed"
    assert buildkite.fields[0]["training/reason"].endswith(
        "ValueError: The parameter act is 5: it must be text. "
        f"(flows/flow.py, line {line_of('raise ValueError')})"
    )


def test_flow_that_publishes_nothing_failed(head: Head, archived: bytes, buildkite: Any) -> None:
    """A flow that ends well without a result has not trained anything."""
    head.ask(archived, parameters={"act": "nothing"})
    code, output = head.run()
    assert code == 13, output
    assert buildkite.fields[0]["training/status"] == "failed"
    assert "result.json" in buildkite.fields[0]["training/reason"]


def test_termination_reaches_flow_and_build(head: Head, archived: bytes, buildkite: Any) -> None:
    """SIGTERM: the flow's processes end, the result says cancelled, the build hears it, exit 143."""
    head.ask(archived, parameters={"act": "wait"})
    process = head.start()
    assert process.stdout is not None
    pid = ""
    for line in process.stdout:
        if "waiting now" in line:
            pid = line.split("(pid ")[1].split(")")[0]
            break
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 143, output
    assert buildkite.fields == [head.result().to_fields()]
    assert head.result().status == "cancelled"
    assert "terminated from outside" in head.result().reason
    wait_until_gone(pid)


@pytest.fixture
def own_job(aws: Any) -> Iterator[Any]:
    """A job of Batch for a head that is started here, with a timeout of a day: it runs, and does nothing."""
    assert aws.url
    batch: Any = boto3.client("batch")
    job = batch.submit_job(
        jobName="a-head",
        jobQueue="modelbuild-head",
        jobDefinition=Batch(session(AwsSettings())).definition_with_image(
            "modelbuild-head", "modelbuild/default:1"
        ),
        containerOverrides={"command": ["sh", "-c", "exec sleep 600"]},
    )["jobId"]
    deadline = time.monotonic() + 60
    while batch.describe_jobs(jobs=[job])["jobs"][0]["status"] != "RUNNING":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    yield job
    batch.terminate_job(jobId=job, reason="the test is over")


def terminated_while_it_waits(head: Head) -> subprocess.Popen[str]:
    """A head that was told to end while its flow ran."""
    process = head.start()
    assert process.stdout is not None
    assert any("waiting now" in line for line in process.stdout)
    process.send_signal(signal.SIGTERM)
    return process


def test_host_that_goes_away_ends_no_training(
    head: Head, archived: bytes, buildkite: Any, own_job: str
) -> None:
    """SIGTERM that nobody asked Batch for comes from a host that is shut down: the head stops the flow, says
    nothing and waits for its host's end, so that Batch starts it again.
    """
    head.environ["AWS_BATCH_JOB_ID"] = own_job
    head.ask(archived, parameters={"act": "wait"})
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
    head.ask(archived, parameters={"act": "wait"})
    output, _ = terminated_while_it_waits(head).communicate(timeout=60)
    assert "cancelled" in output
    assert [fields["training/status"] for fields in buildkite.fields] == ["cancelled"]


def wait_until_gone(pid: str) -> None:
    """Return once a process has ended."""
    deadline = time.monotonic() + 10
    shown = "?"
    while shown and not shown.startswith("Z"):
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.05)
        command = ["ps", "-o", "stat=", "-p", pid]
        shown = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def test_flow_that_will_not_stop_is_killed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A flow that does not end when asked to is killed with its children, so that the build hears in time."""
    monkeypatch.setattr(head_module, "STOP_SECONDS", 0.3)
    script = f"trap '' INT; sleep 60 & echo $! >{tmp_path / 'child'}; echo ready; wait; sleep 60"
    with subprocess.Popen(["bash", "-c", script], stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        before = time.monotonic()
        head_module._stop(process)
    assert process.returncode == -signal.SIGKILL
    assert time.monotonic() - before < 10
    wait_until_gone((tmp_path / "child").read_text().strip())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows which signals a process holds back")
def test_early_termination_reaches_the_build(head: Head, archived: bytes, buildkite: Any) -> None:
    """SIGTERM while the head still starts is not lost: the build hears of it."""
    head.ask(archived, parameters={"act": "wait"})
    process = head.start()
    deadline = time.monotonic() + 10
    # Once the head keeps SIGTERM waiting, it is the head that answers it.
    while not _blocked(process.pid) & 1 << (signal.SIGTERM - 1):
        assert time.monotonic() < deadline
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 143, output
    assert buildkite.fields == [head.result().to_fields()]
    assert head.result().status == "cancelled"


def _blocked(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("SigBlk:")[1].split()[0], 16)


def test_first_writer_wins(head: Head, archived: bytes, buildkite: Any) -> None:
    """A result that is there already is delivered, whatever this head would have said."""
    head.ask(archived, flow="flows/absent.py")
    earlier = TrainingResult(status="succeeded", manifest="s3://somewhere/else.json")
    head.storage.write(f"{head.artifacts}/result.json", earlier.to_json().encode())
    code, output = head.run()
    assert code == 0, output
    assert buildkite.fields == [earlier.to_fields()]
    assert head.result() == earlier


def test_build_hears_it_when_s3_takes_no_result(head: Head, archived: bytes, buildkite: Any) -> None:
    """A result that cannot be stored reaches the build all the same, and the log says why."""
    head.ask(archived, flow="flows/absent.py")
    place = head.artifacts.removeprefix("s3://modelbuild-123456789012/")
    deny = {"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject"}
    statement = {**deny, "Resource": f"arn:aws:s3:::modelbuild-123456789012/{place}/*"}
    s3: Any = boto3.client("s3")
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    s3.put_bucket_policy(Bucket="modelbuild-123456789012", Policy=policy)
    try:
        code, output = head.run()
    finally:
        s3.delete_bucket_policy(Bucket="modelbuild-123456789012")
    assert code == 13, output
    assert f"could not write {head.artifacts}/result.json (403" in output
    assert buildkite.fields[0]["training/status"] == "failed"


def test_next_attempt_goes_on_where_the_last_one_failed(
    head: Head, archived_in_two: bytes, buildkite: Any
) -> None:
    """A second head resumes the first one's run: finished steps are kept, each attempt has its own result."""
    head.environ["METAFLOW_DATASTORE_SYSROOT_LOCAL"] = head.environ["HOME"]
    head.ask(archived_in_two, parameters={"act": "publish"})
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
    """A head that is killed outright and started again resumes the flow, and the build hears of it once."""
    head.environ |= {"METAFLOW_DATASTORE_SYSROOT_LOCAL": head.environ["HOME"], "AWS_BATCH_JOB_ID": "a-job"}
    head.ask(archived_in_two, parameters={"act": "wait"})
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
    head.ask(archived, parameters={"act": "publish"})
    head.storage.write(f"{head.artifacts}/attempts/1.head", b'{"job_id": "another-job"}')
    code, output = head.run()
    assert (code, buildkite.fields) == (0, [])
    assert "belongs to job another-job: nothing to do" in output
    assert "acting" not in output


def test_result_of_an_earlier_start_is_told(head: Head, archived: bytes, buildkite: Any) -> None:
    """A head that stored its result and was lost before it told the build does not run the flow again."""
    head.ask(archived, parameters={"act": "publish"})
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


def test_request_of_a_newer_version_is_told(head: Head, archived: bytes, buildkite: Any) -> None:
    """A head that does not know all that was asked for trains nothing, and its build does not hang."""
    request = json.loads(head.ask(archived, parameters={"act": "publish"}).to_json())
    request["priority"] = request["build"]["pull_request"] = 5
    head.storage.write(f"{head.artifacts}/request.json", json.dumps(request).encode())
    code, output = head.run()
    assert code == 13, output
    assert "acting" not in output
    assert "is not a training request of this version of modelbuild" in buildkite.fields[0]["training/reason"]


def test_model_of_an_earlier_attempt_is_told_and_not_trained_again(
    head: Head, archived: bytes, buildkite: Any
) -> None:
    """What an attempt made when nobody waited is the result of the one that finds somebody."""
    head.ask(archived, parameters={"act": "publish"})
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
    head.ask(archived, flow="flows/absent.py")
    buildkite.state = "waiting"
    process = head.start()
    assert process.stdout is not None
    assert any("is waiting; waiting until it is blocked" in line for line in process.stdout)
    record = {"job_id": "another-job", "queue": "modelbuild-head", "region": "us-east-1", "attempt": 2}
    head.storage.write(f"{head.artifacts}/job.json", json.dumps(record).encode())
    buildkite.state = "blocked"
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 13
    assert "for a later attempt at the training to unblock: nothing to do" in output
    assert buildkite.fields == []


def test_build_that_goes_on_at_the_last_moment_is_told(
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

    request = head.ask(b"")
    buildkite.over, buildkite.state = True, "waiting"
    result = TrainingResult(status="succeeded")
    said = delivery.deliver_result(
        ModelStore(Retried(session(AwsSettings())), request.artifacts), 1, request, result, head.environ
    )
    assert "the build is failed: nothing to do" in capsys.readouterr().out
    assert "with status succeeded" in said
    assert buildkite.fields == [result.to_fields()]


def test_build_that_is_cancelled_before_its_block_ends_the_wait(
    head: Head, archived: bytes, buildkite: Any
) -> None:
    """The training is over and the block not reached yet: the head waits, and ends when the build does."""
    head.ask(archived, parameters={"act": "publish"})
    earlier = TrainingResult(status="succeeded", manifest="s3://somewhere/manifest.json")
    head.storage.write(f"{head.artifacts}/result.json", earlier.to_json().encode())
    buildkite.state = "waiting"
    process = head.start()
    assert process.stdout is not None
    assert any("waiting until it is blocked" in line for line in process.stdout)
    buildkite.over = True
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "nothing to do" in output
    assert buildkite.fields == []


def test_superseded_head_that_is_terminated_says_nothing(head: Head, archived: bytes, buildkite: Any) -> None:
    """Who is not the head of the attempt has no result to give, whenever it is told to end."""
    head.ask(archived, parameters={"act": "publish"})
    head.storage.write(f"{head.artifacts}/attempts/1.head", b'{"job_id": ""}')
    process = head.start(held=True)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 0, output
    assert "belongs to no job any more: nothing to do" in output
    assert buildkite.fields == []
    assert [uri for uri, _ in head.storage.list(head.artifacts) if uri.endswith("result.json")] == []


def test_missing_flow_is_said(head: Head, archived: bytes, buildkite: Any) -> None:
    """A flow that the commit does not have fails with its name."""
    head.ask(archived, flow="flows/absent.py")
    code, _ = head.run()
    assert code == 13
    assert buildkite.fields[0]["training/reason"] == (
        "the commit has no flow flows/absent.py: correct option flow"
    )


def test_changed_source_is_not_run(head: Head, archived: bytes, buildkite: Any) -> None:
    """An archive with other bytes than the request names is refused."""
    request = head.ask(archived, parameters={"act": "publish"})
    head.storage.write(request.source.path, archived + b"\0")
    code, output = head.run()
    assert code == 13
    assert "acting" not in output
    assert "was changed after the request" in buildkite.fields[0]["training/reason"]


def test_parameters_must_have_their_hash(head: Head, archived: bytes, buildkite: Any) -> None:
    """Parameters that do not have the hash of the request are not trained with."""
    head.ask(archived, parameters_sha256="1" * 64)
    code, _ = head.run()
    assert code == 13
    assert "do not have the hash" in buildkite.fields[0]["training/reason"]


def test_without_request_there_is_nobody_to_tell(head: Head, buildkite: Any) -> None:
    """A place without a request ends with a sentence and the code of an AWS error."""
    code, output = head.run()
    assert code == 11
    assert f"could not read {head.artifacts}/request.json" in output
    assert "Traceback" not in output
    assert buildkite.fields == []
