"""The annotation of a training whose build is over: when the callback corrects it, and when it leaves it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

import http_api
import samples
from memory import MemoryObjects
from modelbuild.aws.batch.jobs import BatchJob
from modelbuild.buildkite.access import ApiAccess
from modelbuild.contract import TrainingResult
from modelbuild.flow import publish
from modelbuild.store.attempts import JobRecord
from modelbuild.store.model import ModelStore
from modelbuild.train.attempts import delivery
from modelbuild.train.submit import page as page_text

PREFIX = "s3://bucket/models/demo/sentiment/7"
UNDER_WAY = page_text.training(
    samples.request_for(PREFIX),
    JobRecord(job_id="j", queue="q", region="r"),
    BatchJob("j", "RUNNING", "", "", {}),
    {"job_url": "https://aws.example/job", "logs_url": "https://aws.example/log"},
    "",
)
CANCELLED = TrainingResult(status="cancelled", reason="the build was cancelled <on its page>")


@dataclass
class Page:
    """A build over HTTP, with its annotations by context."""

    state: str = "canceled"
    step: str = "waiting"
    annotations: dict[str, dict[str, str]] = field(default_factory=dict)
    status: int = 201
    loses_answer: bool = False
    url: str = ""

    def says_under_way(self) -> None:
        """The train step has put its annotation there."""
        self.annotations["training"] = {"context": "training", "style": "info", "body": UNDER_WAY}


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    """Build 7 of the pipeline demo."""
    page = Page()
    # Turns are held elsewhere.
    for caller in (delivery, publish):
        monkeypatch.setattr(caller, "shared_rate_limiter", lambda *_: None)

    class Handler(http_api.JsonHandler):
        def do_GET(self) -> None:
            if self.path.partition("?")[0].endswith("/annotations"):
                notes = page.annotations.values()
                self.answer([{**note, "body_html": note["body"], "body": ""} for note in notes])
            elif "/jobs?" in self.path:
                step = {"id": "j", "type": "manual", "step_key": "training_finished", "state": page.step}
                self.answer({"items": [step]})
            else:
                self.answer({"number": 7, "state": page.state, "blocked": False})

        def do_PUT(self) -> None:
            page.step = "unblocked"
            self.answer({"id": "j"}, 502 if page.loses_answer else 200)

        def do_POST(self) -> None:
            note = self.body()
            assert self.path.endswith("/organizations/local/pipelines/demo/builds/7/annotations")
            if page.status == 201:
                page.annotations[note["context"]] = note
            self.answer(note if page.status == 201 else {"message": "Forbidden"}, page.status)

    with http_api.served(Handler) as server:
        page.url = f"{http_api.url(server)}/v2"
        yield page


def deliver_result(page: Page, result: TrainingResult, attempt: int = 1) -> str:
    """Have a head tell how its attempt ended."""
    store = ModelStore(MemoryObjects(), PREFIX)
    return delivery.deliver_result(
        store, attempt, samples.request_for(PREFIX), result, ApiAccess(page.url, "token")
    )


def test_annotation_of_a_cancelled_build_says_so(page: Page) -> None:
    """Nothing of a cancelled build runs any more: the head's word is what ends "is being trained"."""
    page.says_under_way()
    deliver_result(page, CANCELLED)
    [note] = page.annotations.values()
    assert (note["context"], note["style"]) == ("training", "error")
    assert "model sentiment 7 of demo was cancelled" in note["body"]
    assert "the build was cancelled &lt;on its page&gt;" in note["body"]


def test_later_attempt_behind_an_open_step_is_on_the_page(page: Page) -> None:
    """No step is unblocked twice, so the page says how attempt 2 ended until notify is retried."""
    page.says_under_way()
    page.state, page.step = "failed", "unblocked"
    deliver_result(page, TrainingResult(status="succeeded"), attempt=2)
    [note] = page.annotations.values()
    assert note["style"] == "success"
    assert "has ended well in attempt 2" in note["body"]
    assert "retry the step behind it" in note["body"]


@pytest.mark.parametrize("style", ["success", "error", "info"])
def test_annotation_of_notify_is_not_replaced(page: Page, style: str) -> None:
    """A second delivery of a training does not replace the annotation of notify, whatever style it has."""
    page.annotations["training"] = {"context": "training", "style": style, "body": "by notify"}
    page.state, page.step = "running", "unblocked"
    deliver_result(page, CANCELLED)
    assert page.annotations["training"]["body"] == "by notify"


def test_report_of_a_notify_that_was_retried_at_once_is_not_replaced(page: Page) -> None:
    """A person retries notify when the later attempt has its result, while its head still runs; a model that
    is the first for its endpoint has the style of a training that runs.
    """
    page.annotations["training"] = {"context": "training", "style": "info", "body": "by notify"}
    page.state, page.step = "failed", "unblocked"
    deliver_result(page, TrainingResult(status="succeeded"), attempt=2)
    assert page.annotations["training"]["body"] == "by notify"


@pytest.mark.parametrize("lost", [False, True])
def test_step_that_the_own_flow_unblocked_leaves_the_page_to_notify(page: Page, lost: bool) -> None:
    """A flow of a later attempt that unblocks the step itself, as after an attempt that was abandoned, leaves
    the page to notify, which runs by then; also where only the answer of Buildkite was lost.
    """
    page.says_under_way()
    page.state, page.step, page.loses_answer = "running", "blocked", lost
    store = ModelStore(MemoryObjects(), PREFIX)
    store.attempt(1).hold("")
    access, result = ApiAccess(page.url, "token"), TrainingResult(status="succeeded")
    publish.unblock(store, 2, samples.request_for(PREFIX), result, access)
    assert page.step == "unblocked"
    assert store.attempt(2).delivered()
    summary = delivery.deliver_result(store, 2, samples.request_for(PREFIX), result, access)
    assert "is unblocked already" in summary
    assert page.annotations["training"]["body"] == UNDER_WAY


def test_flow_that_finds_the_step_unblocked_leaves_the_record_to_the_head(page: Page) -> None:
    """The page of a later attempt behind an open step is the head's to correct."""
    page.says_under_way()
    page.state, page.step = "failed", "unblocked"
    store = ModelStore(MemoryObjects(), PREFIX)
    access, result = ApiAccess(page.url, "token"), TrainingResult(status="succeeded")
    publish.unblock(store, 2, samples.request_for(PREFIX), result, access)
    assert not store.attempt(2).delivered()
    delivery.deliver_result(store, 2, samples.request_for(PREFIX), result, access)
    assert "retry the step behind it" in page.annotations["training"]["body"]


def test_step_that_is_unblocked_now_leaves_the_page_to_notify(page: Page) -> None:
    """Notify follows, and says more."""
    page.says_under_way()
    page.state, page.step = "running", "blocked"
    deliver_result(page, TrainingResult(status="succeeded"))
    assert page.annotations["training"]["body"] == UNDER_WAY


def test_page_that_cannot_be_corrected_stops_nothing(page: Page, capsys: pytest.CaptureFixture[str]) -> None:
    """A refused annotation is logged, and the delivery counts all the same."""
    page.says_under_way()
    page.status = 403
    assert "will not be reached, the build is canceled" in deliver_result(page, CANCELLED)
    assert "still says that the training is under way: " in capsys.readouterr().out
