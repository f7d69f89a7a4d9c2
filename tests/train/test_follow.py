from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.client import BaseClient
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from modelbuild.aws.batch.jobs import Batch, BatchJob
from modelbuild.aws.identity import session
from modelbuild.aws.logs import Logs
from modelbuild.aws.storage import Storage
from modelbuild.contract import TrainingResult
from modelbuild.errors import AwsError, TrainingFailed
from modelbuild.log.events import TRAINING_ENDED, Event
from modelbuild.process import cancellation
from modelbuild.settings import AwsSettings
from modelbuild.store.model import ModelStore
from modelbuild.train.submit import follow
from request_faults import injected_faults
from waiting import SECONDS, wait_until

# What a head prints: its own lines, and those of steps as Metaflow passes them on.
OVER = Event(TRAINING_ENDED, "head: the training succeeded").to_line()
HEAD = f"""#!/bin/sh
echo "Metaflow 2 executing DemoFlow"
echo "2026-01-31 12:00:00.123 [17/start/1 (pid 42)] Task is starting."
echo "2026-01-31 12:00:01.123 [17/train/2 (pid 43)] [{"0" * 36}] epoch 1"
echo "2026-01-31 12:00:02.123 [17/train/2 (pid 43)] [{"0" * 36}] epoch 2"
echo '{OVER}'
case "$ACT" in die) exit 3 ;; esac
exec sleep 600
"""


@dataclass
class Training:
    """A head that runs, and where its result comes."""

    storage: Storage
    batch: Batch
    job_id: str
    prefix: str

    def follow(self) -> None:
        """Stay with it, and end as it does."""
        logs = Logs(session(AwsSettings()))
        attempt = ModelStore(self.storage, self.prefix).attempt(1)
        follow.end_as(follow.to_result(attempt, self.batch, logs, self.job_id))

    def end(self, status: str, reason: str = "") -> None:
        """Write the result, as the head does."""
        result = TrainingResult.model_validate({"training/status": status, "training/reason": reason})
        self.storage.write(f"{self.prefix}/result.json", result.to_json().encode())

    def wait_for(self, states: tuple[str, ...]) -> None:
        """Return when the head is in one of these states."""
        wait_until(lambda: self.batch.describe(self.job_id).status in states, f"the head to be {states}")


_numbers = iter(range(1, 100))


@pytest.fixture
def train(aws: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Training]]:
    """A function that starts a head which does what its argument says."""
    monkeypatch.setattr(follow, "LOOK_SECONDS", 0.2)
    # A head may start late on a busy machine.
    monkeypatch.setattr(follow, "_LAST_LINES_SECONDS", SECONDS)
    (aws.bin / "python").write_text(HEAD)
    (aws.bin / "python").chmod(0o755)
    storage, batch = Storage(session(AwsSettings())), Batch(session(AwsSettings()))
    made: list[Training] = []

    def start(act: str) -> Training:
        job_id = batch.submit(
            "demo-follow",
            queue="modelbuild-head",
            definition=batch.definitions.with_image("modelbuild-head", "modelbuild/default:1"),
            command=["python"],
            environment={"ACT": act},
            timeout=600,
            tags={},
        )
        prefix = f"s3://modelbuild-123456789012/models/follow/sentiment/{next(_numbers)}"
        made.append(Training(storage, batch, job_id, prefix))
        return made[-1]

    yield start
    for training in made:
        batch.terminate(training.job_id, "the test is over")


def test_log_comes_in_groups_until_the_result(train: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """The head's lines appear once, in a group for the head and one for each step; success is no error,
    although the head still runs: it waits for a block that is behind this step.
    """
    training = train("stay")
    training.end("succeeded")
    training.follow()
    shown = [line for line in capsys.readouterr().out.splitlines() if not line.startswith("job ")]
    assert shown == [
        "--- :aws: head",
        "Metaflow 2 executing DemoFlow",
        "--- :metaflow: step start",
        "2026-01-31 12:00:00.123 [17/start/1 (pid 42)] Task is starting.",
        "--- :metaflow: step train",
        f"2026-01-31 12:00:01.123 [17/train/2 (pid 43)] [{'0' * 36}] epoch 1",
        f"2026-01-31 12:00:02.123 [17/train/2 (pid 43)] [{'0' * 36}] epoch 2",
        "--- :aws: head",
        "head: the training succeeded",
        "+++ :white_check_mark: The training succeeded",
    ]
    assert training.batch.describe(training.job_id).status == "RUNNING"


class Printed:
    """A log that has these lines."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines

    def new(self, stream: str) -> list[str]:
        """The lines, at whatever is read."""
        assert stream
        return self.lines


def shown(lines: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[list[str], bool]:
    """What the step shows of the head's log, and whether it takes the log for complete."""
    capsys.readouterr()
    nothing: Any = None
    logs: Any = Printed(lines)
    follower = follow._Follower(nothing, nothing, logs, "job")
    follower._show(BatchJob("job", "RUNNING", "", "stream", {}))
    return capsys.readouterr().out.splitlines(), follower._ended


PREFIX = "2026-01-31 12:00:01.123 [17/train/2 (pid 43)] "


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(st.characters(codec="utf-8")) | st.just(OVER), max_size=9))
@example([OVER, f"\r{OVER}", "head: the training succeeded", "+++ :rocket: deployed"])
def test_nothing_that_a_step_prints_ends_the_log(
    capsys: pytest.CaptureFixture[str], texts: list[str]
) -> None:
    """A step may print anything, also the head's last word: it stays in its group, and more is awaited."""
    lines, ended = shown([PREFIX + text for text in texts], capsys)
    assert not ended
    assert len(lines) == len(texts) + bool(texts)
    assert lines[:1] == ["--- :metaflow: step train"][: len(texts)]
    assert all(line.startswith(PREFIX.rstrip()) for line in lines[1:])


