"""Lambda's runtime API for one invocation: it returns the event once and accepts one answer."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from modelbuild_local.service.guard import MIB, Guard

_PATH = "/2018-06-01/runtime"
_LOOK_AGAIN_SECONDS = 0.05


class RuntimeApi:
    """The API on a free port of 127.0.0.1, for as long as the ``with`` block lasts.

    Attributes:
        answered: set once the function has answered or failed.
        answer: the function's answer, or the description of its failure.
        failed: whether it failed.
    """

    def __init__(self, request_id: str, event: bytes, function_arn: str, deadline: float) -> None:
        self.answered = threading.Event()
        self.answer = b""
        self.failed = False
        self._closed = threading.Event()
        self._event: bytes | None = event
        self._lock = threading.Lock()
        self._headers = {
            "Lambda-Runtime-Aws-Request-Id": request_id,
            "Lambda-Runtime-Deadline-Ms": str(int(deadline * 1000)),
            "Lambda-Runtime-Invoked-Function-Arn": function_arn,
        }
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
        self._server.daemon_threads = True
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        self._server.RequestHandlerClass = self._handler(request_id)

    def __enter__(self) -> RuntimeApi:
        threading.Thread(target=self._server.serve_forever, args=(_LOOK_AGAIN_SECONDS,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._server.shutdown()
        self._server.server_close()

    def take(self) -> bytes | None:
        """The event for the first request; None for further ones."""
        with self._lock:
            event, self._event = self._event, None
        return event

    def end(self, answer: bytes, failed: bool) -> None:
        """Accept the first answer; each event has one."""
        with self._lock:
            if not self.answered.is_set():
                self.answer, self.failed = answer, failed
                self.answered.set()

    def _handler(self, request_id: str) -> type[BaseHTTPRequestHandler]:
        api = self
        guard = Guard(f"http://{self.host}", lambda _method, _path: 16 * MIB)
        ends = {
            f"{_PATH}/invocation/{request_id}/response": False,
            f"{_PATH}/invocation/{request_id}/error": True,
            f"{_PATH}/init/error": True,
        }

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                if self._is_foreign():
                    return
                if self.path != f"{_PATH}/invocation/next":
                    self._send(404, b"", {})
                    return
                event = api.take()
                if event is None:
                    # This process gets no second event: the request waits until the process is ended.
                    api._closed.wait()
                    self.close_connection = True
                    return
                self._send(200, event, api._headers)

            def do_POST(self) -> None:
                if self._is_foreign():
                    return
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                if self.path not in ends:
                    self._send(404, b"", {})
                    return
                api.end(body, ends[self.path])
                self._send(202, b"{}", {})

            def _is_foreign(self) -> bool:
                """Refuse a request that is too large, for another host, or from a page in a browser."""
                headers = {name.lower(): value for name, value in self.headers.items()}
                refusal = guard.refusal(self.command, self.path, headers)
                if refusal is None and "origin" not in headers:
                    return False
                self.close_connection = True
                self._send(refusal.status if refusal else 403, b"", {"Connection": "close"})
                return True

            def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Do not log single requests."""

        return Handler
