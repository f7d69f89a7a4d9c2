from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, SupportsIndex

import pytest

import http_api
import samples
from modelbuild.buildkite import rest
from modelbuild.contract import TrainingRequest
from waiting import SECONDS

STEP = "training_finished"
TOKEN = "bkua_the-rest-token"


@dataclass
class Fault:
    """What goes wrong with one call.

    ``status`` and ``headers`` make an answer that does nothing; ``lost`` does what was asked and closes the
    connection instead of answering; ``reset`` does nothing and resets the connection; ``silent`` does nothing
    and does not answer until the client has gone; ``garbage`` answers 200 with something else than JSON.
    """

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: str = "{}"
    lost: bool = False
    garbage: bool = False
    reset: bool = False
    silent: bool = False


class Faults(list[Fault]):
    """The faults of a service whose client waits briefly for the answer of a silent one, and long for others.

    So a busy machine makes no fault of its own.
    """

    def __init__(self, faults: Sequence[Fault], monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(faults)
        self._monkeypatch = monkeypatch
        self._set_patience()

    def next(self) -> Fault | None:
        """The fault of the next request."""
        return self[0] if self else None

    def pop(self, index: SupportsIndex = -1) -> Fault:
        """Take the fault of this request."""
        fault = super().pop(index)
        self._set_patience()
        return fault

    def _set_patience(self) -> None:
        fault = self.next()
        is_silent = fault is not None and fault.silent
        self._monkeypatch.setattr(rest, "_READ_SECONDS", 0.3 if is_silent else SECONDS)


@dataclass
class Service:
    """Buildkite's REST API for one build, over HTTP, with a clock that only sleeping moves.

    ``unblocked_by`` does so at ``by_hand_at``. ``jumps`` are seconds by which the next sleeps last longer.
    ``limit`` is how many requests a minute are answered; ``others`` of them are of another program.
    """

    url: str = ""
    now: float = 0.0
    blocked_at: float = 0.0
    over_at: float | None = None
    unblocked_by: str | None = None
    by_hand_at: float = 0.0
    jumps: list[float] = field(default_factory=list)
    limit: int = 0
    others: int = 0
    faults: list[Fault] = field(default_factory=list)
    applied: list[dict[str, str]] = field(default_factory=list)
    calls: list[tuple[float, str, str, str]] = field(default_factory=list)
    used: dict[int, int] = field(default_factory=dict)

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds + (self.jumps.pop(0) if self.jumps else 0.0)

    def take(self) -> tuple[bool, dict[str, str]]:
        """Count a request: whether it is within the limit, and the headers that say so."""
        if not self.limit:
            return True, {}
        minute = int(self.now / 60)
        left = self.limit - self.others - self.used.get(minute, 0)
        self.used[minute] = self.used.get(minute, 0) + 1
        reset = str(max(1, round((minute + 1) * 60 - self.now)))
        headers = {"RateLimit-User-Remaining": str(max(0, left - 1)), "RateLimit-User-Reset": reset}
        return left > 0, headers

    @property
    def person(self) -> str | None:
        """The user that unblocked the step by hand."""
        came = self.now >= self.by_hand_at and not self.applied
        late = self.over_at is not None and self.by_hand_at >= self.over_at
        return self.unblocked_by if came and not late else None

    @property
    def over(self) -> bool:
        """Whether the build was cancelled before the step was reached."""
        done = self.applied or self.person
        return self.over_at is not None and self.now >= self.over_at and not done

    @property
    def state(self) -> str:
        """The step's state."""
        if self.applied or self.person:
            return "unblocked"
        if self.over:
            return "canceled"
        return "blocked" if self.now >= self.blocked_at else "waiting"

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, object]:
        """Do what is asked."""
        build = "/v2/organizations/local/pipelines/demo/builds/7"
        target, _, query = path.partition("?")
        if method == "GET" and target == build and "exclude_jobs=true" in query:
            state = "canceled" if self.over else "passed"
            return 200, {"number": 7, "state": state, "blocked": not self.over}
        if method == "GET" and target == f"{build}/jobs" and query == f"step_key={STEP}":
            return 200, {"items": self._jobs(), "links": {}}
        if method == "PUT" and target == f"{build}/jobs/j2/unblock":
            if self.over:
                return 422, {"message": "This build has been canceled"}
            if self.state != "blocked":
                return 422, {"message": "The job's state must be blocked."}
            self.applied.append(json.loads(body)["fields"])
            return 200, {"id": "j2", "state": "unblocked"}
        return 404, {"message": "Not Found"}

    def _jobs(self) -> list[dict[str, Any]]:
        if self.now < self.blocked_at / 2:
            return []
        step: dict[str, Any] = {"id": "j2", "type": "manual", "step_key": STEP, "state": self.state}
        if self.person is not None:
            step["unblocked_by"] = {"name": self.person, "email": "someone@example.org"}
        return [step]


@pytest.fixture(scope="session")
def _server() -> Iterator[ThreadingHTTPServer]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # One packet per answer: two would wait for each other's acknowledgement.
        wbufsize = -1

        def do_GET(self) -> None:
            self._handle("GET")

        def do_PUT(self) -> None:
            self._handle("PUT")

        def _handle(self, method: str) -> None:
            service: Service = self.server.service  # type: ignore[attr-defined]
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            service.calls.append((service.now, method, self.path, self.headers.get("Authorization", "")))
            allowed, limits = service.take()
            if not allowed:
                self._send(429, b'{"message": "Too many requests"}', limits)
                return
            fault = service.faults.pop(0) if service.faults else None
            if fault is not None and (fault.reset or fault.silent):
                self.close_connection = True
                if fault.silent:
                    self.connection.recv(1)
                else:
                    # A connection closed this way is reset.
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return
            if fault is not None and fault.status:
                self._send(fault.status, fault.body.encode(), {**limits, **fault.headers})
                return
            status, answer = service.answer(method, self.path, body)
            if fault is not None and fault.lost:
                self.close_connection = True
            elif fault is not None and fault.garbage:
                self._send(200, b"<html>gateway</html>", limits)
            else:
                self._send(status, json.dumps(answer).encode(), limits)

        def _send(self, status: int, data: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            del format, args

    with http_api.served(Handler) as server:
        yield server


@pytest.fixture
def serve(_server: ThreadingHTTPServer) -> Any:
    """A function that puts a service behind the address that all tests share."""

    def put(service: Service) -> Service:
        service.url = f"{http_api.url(_server)}/v2"
        _server.service = service  # type: ignore[attr-defined]
        return service

    return put


@pytest.fixture(scope="session")
def training() -> TrainingRequest:
    """A request of build 7."""
    return samples.request_for("s3://bucket/models/demo/sentiment/7", unblock=STEP)


@pytest.fixture(scope="session")
def names() -> Any:
    """The classes and constants of this file, which tests cannot import."""

    class Names:
        fault, faults, service, token = Fault, Faults, Service, TOKEN

    return Names