def test_prose_of_the_head_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    """What the head says in a sentence ends nothing, and an event that is not known shows its sentence."""
    lines, ended = shown(
        ["head: the training plan", Event("model-published", "head: a model").to_line()], capsys
    )
    assert lines == ["--- :aws: head", "head: the training plan", "head: a model"]
    assert not ended
    assert shown([OVER], capsys) == (["--- :aws: head", "head: the training succeeded"], True)


def test_failure_has_the_results_reason(train: Any) -> None:
    """A training that failed ends the step with 13 and the reason of the result."""
    training = train("stay")
    training.end("failed", "step train failed: ValueError")
    with pytest.raises(TrainingFailed, match="step train failed: ValueError") as caught:
        training.follow()
    assert caught.value.exit_code == 13


def test_following_step_outlasts_an_outage(
    aws: Any, train: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A training goes on while AWS refuses to say how it is: the step fails only when that lasts."""
    training = train("stay")
    training.end("succeeded")
    request, refusal = "batch POST /v1/describejobs", {"status": 403, "code": "ExpiredTokenException"}
    with injected_faults(aws.url) as faults:
        faults.add(request, **refusal, count=2)
        training.follow()
        assert capsys.readouterr().out.count("renew the credentials of this machine; looking again") == 2
        monkeypatch.setattr(follow, "_AWAY_SECONDS", 0.5)
        faults.add(request, **refusal)
        with pytest.raises(AwsError, match="ExpiredTokenException"):
            training.follow()


def test_cancelled_elsewhere_is_143(train: Any) -> None:
    """A training that was cancelled ends the step as a cancelled job ends."""
    training = train("stay")
    training.end("cancelled", "the build was cancelled")
    with pytest.raises(SystemExit) as caught:
        training.follow()
    assert caught.value.code == 143


def test_head_without_result_is_reported(train: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A head that ends without a result is waited for a while, and then reported with Batch's reason."""
    monkeypatch.setattr(follow, "PATIENCE_SECONDS", 0.5)
    training = train("die")
    with pytest.raises(TrainingFailed, match=r"ended without a result \(Essential container"):
        training.follow()


# What an agent leaves a cancelled job unless it is told otherwise.
GRACE_SECONDS = 10


def test_cancel_ends_the_head_within_the_grace_period(train: Any) -> None:
    """SIGTERM, also one that came before the head was submitted, ends the head's job and the step with 143,
    before the agent would kill.
    """
    training = train("stay")
    training.wait_for(("RUNNING",))
    cancellation.hold_signals()
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
    began = time.monotonic()
    earlier = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as caught:
            training.follow()
    finally:
        signal.signal(signal.SIGTERM, earlier)
    assert time.monotonic() - began < GRACE_SECONDS
    assert caught.value.code == 143
    training.wait_for(("FAILED",))
    assert training.batch.describe(training.job_id).status_reason == "the build's step was cancelled"


def test_policy_is_what_waiting_calls(train: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """``docs/iam/train-wait.json`` and ``train.json`` allow each call of a wait that is cancelled; the first
    has nothing else.
    """
    calls: set[str] = set()
    original: Any = BaseClient._make_api_call  # type: ignore[attr-defined]

    def record(self: Any, operation: str, arguments: Any) -> Any:
        calls.add(f"{self.meta.service_model.endpoint_prefix}:{operation}")
        return original(self, operation, arguments)

    training = train("stay")
    training.wait_for(("RUNNING",))
    monkeypatch.setattr(BaseClient, "_make_api_call", record)

    def sleep(seconds: float) -> None:
        # The exception that the handler raises must not land in whatever callback of Python runs just then.
        if any(call.startswith("logs:") for call in calls):
            signal.raise_signal(signal.SIGTERM)
        time.sleep(seconds)

    monkeypatch.setattr(follow, "time", SimpleNamespace(monotonic=time.monotonic, sleep=sleep))
    earlier = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit):
            training.follow()
    finally:
        signal.signal(signal.SIGTERM, earlier)
    folder = Path(__file__).parents[2] / "docs" / "iam"

    def allowed(name: str) -> list[str]:
        statements = json.loads((folder / name).read_text())["Statement"]
        actions = [statement["Action"] for statement in statements]
        return [one for action in actions for one in ([action] if isinstance(action, str) else action)]

    more, others = allowed("train-wait.json"), allowed("train.json")
    assert calls - {"s3:GetObject"} == {"batch:DescribeJobs", *more}
    assert all(any(fnmatchcase(call, one) for one in [*more, *others]) for call in calls)
