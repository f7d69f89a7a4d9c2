"""A client's connection: uvicorn's, with limits to how long and how large what is not complete may be.

uvicorn itself waits for ever for the rest of a request, and for a client that does not read its answer.
"""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from modelbuild.serving.limits import (
    ANSWER_SECONDS,
    BODY_SECONDS,
    HEADER_SECONDS,
    MAX_BODY_BYTES,
    MAX_CONNECTIONS,
    MAX_HEADER_BYTES,
)

# Chunked encoding may make a body larger, but not for ever.
_MAX_REQUEST_BYTES = MAX_HEADER_BYTES + 2 * MAX_BODY_BYTES


class Connection(HttpToolsProtocol):
    """One client's connection.

    It is closed when a header, a body or the reading of an answer takes too long, and when it is the oldest
    without a complete request among too many connections: a client that is served is never closed for that.
    """

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self._since = self.loop.time()
        self._received = 0
        self._in_header = self._in_body = False
        self._timer: asyncio.TimerHandle | None = None
        self._timed = ""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a new connection, for which another is closed where there are too many."""
        super().connection_made(transport)
        # An answer has two parts. Without this the second waits 40 ms for the client to confirm the first.
        accepted = cast(socket.socket, transport.get_extra_info("socket"))
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if len(self.connections) > MAX_CONNECTIONS:
            self._make_room()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer."""
        super().connection_lost(exc)
        self._stop()

    def data_received(self, data: bytes) -> None:
        """Parse what has come, and let the timer run for what is missing."""
        self._received += len(data)
        super().data_received(data)
        if self._in_header and self._received > MAX_HEADER_BYTES:
            self._refuse(431, f"The header is larger than {MAX_HEADER_BYTES:,} bytes.")
        elif self._in_body and self._received > _MAX_REQUEST_BYTES:
            self._refuse(413, f"The request is larger than {_MAX_REQUEST_BYTES:,} bytes.")
        else:
            self._watch()

    def on_message_begin(self) -> None:
        """A header has begun."""
        super().on_message_begin()
        self._in_header = True

    def on_headers_complete(self) -> None:
        """A body has begun, which may be empty."""
        super().on_headers_complete()
        self._in_header, self._in_body = False, True

    def on_message_complete(self) -> None:
        """A request is complete."""
        super().on_message_complete()
        self._in_body = False
        self._received = 0
        self._since = self.loop.time()
        self._stop()

    def pause_writing(self) -> None:
        """The client does not read as fast as it is answered."""
        super().pause_writing()
        self._start("answer", ANSWER_SECONDS)

    def resume_writing(self) -> None:
        """The client has read."""
        super().resume_writing()
        self._stop()

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that had no request for long, with whatever the client has not read."""
        self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP."""
        self._refuse(400, msg)

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _watch(self) -> None:
        """Let the timer run for what is not complete; between two requests uvicorn's own runs."""
        if self._in_body:
            self._start("body", BODY_SECONDS)
        elif self._in_header or not self._is_answering():
            self._start("header", HEADER_SECONDS)
        else:
            self._stop()

    def _start(self, what: str, seconds: float) -> None:
        if self._timed != what:
            self._stop()
            self._timed, self._timer = what, self.loop.call_later(seconds, self._expire, what, seconds)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timed, self._timer = "", None

    def _expire(self, what: str, seconds: float) -> None:
        if what == "answer":
            self.transport.abort()
        elif self._in_header or self._in_body:
            self._refuse(408, f"The {what} of the request was not complete after {seconds:g} s.")
        else:
            self.transport.close()

    def _make_room(self) -> None:
        """Close the connection that has waited longest for a complete request; without one, the new one."""
        connections = cast(set[Connection], self.connections)
        there = [one for one in connections if not one.transport.is_closing()]
        if len(there) <= MAX_CONNECTIONS:
            return
        incomplete = [one for one in there if one is not self and (one._in_body or not one._is_answering())]
        if incomplete:
            min(incomplete, key=lambda one: one._since).transport.abort()
        else:
            self._refuse(503, f"{MAX_CONNECTIONS} other connections are being answered; try again later.")

    def _refuse(self, status: int, sentence: str) -> None:
        """Answer in place of the application, and close the connection."""
        if self.transport.is_closing():
            return
        if self._is_answering() and self.cycle.response_started:
            self.transport.abort()
            return
        body = json.dumps({"error": sentence}).encode()
        head = f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        self.transport.write(STATUS_LINE[status] + head.encode() + body)
        self.transport.close()
