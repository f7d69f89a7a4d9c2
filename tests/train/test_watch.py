from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from types import SimpleNamespace
from typing import Any

import pytest

import flow_files
import http_api
from modelbuild.aws.batch.jobs import Batch
from modelbuild.aws.identity import session
from modelbuild.aws.storage import Storage
from modelbuild.buildkite import rate_limiter
from modelbuild.buildkite.rest import Rest, RestError
from modelbuild.contract import Source, TrainingResult
from modelbuild.log.events import TRAINING_ENDED, Event, parse_event
from modelbuild.settings import AwsSettings
from modelbuild.train.commit import source
from modelbuild.train.head.watch import Cancellation, ScheduleTimeout, Watch
from waiting import wait_until

BUCKET = "s3://modelbuild-123456789012"
JOB = "0b7c5a0e-7f0c-4c8b-9d5e-0123456789ab"


@dataclass
class Page:
    """Builds of one pipeline, and what was asked about them."""

    url: str = ""
    cancelled: list[int] = field(default_factory=list)
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def page() -> Iterator[Page]:
    """Buildkite's REST API for builds, without their jobs."""
    builds = Page()

    class Handler(http_api.JsonHandler):
        def do_GET(self) -> None:
            query = self.path.split("/builds", 1)[1]
            builds.asked.append(query)
            states = dict.fromkeys(builds.cancelled, "canceled")
            if query.startswith("/"):
                number = int(query[1:].split("?")[0])
                found: Any = {"number": number, "state": states.get(number, "running")}
            elif "state=canceled" in query:
                found = [{"number": number, "state": state} for number, state in states.items()]
            else:
                found = []
            self.answer(found, builds.status, builds.headers)

    with http_api.served(Handler) as server:
        builds.url = f"{http_api.url(server)}/v2"
        yield builds


