"""Servers of a model of three labels, on a port of this machine: a right one, which tests make wrong."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LABELS = ("negative", "neutral", "positive")


class RightServer:
    """Answers as an endpoint must, as model tone 12.3 of comments; a test overrides what is to be wrong.

    Attributes:
        answered: how many valid requests were answered.
    """

    def __init__(self) -> None:
        self.answered = 0
        self.names = {"model": "tone", "model_id": "12.3"}
        self.pipeline = "comments"

    def ping(self) -> tuple[int, bytes]:
        """Status and body of ``/ping``."""
        return 200, b"{}"

    def invoke(self, content_type: str, body: bytes) -> tuple[int, bytes]:
        """Status and body of ``/invocations``."""
        if content_type != "application/json":
            return 415, b"Send application/json."
        try:
            instances = json.loads(body)["instances"]
        except (ValueError, RecursionError, KeyError, TypeError):
            return self.refuse()
        self.answered += 1
        return 200, json.dumps(self.document([self.predict(one) for one in instances])).encode()

    def refuse(self) -> tuple[int, bytes]:
        """Status and body for a bad request."""
        return 400, b"Send a JSON object with instances."

    def predict(self, text: str) -> dict[str, Any]:
        """The output for a text."""
        first = (1 + len(text) % 7) / 10
        scores = (first, (1 - first) / 4, 3 * (1 - first) / 4)
        return {"label": LABELS[scores.index(max(scores))], "scores": dict(zip(LABELS, scores, strict=True))}

    def document(self, outputs: list[dict[str, Any]]) -> dict[str, Any]:
        """The document with these outputs."""
        predictions = [{**output, **self.names} for output in outputs]
        return {**self.names, "pipeline": self.pipeline, "predictions": predictions}

    def headers(self) -> dict[str, str]:
        """The headers of an answer."""
        attributes = f"MODEL_ID={self.names['model_id']};MODEL={self.names['model']};PIPELINE={self.pipeline}"
        return {"X-Amzn-SageMaker-Custom-Attributes": attributes}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *_: Any) -> None:
        """Log nothing when a client disconnects."""


@contextmanager
def running(behaviour: RightServer, address: tuple[str, int] = ("127.0.0.1", 0)) -> Iterator[_Server]:
    """A server of this behaviour."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.answer(*behaviour.ping())

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.answer(*behaviour.invoke(self.headers["Content-Type"], body))

        def answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            for name, value in {**behaviour.headers(), "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with _Server(address, Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
