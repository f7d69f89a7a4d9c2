"""Refuses requests of every stand-in before their body is read: foreign host names, other sites, large
bodies.

A web page that is open in a browser of this machine can send requests to a stand-in. They have the page's
site in ``Origin``, or a foreign ``Host`` if the page's host name resolves to this machine.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

MIB = 1 << 20

# Longer ones are above every limit.
_LENGTH = re.compile("[0-9]{1,18}")


@dataclass(frozen=True)
class Refusal:
    """The HTTP status and the message of a refusal."""

    status: int
    message: str


@dataclass(frozen=True)
class Guard:
    """The rules of one stand-in.

    Attributes:
        url: The stand-in's own address, ``http://127.0.0.1:<port>``.
        limit: The largest body in bytes, for a method and path.
    """

    url: str
    limit: Callable[[str, str], int]

    def refusal(self, method: str, path: str, headers: Mapping[str, str]) -> Refusal | None:
        """The refusal of a request by its headers; None if its body may be read.

        Args:
            method: HTTP method.
            path: without the query.
            headers: by their names in lower case.
        """
        port = urlsplit(self.url).port
        hosts = (f"127.0.0.1:{port}", f"localhost:{port}")
        if headers.get("host", "") not in hosts:
            return Refusal(403, f"This server answers to the host {hosts[0]} only.")
        origin = headers.get("origin")
        if origin is not None and origin not in (f"http://{host}" for host in hosts):
            return Refusal(403, "Requests of other sites are refused.")
        length = headers.get("content-length", "0")
        if not _LENGTH.fullmatch(length) or int(length) > self.limit(method, path):
            return Refusal(413, f"The body has {length[:20]} bytes; {self.limit(method, path):,} are taken.")
        return None


class GuardMiddleware:
    """An ASGI application behind a guard."""

    def __init__(self, app: ASGIApp, guard: Guard) -> None:
        self._app = app
        self._guard = guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it; a body of unknown length is refused when it exceeds the limit."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
        }
        refusal = self._guard.refusal(scope["method"], scope["path"], headers)
        if refusal is not None:
            await _answer(refusal, send)
            return
        left = self._guard.limit(scope["method"], scope["path"])
        answered = False

        async def limited_receive() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise _TooLargeError
            return message

        async def tracked_send(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(message)

        try:
            await self._app(scope, limited_receive, tracked_send)
        except _TooLargeError:
            if not answered:
                await _answer(Refusal(413, "The body is too large."), send)


class _TooLargeError(Exception):
    """The body is larger than the limit."""


async def _answer(refusal: Refusal, send: Send) -> None:
    body = json.dumps({"message": refusal.message}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        # The rest of the body is not read.
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
