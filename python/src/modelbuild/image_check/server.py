"""A client of a model server: whatever a server sends, it returns an answer or raises one error."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from pydantic import JsonValue

from modelbuild.errors import ConfigurationError, VerificationFailed
from modelbuild.serving.limits import MAX_BODY_BYTES

# SageMaker's limits for containers.
PING_SECONDS = 2.0
INVOKE_SECONDS = 60.0

_POLL_SECONDS = 0.05


class NoAnswer(VerificationFailed):
    """The server did not answer a request with HTTP in time."""


@dataclass(frozen=True)
class Answer:
    """An answer of the server.

    Attributes:
        status: the HTTP status.
        headers: the headers; their names are in lower case.
        body: the whole body.
        seconds: how long the request took.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float


@dataclass(frozen=True)
class Server:
    """The address of a model server."""

    host: str
    port: int

    @classmethod
    def at(cls, url: str) -> Server:
        """The server of an address such as http://127.0.0.1:8080.

        Raises:
            ConfigurationError: it is another kind of address.
        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            parts, host, port = urlsplit(""), None, None
        if parts.scheme != "http" or not host or parts.path.strip("/") or parts.query or parts.username:
            raise ConfigurationError(
                f"--url is {url!r}: give scheme, host and port of a server, such as http://127.0.0.1:8080"
            )
        return cls(host, port or 80)

    def ping(self) -> Answer:
        """The answer to ``GET /ping``.

        Raises:
            NoAnswer: there is none within :data:`PING_SECONDS`.
        """
        return self._request("GET", "/ping", b"", {}, PING_SECONDS)

    def invoke(self, body: bytes, content_type: str = "application/json") -> Answer:
        """The answer to ``POST /invocations``.

        Raises:
            NoAnswer: there is none within :data:`INVOKE_SECONDS`.
        """
        headers = {"Content-Type": content_type, "Accept": "application/json"}
        return self._request("POST", "/invocations", body, headers, INVOKE_SECONDS)

    def is_healthy(self) -> bool:
        """Whether ``/ping`` is answered with 200 in time."""
        try:
            return self.ping().status == 200
        except NoAnswer:
            return False

    def await_health(self, seconds: float, stop: Callable[[], bool] = lambda: False) -> bool:
        """Wait until ``/ping`` is answered with 200.

        Args:
            seconds: how long at most.
            stop: whether waiting has become useless, such as when the server has ended.

        Returns:
            Whether it was answered with 200.
        """
        end = time.monotonic() + seconds
        while not self.is_healthy():
            if stop() or time.monotonic() > end:
                return False
            time.sleep(_POLL_SECONDS)
        return True

    def _request(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str], seconds: float
    ) -> Answer:
        start = time.monotonic()
        connection = http.client.HTTPConnection(self.host, self.port, timeout=seconds)
        expired = threading.Event()
        try:
            connection.connect()
            # The timeout of the socket starts again with each byte, so a slow answer would never end.
            timer = threading.Timer(seconds, _expire, (connection.sock, expired))
            timer.daemon = True
            timer.start()
            try:
                response = _send(connection, method, path, body, headers)
                content = response.read(MAX_BODY_BYTES + 1)
                incomplete = bool(response.length)
            finally:
                timer.cancel()
        # What http.client raises for a malformed answer is an HTTPException, or a ValueError.
        except (OSError, http.client.HTTPException, ValueError) as error:
            late = expired.is_set() or isinstance(error, TimeoutError)
            reason = f"not within {seconds:g} s" if late else _reason(error)
            raise NoAnswer(f"the server does not answer {method} {path} ({reason})") from error
        finally:
            connection.close()
        if len(content) > MAX_BODY_BYTES:
            raise NoAnswer(
                f"the server answers {method} {path} with more than {MAX_BODY_BYTES:,} bytes, which "
                "SageMaker does not pass on"
            )
        if expired.is_set() or incomplete:
            reason = f"not within {seconds:g} s" if expired.is_set() else "it closed the connection too early"
            raise NoAnswer(f"the server does not answer {method} {path} to the end ({reason})")
        found = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, found, content, time.monotonic() - start)


def instances_body(instances: Sequence[JsonValue]) -> bytes:
    """The body of a request with these instances."""
    return json.dumps({"instances": list(instances)}).encode()


def _send(
    connection: http.client.HTTPConnection, method: str, path: str, body: bytes, headers: Mapping[str, str]
) -> http.client.HTTPResponse:
    # A server may refuse a body before it has read all of it.
    with suppress(BrokenPipeError, ConnectionResetError):
        connection.request(method, path, body, dict(headers))
    return connection.getresponse()


def _expire(connected: socket.socket, expired: threading.Event) -> None:
    expired.set()
    with suppress(OSError):
        connected.shutdown(socket.SHUT_RDWR)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or "the connection was closed without an answer"
    if isinstance(error, http.client.RemoteDisconnected):
        return "the connection was closed without an answer"
    return f"its answer is no HTTP: {type(error).__name__}"