@pytest.fixture
def head(
    aws: Any, page: Page, request_for: Any, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Callable[[int], Cancellation]:
    """A function that makes what a head of this test's pipeline asks."""
    assert aws.url
    # Turns that tests with another clock took are not to be waited for.
    monkeypatch.setattr(rate_limiter, "SLICE_SECONDS", 0.05)
    pipeline = request.node.name.replace("_", "-")

    def cancellation(number: int) -> Cancellation:
        asked = request_for(f"{BUCKET}/models/{pipeline}/sentiment/{number}", model_id=str(number))
        build = asked.build.model_copy(update={"number": number, "pipeline": pipeline})
        storage = Storage(session(AwsSettings()))
        return Cancellation(storage, Rest(page.url, "token"), asked.model_copy(update={"build": build}))

    return cancellation


def at_once(seconds: float) -> bool:
    """Waits for nothing."""
    assert seconds >= 0
    return False


def test_cancelled_before_the_head_came(head: Any, page: Page) -> None:
    """The first look asks for this build, however long ago it was cancelled."""
    page.cancelled = [7]
    assert head(7).is_cancelled(at_once)
    assert not head(8).is_cancelled(at_once)
    assert [query.split("?")[0] for query in page.asked] == ["/7", "/8"]


def test_heads_of_a_pipeline_share_the_question(
    head: Any, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one slice of time, the cancelled builds are asked for once; the next slice asks anew."""
    heads = [head(number) for number in range(1, 6)]
    assert not any(one.is_cancelled(at_once) for one in heads)
    page.asked.clear()
    now = (int(time.time() / 20) + 1) * 20.0
    monkeypatch.setattr(time, "time", lambda: now)
    assert not any(one.is_cancelled(at_once) for one in heads)
    assert len(page.asked) == 2  # those that are, and those that are just being
    page.cancelled = [3]
    assert not any(one.is_cancelled(at_once) for one in heads)
    monkeypatch.setattr(time, "time", lambda: now + 20)
    assert [one.is_cancelled(at_once) for one in heads] == [False, False, True, False, False]
    assert len(page.asked) == 4
    since = page.asked[0].split("finished_from=")[1].split("&")[0].replace("%3A", ":").replace("%2B", "+")
    assert datetime.fromisoformat(since) == datetime.fromtimestamp(now - 900, timezone.utc)


def test_limit_of_requests_pauses_the_watch(head: Any, page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a refusal nothing is asked until Buildkite allows it, and then for this build itself."""
    one = head(7)
    page.status, page.headers = 429, {"RateLimit-User-Reset": "30"}
    with pytest.raises(RestError):
        one.is_cancelled(at_once)
    page.status, page.headers, page.cancelled = 200, {}, [7]
    assert not one.is_cancelled(at_once)
    assert len(page.asked) == 1
    now = time.time() + 31
    monkeypatch.setattr(time, "time", lambda: now)
    assert one.is_cancelled(at_once)
    assert page.asked[-1].startswith("/7?")


def test_verdict_interrupts_the_main_thread(head: Any, page: Page) -> None:
    """A cancelled build ends what the main thread waits for, and the verdict says why."""
    one = head(7)
    assert not one.is_cancelled(at_once)
    page.cancelled = [7]
    is_cancelled = []
    earlier = signal.signal(signal.SIGTERM, lambda *_: is_cancelled.append(threading.current_thread()))
    try:
        with Watch(one, None, seconds=0.05) as watch:
            wait_until(lambda: is_cancelled, "the interrupt of the main thread")
    finally:
        signal.signal(signal.SIGTERM, earlier)
    assert is_cancelled == [threading.main_thread()]
    assert watch.verdict is not None
    assert (watch.verdict.status, watch.verdict.reason) == ("cancelled", "the build was cancelled")


def test_first_look_is_at_once(head: Any, page: Page) -> None:
    """A build that was cancelled before its head came is found so before anything is trained."""
    page.cancelled = [7]
    is_cancelled = threading.Event()
    earlier = signal.signal(signal.SIGTERM, lambda *_: is_cancelled.set())
    try:
        with Watch(head(7), None, seconds=3600) as watch:
            wait_until(is_cancelled.is_set, "the interrupt of the main thread")
    finally:
        signal.signal(signal.SIGTERM, earlier)
    assert watch.verdict is not None
    assert watch.verdict.status == "cancelled"


def test_jobs_are_those_that_metaflow_names() -> None:
    """The watch learns a step's job from Metaflow's own line, and not from ids that a step prints."""
    jobs: list[tuple[str, str]] = []
    schedule_timeout: Any = SimpleNamespace(add_job=lambda step, job_id: jobs.append((step, job_id)))
    watch = Watch(None, schedule_timeout)
    prefix, waits = "2026-01-31 12:00:00.123 [17/train/2 (pid 42)] ", "Task is starting (status RUNNABLE)..."
    for text in (f"[{JOB}] request done", f"see {prefix}[{JOB}] {waits}", waits, "", "[17/other/3] [no id]"):
        watch.on_line(prefix + text)
    watch.on_line(f"[17/train/2 (pid 42)] [{JOB}] {waits}")
    assert jobs == []
    watch.on_line(f"{prefix}[{JOB}] {waits}")
    assert jobs == [("train", JOB)]


def test_step_without_machine_is_ended(aws: Any) -> None:
    """A step's job that is RUNNABLE for too long is ended; the reason names the step, and has Batch's."""
    (aws.bin / "python").write_text("#!/bin/sh\nexec sleep 600\n")
    (aws.bin / "python").chmod(0o755)
    batch = Batch(session(AwsSettings()))
    definition = batch.definitions.with_image("modelbuild-head", "modelbuild/default:1")

    def submit(name: str, cpu: int) -> str:
        answer = batch._batch.submit_job(
            jobName=name,
            jobQueue="modelbuild-default",
            jobDefinition=definition,
            containerOverrides={"resourceRequirements": [{"type": "VCPU", "value": str(cpu)}]},
        )
        return answer["jobId"]

    first, second = submit("first", 1), submit("second", 9)
    # On a busy machine it would be overdue as well.
    wait_until(lambda: batch.describe(first).status == "RUNNING", "the start of the first job")
    schedule_timeout = ScheduleTimeout(batch, 0.2)
    watch = Watch(None, schedule_timeout)
    watch.on_line(f"2026-01-31 12:00:00.123 [17/prepare/2 (pid 42)] [{first}] Task is starting.")
    watch.on_line(f"2026-01-31 12:00:00.123 [17/train/3 (pid 42)] [{second}] Task is starting.")
    try:
        reason = wait_until(schedule_timeout.overdue, "a step that is overdue")
        assert reason is not None
        assert reason.startswith(
            "step train waited more than 0.2 seconds for a machine (MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT"
        )
        assert batch.describe(first).status == "RUNNING"
        wait_until(lambda: batch.describe(second).ended, "the end of the second job")
        assert batch.describe(second).status_reason == "waited longer than schedule-timeout"
    finally:
        batch.terminate(first, "the test is over")


def test_head_of_a_cancelled_build_stops(
    aws: Any, page: Page, request_for: Any, repository: Any, tmp_path: Any
) -> None:
    """A build that is cancelled while its flow runs: the head stops the flow, and the result says so."""
    commit = repository.commit(flow_files.files("demo"))
    archived = source.archive(repository.folder, commit, flow="flows/flow.py").content
    prefix = f"{BUCKET}/models/cancelled/demo/sentiment/7"
    storage = Storage(session(AwsSettings()))
    digest = hashlib.sha256(archived).hexdigest()
    request = request_for(
        prefix, source=Source(path=f"{prefix}/source.tar.gz", sha256=digest), parameters={"act": "wait"}
    )
    storage.write(request.source.path, archived)
    storage.write(f"{prefix}/request.json", request.to_json().encode())
    quick = (
        "import sys; from modelbuild.buildkite import rate_limiter; "
        "from modelbuild.train.head import command, watch; "
        "rate_limiter.SLICE_SECONDS = watch.SLICE_SECONDS = 0.2; "
        "watch.Watch.__init__.__defaults__ = (0.2,); sys.exit(command.run())"
    )
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        **aws.environ(),
        "ARTIFACTS": prefix,
        "METAFLOW_USER": "modelbuild",
        "METAFLOW_DEFAULT_DATASTORE": "local",
        "METAFLOW_DEFAULT_METADATA": "local",
        "BUILDKITE_API_URL": page.url,
        "BUILDKITE_API_TOKEN": "the-rest-token",
    }
    with subprocess.Popen(
        [sys.executable, "-c", quick],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "waiting now" in line and not page.cancelled:
                page.cancelled = [7]
            event = parse_event(line)
            if event is not None:
                break
        process.kill()
    assert event == Event(TRAINING_ENDED, "head: the training was cancelled: the build was cancelled")
    result = TrainingResult.model_validate_json(storage.read(f"{prefix}/result.json"))
    assert (result.status, result.reason) == ("cancelled", "the build was cancelled")
