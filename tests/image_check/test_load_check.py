"""A server answers /ping while it computes requests."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from model_servers import RightServer, running
from modelbuild.image_check import load_check, server
from modelbuild.image_check.model import CheckedModel
from modelbuild.image_check.outcome import run_check
from modelbuild.image_check.server import Server
from modelbuild.image_check.session import Session
from server_outcomes import examine
from waiting import SECONDS


class _OneAtATime(RightServer):
    """While it predicts it answers nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()

    def ping(self) -> tuple[int, bytes]:
        with self.lock:
            return super().ping()

    def invoke(self, content_type: str, body: bytes) -> tuple[int, bytes]:
        with self.lock:
            if content_type == "application/json" and b"[" in body:
                threading.Event().wait(0.02)
            return super().invoke(content_type, body)


class _Unhealthy(RightServer):
    """It says once, while it computes several requests, that it is not healthy."""

    def __init__(self) -> None:
        super().__init__()
        self.alone = threading.Lock()
        self.several, self.refused = threading.Event(), threading.Event()

    def ping(self) -> tuple[int, bytes]:
        if self.several.is_set() and not self.refused.is_set():
            self.refused.set()
            return 503, b""
        return super().ping()

    def invoke(self, content_type: str, body: bytes) -> tuple[int, bytes]:
        if not self.alone.acquire(blocking=False):
            self.several.set()
            self.refused.wait(SECONDS)
            return super().invoke(content_type, body)
        try:
            threading.Event().wait(0.01)
            return super().invoke(content_type, body)
        finally:
            self.alone.release()


def test_ping_must_be_200_while_requests_are_computed(
    model: CheckedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that calls itself unhealthy when it is busy is found, and what follows is checked as well."""
    monkeypatch.setattr(load_check, "_LOAD_SECONDS", 2.0)
    outcomes = examine(_Unhealthy(), model)
    failed = [outcome for outcome in outcomes.values() if outcome.status != "ok"]
    assert [outcome.subject for outcome in failed] == ["/ping under load"], [*map(str, failed)]
    assert "answered with 503 while 4 requests are computed" in failed[0].text


def test_the_load_asks_for_no_answer_beyond_sagemakers_limit(
    model: CheckedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model with long answers is asked for fewer of them, and so is found right."""
    monkeypatch.setattr(load_check, "_LOAD_SECONDS", 2_000.0)
    instances: list[int] = []

    class LongAnswers(RightServer):
        def document(self, outputs: list[dict[str, Any]]) -> dict[str, Any]:
            instances.append(len(outputs))
            return super().document([{**output, "more": "a" * 100_000} for output in outputs])

    with running(LongAnswers()) as running_server:
        session = Session(Server("127.0.0.1", running_server.server_port), model, model.identity)
        _, count = load_check._load_body(session, model.instances)
    assert instances == [1, count]
    assert count == 31


def test_ping_must_be_answered_while_requests_are_computed(
    model: CheckedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that does one thing at a time answers /ping later than SageMaker waits."""
    monkeypatch.setattr(load_check, "_LOAD_SECONDS", 2.0)
    monkeypatch.setattr(server, "PING_SECONDS", 0.01)
    with running(_OneAtATime()) as running_server:
        session = Session(Server("127.0.0.1", running_server.server_port), model, model.identity)
        outcome = run_check("/ping under load", lambda: load_check.ping_under_load(session))
    assert outcome.status == "failed"
    assert "not within 0.01 s" in outcome.text
    assert "another thread or process" in outcome.text
