"""A client's connection: uvicorn's, with limits on the time and the size of a request.

uvicorn itself waits without limit for the rest of a request, and for a client that does not read its answer.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from modelbuild.serving.app import IS_LOST
from modelbuild.serving.limits import (
    ANSWER_SECONDS,
    BODY_SECONDS,
    HEADER_SECONDS,
    MAX_BODY_BYTES,
    MAX_CONNECTIONS,
    MAX_HEADER_BYTES,
)

_UPGRADE = re.compile(rb"\nupgrade:", re.IGNORECASE)

# Chunked encoding makes a body larger; this bounds by how much.
_MAX_REQUEST_BYTES = MAX_HEADER_BYTES + 2 * MAX_BODY_BYTES


class AnswerTransport:
    """A transport that sends the head of an answer together with the first part of its body.

    uvicorn writes the two apart, and each write is a system call that wakes the client.
    """

    def __init__(self, transport: asyncio.Transport):
        self._transport = transport
        self._head = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send data, or keep it for the next write if it is the head of an answer."""
        # After status 100 the client sends the body of its request.
        is_head = data.startswith(b"HTTP/1.1 ") and not data.startswith(b"HTTP/1.1 1")
        if not self._head and is_head and data.endswith(b"\r\n\r\n"):
            self._head = data
        else:
            self._transport.write(self._head + data)
            self._head = b""

    def flush(self) -> None:
        """Send a head that no body follows."""
        if self._head:
            self.write(b"")

    def close(self) -> None:
        """Send what was written, and close the connection."""
        self.flush()
        self._transport.close()


class Connection(HttpToolsProtocol):
    """One client's connection.

    The server closes it when the client takes too long to send a header or a body, or to read an answer. When
    there are too many connections, the server closes the oldest of those that have no complete request.
    """

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self._waiting_since = self.loop.time()
        self._received = 0
        self._lost = False
        self._in_header = self._in_body = False
        self._timer: asyncio.TimerHandle | None = None
        self._timed_part = ""
        self._answer_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a connection; if there are now too many, close the oldest without a complete request."""
        super().connection_made(cast(asyncio.Transport, AnswerTransport(transport)))
        # Without TCP_NODELAY the second part of an answer waits 40 ms until the client confirms the first.
        accepted = cast(socket.socket, transport.get_extra_info("socket"))
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if len(self.connections) > MAX_CONNECTIONS:
            self._close_oldest()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer."""
        super().connection_lost(exc)
        self._lost = True
        self._stop()
        self._stop_answer()

    def data_received(self, data: bytes) -> None:
        """Parse the data, and start the timer for the part of the request that is not complete."""
        self._received += len(data)
        super().data_received(data if self._in_body else _without_upgrade(data))
        if self._in_header and self._received > MAX_HEADER_BYTES:
            self._refuse(431, f"The header is larger than {MAX_HEADER_BYTES:,} bytes.")
        elif self._in_body and self._received > _MAX_REQUEST_BYTES and not self.cycle.response_started:
            # What follows a refusal is only dropped, as long as a body may take.
            self._refuse(413, f"The request is larger than {_MAX_REQUEST_BYTES:,} bytes.")
        else:
            self._watch()

    def on_message_begin(self) -> None:
        """A header has begun."""
        super().on_message_begin()
        cast(Any, self.scope)["extensions"] = {IS_LOST: self._is_lost}
        self._in_header = True

    def on_headers_complete(self) -> None:
        """A body has begun; it may be empty."""
        super().on_headers_complete()
        self._in_header, self._in_body = False, True

    def on_message_complete(self) -> None:
        """A request is complete."""
        super().on_message_complete()
        self._in_body = False
        self._received = 0
        self._waiting_since = self.loop.time()
        self._stop()

    def on_response_complete(self) -> None:
        """An answer is complete; it may have no body."""
        cast(AnswerTransport, self.transport).flush()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """The client reads its answer too slowly; start the timer of the answer.

        It runs until the client has read, whatever else the client sends meanwhile.
        """
        super().pause_writing()
        self._stop_answer()
        self._answer_timer = self.loop.call_later(ANSWER_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """The client has read its answer; stop the timer."""
        super().resume_writing()
        self._stop_answer()

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that was idle too long, and drop the rest of an answer."""
        self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """Refuse a request that is not valid HTTP."""
        self._refuse(400, msg)

    def _is_lost(self) -> bool:
        return self._lost

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _watch(self) -> None:
        """Start the timer for the part of a request that is not complete.

        Between two requests uvicorn's own timer runs.
        """
        if self._in_body:
            self._start("body", BODY_SECONDS)
        elif self._in_header or not self._is_answering():
            self._start("header", HEADER_SECONDS)
        else:
            self._stop()

    def _start(self, awaited: str, seconds: float) -> None:
        if self._timed_part != awaited:
            self._stop()
            self._timed_part = awaited
            self._timer = self.loop.call_later(seconds, self._expire, awaited, seconds)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timed_part, self._timer = "", None

    def _stop_answer(self) -> None:
        if self._answer_timer is not None:
            self._answer_timer.cancel()
            self._answer_timer = None

    def _expire(self, awaited: str, seconds: float) -> None:
        if self._in_header or self._in_body:
            self._refuse(408, f"The {awaited} of the request was not complete after {seconds:g} s.")
        else:
            self.transport.close()

    def _close_oldest(self) -> None:
        """Close the connection that has waited longest for its complete request, or else the new one."""
        connections = cast(set[Connection], self.connections)
        open_connections = [connection for connection in connections if not connection.transport.is_closing()]
        if len(open_connections) <= MAX_CONNECTIONS:
            return
        incomplete = [
            connection
            for connection in open_connections
            if connection is not self and (connection._in_body or not connection._is_answering())
        ]
        if incomplete:
            min(incomplete, key=lambda connection: connection._waiting_since).transport.abort()
        else:
            self._refuse(503, f"{MAX_CONNECTIONS} other connections are being answered; try again later.")

    def _refuse(self, status: int, message: str) -> None:
        """Answer in place of the application, and close the connection."""
        if self.transport.is_closing():
            return
        if self._is_answering() and self.cycle.response_started:
            self.transport.abort()
            return
        body = json.dumps({"error": message}).encode()
        head = f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        self.transport.write(STATUS_LINE[status] + head.encode() + body)
        self.transport.close()


def _without_upgrade(data: bytes) -> bytes:
    """Data that may begin with a header, with another name for the header Upgrade in it.

    The parser drops the body of a request that asks for another protocol, as clients of HTTP/2 do with their
    first one. A server may ignore that they ask.
    """
    end = data.find(b"\r\n\r\n")
    head = data if end < 0 else data[:end]
    if b"\nupgrade:" not in head.lower():
        return data
    return _UPGRADE.sub(b"\nignored:", head) + data[len(head) :]
