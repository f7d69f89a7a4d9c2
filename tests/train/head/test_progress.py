"""The annotation of a training that runs, as its head writes it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

import http_api
import samples
from memory import MemoryObjects
from modelbuild.aws.batch.jobs import BatchJob
from modelbuild.buildkite.access import ApiAccess
from modelbuild.buildkite.rate_limiter import RateLimiter
from modelbuild.callback.page import PAGE_SECONDS, wait_for_page
from modelbuild.clock import Clock
from modelbuild.contract import TrainingResult
from modelbuild.log.events import TRAINING_PROGRESS, Event
from modelbuild.store.attempts import Attempt, JobRecord
from modelbuild.store.model import ModelStore
from modelbuild.train.head import progress
from modelbuild.train.head.stage import Stage
from waiting import SECONDS, wait_until

PREFIX = "s3://bucket/models/demo/sentiment/7"
JOB = "0b7c5a0e-7f0c-4c8b-9d5e-0123456789ab"


def line(text: str, step: str = "train") -> str:
    """A line of a task, as Metaflow prints it."""
    return f"2026-01-31 12:00:00.123 [17/{step}/2 (pid 42)] {text}"


def starts(step: str, status: str = "") -> str:
    """Metaflow's line about a step that begins."""
    return line(f"[{JOB}] Task is starting (status {status})..." if status else "Task is starting.", step)


def event(text: str) -> str:
    """The line of a step that measured something."""
    return line(Event(TRAINING_PROGRESS, text).to_line())


@dataclass
class Page:
    """Buildkite's REST API for the annotations of a build."""

    store: ModelStore
    url: str = ""
    reply: tuple[int, dict[str, str]] = (201, {})
    notes: list[dict[str, str]] = field(default_factory=list)
    asked: int = 0
    answers: threading.Event = field(default_factory=threading.Event)

    def made(self, attempt: int = 1) -> progress.ProgressPage:
        """The page of a head."""
        batch: Any = SimpleNamespace(describe=lambda job_id: BatchJob(job_id, "RUNNING", "", "head/1", {}))
        request = samples.request_for(PREFIX)
        access = ApiAccess(self.url, "token")
        found = progress.progress_page(self.store, batch, request, access, attempt)
        assert found is not None
        return found

    def shows(self, text: str) -> bool:
        """Whether the newest annotation has this text."""
        return bool(self.notes) and text in self.notes[-1]["body"]


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    """A build whose training has a head, with a page that is updated many times a second."""
    monkeypatch.setattr(progress, "REFRESH_SECONDS", 0.05)
    monkeypatch.setattr(progress, "CHANGE_SECONDS", 0.01)
    monkeypatch.setattr("modelbuild.buildkite.rate_limiter.SLICE_SECONDS", 0.01)
    page = Page(ModelStore(MemoryObjects(), PREFIX))
    page.store.record_job(JobRecord(job_id=JOB, queue="modelbuild-head", region="us-east-1"))
    page.answers.set()

    class Handler(http_api.JsonHandler):
        def do_POST(self) -> None:
            # A test that sees the request counted may change the reply to the next one.
            status, headers = page.reply
            page.asked += 1
            note = self.body()
            assert page.answers.wait(SECONDS)
            assert self.path.endswith("/organizations/local/pipelines/demo/builds/7/annotations")
            if status == 201:
                page.notes.append(note)
            self.answer(note if status == 201 else {"message": "no"}, status, headers)

    with http_api.served(Handler) as server:
        page.url = f"{http_api.url(server)}/v2"
        yield page


def test_stage_is_what_metaflow_and_the_step_say() -> None:
    """The step, whether its job waits for a machine, and what was measured last, which later steps keep."""
    stage = Stage().after(starts("train")).after(starts("train", "RUNNABLE"))
    assert (stage.step, stage.waits, stage.measured) == ("train", True, "")
    stage = stage.after(starts("train", "RUNNING"))
    assert (stage.step, stage.waits) == ("train", False)
    stage = stage.after(event("step 3: loss 0.4"))
    later = stage.after(starts("evaluate"))
    assert (later.step, later.measured) == ("evaluate", "step 3: loss 0.4")


@pytest.mark.parametrize(
    "other",
    [
        "Task is starting.",
        line("Task is starting over"),
        line("said: Task is starting."),
        line(Event("training-ended", "forged").to_line()),
        line("x " + Event(TRAINING_PROGRESS, "forged").to_line()),
        Event(TRAINING_PROGRESS, "not of a task").to_line(),
    ],
)
def test_stage_is_not_what_else_is_printed(other: str) -> None:
    """Lines that only look like Metaflow's, and other events, say nothing of where the flow is."""
    stage = Stage("train", since="12:00:00")
    assert stage.after(other) == stage


