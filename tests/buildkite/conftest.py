from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from modelbuild.contract import Build, Images, Source, TrainingRequest, sha256_of_json

STEP = "training_finished"
TOKEN = "bkua_the-rest-token"


@dataclass
class Fault:
    """What goes wrong with one call.

    ``status`` and ``headers`` make an answer that does nothing; ``lost`` does what was asked and closes the
    connection instead of answering; ``garbage`` answers 200 with something else than JSON.
    """

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: str = "{}"
    lost: bool = False
    garbage: bool = False


@dataclass
class Service:
    """Buildkite's REST API for one build, over HTTP, with a clock that only sleeping moves."""

    url: str = ""
    now: float = 0.0
    blocked_at: float = 0.0
    over_at: float | None = None
    unblocked_by: str | None = None
    faults: list[Fault] = field(default_factory=list)
    applied: list[dict[str, str]] = field(default_factory=list)
    calls: list[tuple[float, str, str, str]] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds

    @property
    def over(self) -> bool:
        """Whether the build was cancelled before the step was reached."""
        return self.over_at is not None and self.now >= self.over_at and not self.applied

    @property
    def state(self) -> str:
        """The step's state."""
        if self.applied or self.unblocked_by:
            return "unblocked"
        if self.over:
            return "canceled"
        return "blocked" if self.now >= self.blocked_at else "waiting"

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, object]:
        """Do what is asked."""
        build = "/v2/organizations/local/pipelines/demo/builds/7"
        if method == "GET" and path == build:
            return 200, self._build()
        if method == "PUT" and path == f"{build}/jobs/j2/unblock":
            if self.over:
                return 422, {"message": "This build has been canceled"}
            if self.state != "blocked":
                return 422, {"message": "The job's state must be blocked."}
            self.applied.append(json.loads(body)["fields"])
            return 200, {"id": "j2", "state": "unblocked"}
        return 404, {"message": "Not Found"}

    def _build(self) -> dict[str, Any]:
        jobs: list[dict[str, Any]] = [
            {"id": "j1", "type": "script", "step_key": "train", "state": "passed", "agent": {"name": "a"}},
            {"id": "j3", "type": "manual", "step_key": "approve", "state": "blocked", "label": "deploy?"},
            {"type": "waiter", "id": "w"},
        ]
        if self.now >= self.blocked_at / 2:
            step: dict[str, Any] = {"id": "j2", "type": "manual", "step_key": STEP, "state": self.state}
            if self.unblocked_by:
                step["unblocked_by"] = {"name": self.unblocked_by, "email": "someone@example.org"}
            jobs.append(step)
        state = "canceled" if self.over else "passed"
        return {"number": 7, "state": state, "blocked": not self.over, "jobs": jobs}


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
            fault = service.faults.pop(0) if service.faults else None
            if fault is not None and fault.status:
                self._send(fault.status, fault.body.encode(), fault.headers)
                return
            status, answer = service.answer(method, self.path, body)
            if fault is not None and fault.lost:
                self.close_connection = True
            elif fault is not None and fault.garbage:
                self._send(200, b"<html>gateway</html>", {})
            else:
                self._send(status, json.dumps(answer).encode(), {})

        def _send(self, status: int, data: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            del format, args

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def serve(_server: ThreadingHTTPServer) -> Any:
    """A function that puts a service behind the address that all tests share."""

    def put(service: Service) -> Service:
        service.url = f"http://127.0.0.1:{_server.server_port}/v2"
        _server.service = service  # type: ignore[attr-defined]
        return service

    return put


@pytest.fixture(scope="session")
def training() -> TrainingRequest:
    """A request of build 7."""
    place = "s3://bucket/models/demo/7"
    return TrainingRequest(
        model_id="7",
        build=Build(
            organization="local",
            pipeline="demo",
            number=7,
            id="0190-build",
            url="http://buildkite.example/local/demo/builds/7",
            commit="a" * 40,
            branch="main",
            message="a commit",
            creator="Ada",
        ),
        source=Source(path=f"{place}/source.tar.gz", sha256="0" * 64),
        flow="flow.py",
        parameters={},
        parameters_sha256=sha256_of_json({}),
        artifacts=place,
        unblock=STEP,
        images=Images(default="default:1", train_gpu="train-gpu:1", serve="serve:1"),
    )


@pytest.fixture(scope="session")
def names() -> Any:
    """The classes and constants of this file, which tests cannot import."""

    class Names:
        fault, service, token = Fault, Service, TOKEN

    return Names