def test_page_says_where_the_flow_is(page: Page) -> None:
    """Step, machine and measurements come to the training's annotation, in the style of one that runs."""
    with page.made() as shown:
        shown.on_line(starts("train", "RUNNABLE"))
        wait_until(lambda: page.shows("Step <code>train</code> of its flow has waited for a machine since "))
        shown.on_line(starts("train", "RUNNING"))
        wait_until(lambda: page.shows("Step <code>train</code> of its flow has run since "))
        shown.on_line(event("step 3: loss 0.4 <b>"))
        wait_until(lambda: page.shows("Measured last: step 3: loss 0.4 &lt;b&gt;."))
    assert {(note["context"], note["style"]) for note in page.notes} == {("training", "info")}
    assert page.shows(f"#jobs/detail/{JOB}")
    assert page.shows("head$252F1")
    assert not page.shows("\n\n")


def test_nothing_new_is_not_sent(page: Page) -> None:
    """A page that already says where the flow is costs no request."""
    with page.made() as shown:
        shown.on_line(starts("train"))
        wait_until(lambda: len(page.notes) == 1)
        shown.on_line(line("Epoch 3"))
        shown.on_line(event("step 1: loss 0.5"))
        wait_until(lambda: len(page.notes) == 2)
    assert page.asked == 2


@pytest.mark.parametrize("attempt", [1, 2])
def test_page_of_a_training_that_ended_is_left_alone(page: Page, attempt: int) -> None:
    """Once the flow has stored its result, which is before notify can write, nothing is written any more."""
    page.store.record_job(JobRecord(job_id=JOB, queue="q", region="us-east-1", attempt=attempt))
    page.store.attempt(attempt).write_result_once(TrainingResult(status="failed", reason="boom"))
    with page.made(attempt) as shown:
        shown.on_line(starts("notify_buildkite"))
        wait_until(lambda: not shown._thread.is_alive())
    assert page.asked == 0


@pytest.mark.parametrize("unblocked", [False, True])
def test_page_of_a_later_attempt_says_whether_the_step_is_unblocked(page: Page, unblocked: bool) -> None:
    """An earlier attempt may have been abandoned, or have ended when its build was over: then this attempt
    unblocks the step.
    """
    ended = TrainingResult(status="cancelled", reason="the build was cancelled")
    page.store.attempt(2).record_delivered(ended, step_unblocked=unblocked)
    page.store.record_job(JobRecord(job_id=JOB, queue="q", region="us-east-1", attempt=3))
    with page.made(3) as shown:
        shown.on_line(starts("train"))
        wait_until(lambda: page.shows("This is attempt 3"))
    assert page.shows("An earlier attempt unblocked step") is unblocked


def test_page_of_a_newer_attempt_is_left_alone(page: Page) -> None:
    """A head that is not the newest says nothing of its flow."""
    page.store.record_job(JobRecord(job_id="another", queue="q", region="us-east-1", attempt=2))
    with page.made() as shown:
        shown.on_line(starts("train"))
        wait_until(lambda: not shown._thread.is_alive())
    assert page.asked == 0


@pytest.mark.parametrize("status", [401, 403, 404, 422])
def test_refusal_is_logged_once(page: Page, status: int, capsys: pytest.CaptureFixture[str]) -> None:
    """A token without the scope is told once, and the training goes on without the page."""
    page.reply = (status, {})
    with page.made() as shown:
        shown.on_line(starts("train"))
        wait_until(lambda: not shown._thread.is_alive())
        shown.on_line(starts("evaluate"))
    assert page.asked == 1
    assert capsys.readouterr().out.count("the page of the build is not updated: Buildkite's API") == 1


def test_too_many_requests_are_waited_out(page: Page, capsys: pytest.CaptureFixture[str]) -> None:
    """After a refusal for a while the page is updated when Buildkite allows it."""
    page.reply = (429, {"Retry-After": "0"})
    with page.made() as shown:
        shown.on_line(starts("train"))
        wait_until(lambda: page.asked > 0)
        page.reply = (201, {})
        wait_until(lambda: page.shows("Step <code>train</code>"))
    assert "answered 429" in capsys.readouterr().out


def test_only_a_spare_slot_is_taken() -> None:
    """A request for the page takes the last slot of the moment or none; the callback has all others."""
    taken: list[str] = []

    def claim(name: str) -> bool:
        taken.append(name)
        return taken.count(name) == 1

    limiter = RateLimiter(claim, now=lambda: 300.0)
    assert limiter.spare()
    assert not limiter.spare()
    assert limiter.next() == 0.0
    assert taken == ["50-3", "50-3", "50-0"]


def test_without_a_spare_slot_the_page_waits(page: Page) -> None:
    """While other programs have all slots, the page is not updated; when one is free, it is."""
    refused: list[str] = []
    free = False

    def claim(name: str) -> bool:
        if not free:
            refused.append(name)
        return free

    with page.made() as shown:
        shown._rate_limiter = RateLimiter(claim)
        shown.on_line(starts("train"))
        wait_until(lambda: len(refused) > 2)
        assert page.asked == 0
        free = True
        wait_until(lambda: page.shows("Step <code>train</code>"))


def test_page_ends_in_time(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that waits for its next update does not hold the head up."""
    monkeypatch.setattr(progress, "REFRESH_SECONDS", 600.0)
    monkeypatch.setattr(progress, "CHANGE_SECONDS", 600.0)
    monkeypatch.setattr(progress, "_END_SECONDS", 600.0)
    with page.made() as shown:
        shown.on_line(starts("train"))
        before = time.monotonic()
    shown._thread.join(8)
    assert not shown._thread.is_alive()
    assert time.monotonic() - before < 8


def test_flow_unblocks_after_the_request_that_is_under_way(page: Page) -> None:
    """A page that Buildkite takes slowly is there before the step is unblocked."""
    page.answers.clear()
    attempt = page.store.attempt(1)
    order: list[str] = []

    def sleep(seconds: float) -> None:
        order.append(f"waits {seconds} s")
        page.answers.set()
        time.sleep(0.001)

    with page.made() as shown:
        shown.on_line(starts("train"))
        wait_until(lambda: page.asked == 1)
        attempt.write_result_once(TrainingResult(status="failed", reason="boom"))
        wait_for_page(attempt, Clock(sleep=sleep))
        order.append(f"unblocks after {len(page.notes)}")
        shown.on_line(starts("evaluate"))
        wait_until(lambda: not shown._thread.is_alive())
    assert order[0] == "waits 0.5 s"
    assert order[-1] == "unblocks after 1"
    assert page.asked == 1


def test_head_delivers_after_the_request_that_is_under_way(page: Page) -> None:
    """The block in which the page is updated ends when the last request has its answer."""
    page.answers.clear()
    with page.made() as shown:
        shown.on_line(starts("train"))
        wait_until(lambda: page.asked == 1)
        threading.Timer(0.2, page.answers.set).start()
    assert len(page.notes) == 1


def test_result_that_comes_while_a_request_is_prepared_stops_it(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The head looks for a result after it has recorded that it is about to send."""
    attempt = page.store.attempt(1)
    record = Attempt.record_page_update

    def late(self: Attempt, *, is_open: bool) -> None:
        record(self, is_open=is_open)
        attempt.write_result_once(TrainingResult(status="failed", reason="boom"))

    monkeypatch.setattr(Attempt, "record_page_update", late)
    with page.made() as shown:
        shown.on_line(starts("train"))
        wait_until(lambda: not shown._thread.is_alive())
    assert page.asked == 0
    assert not attempt.has_open_page_update()


def test_page_that_is_closed_sends_nothing(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow S3 does not hold the head up, and what was prepared meanwhile is not sent."""
    prepared, ended = threading.Event(), threading.Event()
    record = Attempt.record_page_update

    def slow(self: Attempt, *, is_open: bool) -> None:
        prepared.set()
        assert ended.wait(SECONDS)
        record(self, is_open=is_open)

    monkeypatch.setattr(Attempt, "record_page_update", slow)
    with page.made() as shown:
        shown.on_line(starts("train"))
        assert prepared.wait(SECONDS)
    ended.set()
    shown._thread.join(SECONDS)
    assert not shown._thread.is_alive()
    assert page.asked == 0


def test_head_that_died_while_it_sent_holds_a_result_up_for_seconds(
    page: Page, capsys: pytest.CaptureFixture[str]
) -> None:
    """No program will say that its request has an answer."""
    attempt = page.store.attempt(1)
    attempt.record_page_update(is_open=True)
    passed = 0.0

    def sleep(seconds: float) -> None:
        nonlocal passed
        passed += seconds

    wait_for_page(attempt, Clock(now=lambda: passed, sleep=sleep))
    assert PAGE_SECONDS <= passed < PAGE_SECONDS + 1
    assert "has no answer" in capsys.readouterr().out
