"""The limits of a connection, on a real socket with limits that a test can wait for."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
import uvicorn

from modelbuild.serving import connection, queues
from modelbuild.serving.app import Service
from modelbuild.serving.connection import AnswerTransport, Connection
from modelbuild.serving.description import ModelDescription
from modelbuild.serving.limits import LARGE_BODIES, SMALL_BODY_BYTES
from modelbuild.serving.model import Model, load_directory
from waiting import SECONDS

PING = b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n"
HEAD = (
    b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
)

Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Serving:
    """A server on a socket, and what a test does with it."""

    description: ModelDescription

    def __init__(self, service: Service):
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.service = service
        self.port = int(self._listening.getsockname()[1])
        config = uvicorn.Config(service, http=Connection, ws="none", lifespan="off", log_level="error")
        self.server = uvicorn.Server(config)

    def run(self, test: Callable[[], Awaitable[None]]) -> None:
        """Run a test beside the server, and stop that."""

        async def both() -> None:
            serving = asyncio.create_task(self.server.serve([self._listening]))
            try:
                await asyncio.wait_for(test(), SECONDS)
            finally:
                self.server.should_exit = True
                await serving

        asyncio.run(both())

    async def connect(self, sent: bytes = b"") -> Client:
        """A connection on which something was sent."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(sent)
        await writer.drain()
        return reader, writer

    async def ping(self) -> bytes:
        """The status line of /ping on a new connection."""
        reader, writer = await self.connect(PING)
        line = await reader.readline()
        writer.close()
        return line


@pytest.fixture
def serving(published: Any) -> Serving:
    """A server that has its model."""
    service = Service(published.environment)
    service.serve(load_directory(published.directory, published.environment.description_sha256))
    made = Serving(service)
    made.description = published.description
    made.server.config.timeout_graceful_shutdown = 1
    return made


@pytest.mark.parametrize(
    ("sent", "limit", "message"),
    [
        (b"", "HEADER_SECONDS", b""),
        (b"\r\n", "HEADER_SECONDS", b""),
        (b"GET /pi", "HEADER_SECONDS", b"The header of the request was not complete after 0.1 s."),
        (PING[:-2], "HEADER_SECONDS", b"The header of the request was not complete after 0.1 s."),
        (HEAD % 5, "BODY_SECONDS", b"The body of the request was not complete after 0.1 s."),
        (
            HEAD % 100_000 + b"x" * 90_000,
            "BODY_SECONDS",
            b"The body of the request was not complete after 0.1 s.",
        ),
    ],
)
def test_half_a_request_does_not_stay(
    serving: Serving, monkeypatch: pytest.MonkeyPatch, sent: bytes, limit: str, message: bytes
) -> None:
    """A connection whose request does not become complete is closed, with a sentence where it has begun."""
    monkeypatch.setattr(connection, limit, 0.1)

    async def test() -> None:
        reader, writer = await serving.connect(sent)
        answer = await reader.read()
        assert message in answer
        assert answer.startswith(b"HTTP/1.1 408 ") == bool(message)
        writer.close()

    serving.run(test)


def test_a_connection_between_two_requests_stays(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time for a header begins with the header: a client that is served keeps its connection."""
    # Time enough to send a header on a busy machine.
    monkeypatch.setattr(connection, "HEADER_SECONDS", 1.0)

    async def test() -> None:
        reader, writer = await serving.connect(PING)
        assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200 ")
        other_reader, other_writer = await serving.connect()
        assert await other_reader.read() == b""
        other_writer.close()
        writer.write(PING)
        assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200 ")
        writer.close()

    serving.run(test)


def test_ping_answers_whatever_else_is_open(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many incomplete connections make room for new ones, the oldest first; /ping is answered."""
    monkeypatch.setattr(connection, "MAX_CONNECTIONS", 8)

    async def test() -> None:
        half = [await serving.connect(PING[:-2]) for _ in range(20)]
        assert await serving.ping() == b"HTTP/1.1 200 OK\r\n"
        for reader, _ in half[:13]:
            assert await reader.read() == b""
        for reader, writer in half[13:]:
            writer.write(b"\r\n")
            assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
        for _, writer in half:
            writer.close()

    serving.run(test)


def test_a_header_without_end_is_refused(serving: Serving) -> None:
    """More bytes of header than there is room for get 431."""

    async def test() -> None:
        reader, writer = await serving.connect(PING[:-2] + b"a: b\r\n" * 12_000)
        assert (await reader.readline()).startswith(b"HTTP/1.1 431 ")
        writer.close()

    serving.run(test)


def test_what_is_no_http_gets_a_sentence(serving: Serving) -> None:
    """Even what cannot be parsed is answered as {"error": …}."""

    async def test() -> None:
        reader, writer = await serving.connect(b"\x16\x03\x01 hello\r\n\r\n")
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert set(json.loads(answer.partition(b"\r\n\r\n")[2])) == {"error"}
        writer.close()

    serving.run(test)


def test_accepted_sockets_do_not_wait_for_acknowledgements(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second part of an answer is sent at once, though the listening socket is made by hand."""
    seen: list[int] = []
    watch = Connection._watch

    def note(self: Connection) -> None:
        accepted = self.transport.get_extra_info("socket")
        seen.append(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        watch(self)

    monkeypatch.setattr(Connection, "_watch", note)

    async def test() -> None:
        await serving.ping()

    serving.run(test)
    assert seen
    assert all(seen)


def test_only_large_bodies_wait_for_the_semaphore(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the places for large bodies a request waits, then gets 503; small requests and /ping do not."""
    monkeypatch.setattr(queues, "LARGE_BODY_WAIT_SECONDS", 0.1)
    monkeypatch.setattr(queues, "LARGE_BODIES_WAITING", 1)

    async def test() -> None:
        begun = HEAD % 200_000 + b" " * 100_000
        held = [await serving.connect(begun) for _ in range(LARGE_BODIES)]
        reader, writer = await serving.connect(begun)
        answer = await reader.readuntil(b"}")
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 1" in answer
        assert b"send this one again later" in answer
        assert await serving.ping() == b"HTTP/1.1 200 OK\r\n"
        small = b'{"instances": ["fine"]}'
        small_reader, small_writer = await serving.connect(HEAD % len(small) + small)
        assert await small_reader.readline() == b"HTTP/1.1 200 OK\r\n"
        for _, one in [*held, (reader, writer), (small_reader, small_writer)]:
            one.close()

    serving.run(test)


@pytest.mark.parametrize(
    ("path", "content_type", "size", "status"),
    [
        (b"/predict", b"application/json", 6_000_000, b"404"),
        (b"/invocations", b"text/plain", 6_000_000, b"415"),
        (b"/invocations", b"application/json", 20_000_000, b"413"),
    ],
)
def test_a_refusal_reaches_a_client_that_still_sends(
    serving: Serving, path: bytes, content_type: bytes, size: int, status: bytes
) -> None:
    """The server reads a body that it refuses to its end: a client that first sends everything would be cut
    off, and never see why.
    """
    head = HEAD.replace(b"/invocations", path).replace(b"application/json", content_type) % size

    async def test() -> None:
        reader, writer = await serving.connect(head + b" " * size)
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 %b " % status)
        assert set(json.loads(answer.partition(b"\r\n\r\n")[2])) == {"error"}
        writer.close()

    serving.run(test)


def test_an_answer_that_is_not_read_does_not_stay(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second request of the same client does not stop the time that it has to read the first answer."""
    monkeypatch.setattr(connection, "ANSWER_SECONDS", 0.5)

    class Long:
        def predict(self, instances: Sequence[str]) -> list[dict[str, Any]]:
            return [{"label": "positive" * 1_000_000} for _ in instances]

    serving.service.serve(Model(serving.description, Long(), 0.0, 0.001))
    body = b'{"instances": ["good"]}'

    async def test() -> None:
        loop = asyncio.get_running_loop()
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        await loop.sock_connect(client, ("127.0.0.1", serving.port))
        await loop.sock_sendall(client, HEAD % len(body) + body)
        connections: Any = serving.server.server_state.connections
        while not any(one.flow.write_paused for one in connections):
            await asyncio.sleep(0.01)
        await loop.sock_sendall(client, PING)
        while connections:
            await asyncio.sleep(0.01)
        client.close()

    serving.run(test)


@pytest.mark.parametrize("together", [True, False])
def test_a_request_for_another_protocol_is_answered_as_any(serving: Serving, together: bool) -> None:
    """Clients of HTTP/2 ask for it in their first request of HTTP/1.1; the server ignores that.

    A line of the body that looks like the header stays as it is.
    """
    body = b'"good\r\nupgrade: bad"'
    head = HEAD.replace(b"application/json", b"text/csv") % len(body)
    escaped = b'{"instances": ["good\\r\\nupgrade: bad"]}'
    asks = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n"

    async def test() -> None:
        reader, writer = await serving.connect(head[:-2] + asks + (body if together else b""))
        if not together:
            writer.write(body)

        async def answer() -> bytes:
            assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
            return (await reader.readuntil(b"}\n")).partition(b"\r\n\r\n")[2]

        first = await answer()
        writer.write((HEAD % len(escaped))[:-2] + b"Accept: application/jsonlines\r\n\r\n" + escaped)
        assert await answer() == first
        writer.close()

    serving.run(test)


def test_a_large_body_in_pieces_is_answered(serving: Serving) -> None:
    """A body larger than a small one is read to its end, however it arrives."""
    body = json.dumps({"instances": ["fine day " * 900] * 40}).encode()
    assert len(body) > SMALL_BODY_BYTES

    async def test() -> None:
        reader, writer = await serving.connect(HEAD % len(body))
        for start in range(0, len(body), 50_000):
            writer.write(body[start : start + 50_000])
            await writer.drain()
        assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
        writer.close()

    serving.run(test)


@pytest.mark.parametrize("padding", [0, SMALL_BODY_BYTES])
def test_nothing_is_predicted_for_connections_that_are_closed(serving: Serving, padding: int) -> None:
    """While a slow model predicts, clients that close their connections leave no work behind."""
    asked: list[str] = []
    began, release = threading.Event(), threading.Event()

    class Slow:
        def predict(self, instances: Sequence[str]) -> list[dict[str, Any]]:
            asked.extend(instances)
            began.set()
            release.wait(SECONDS)
            return [{"label": "positive"} for _ in instances]

    serving.service.serve(Model(serving.description, Slow(), 0.0, 0.05))

    async def test() -> None:
        def request(text: str) -> bytes:
            body = json.dumps({"instances": [text]}).encode() + b" " * padding
            return HEAD % len(body) + body

        first, first_writer = await serving.connect(request("first"))
        await asyncio.to_thread(began.wait, SECONDS)
        for _ in range(5):
            _, writer = await serving.connect(request("gone"))
            writer.close()
        last, last_writer = await serving.connect(request("last"))
        while len(serving.server.server_state.connections) != 2 or asked != ["first"]:
            await asyncio.sleep(0.01)
        release.set()
        assert (await first.readline()).startswith(b"HTTP/1.1 200 ")
        assert (await last.readline()).startswith(b"HTTP/1.1 200 ")
        assert asked == ["first", "last"]
        first_writer.close()
        last_writer.close()

    serving.run(test)


class WrittenParts:
    """A transport that keeps what it is to send, write by write."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Keep one write."""
        self.parts.append(data)

    def close(self) -> None:
        """Keep that the connection was closed."""
        self.parts.append(b"closed")


ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ([ANSWER, b"{}"], [ANSWER + b"{}"]),
        ([ANSWER, b"{", b"}"], [ANSWER + b"{", b"}"]),
        ([ANSWER, ANSWER], [ANSWER + ANSWER]),
        ([b"HTTP/1.1 100 Continue\r\n\r\n"], [b"HTTP/1.1 100 Continue\r\n\r\n"]),
        ([b"HTTP/1.1 400 Bad Request\r\n\r\n{}"], [b"HTTP/1.1 400 Bad Request\r\n\r\n{}"]),
    ],
)
def test_head_of_an_answer_is_sent_with_its_body(written: list[bytes], sent: list[bytes]) -> None:
    """An answer is one write, so that it wakes its client once; nothing else waits for a later write."""
    parts = WrittenParts()
    transport = AnswerTransport(parts)  # type: ignore[arg-type]
    for data in written:
        transport.write(data)
    assert parts.parts == sent


def test_head_without_a_body_is_sent() -> None:
    """An answer without a body is sent once it is complete, and before the connection is closed."""
    parts = WrittenParts()
    transport = AnswerTransport(parts)  # type: ignore[arg-type]
    transport.write(ANSWER)
    transport.flush()
    transport.write(ANSWER)
    transport.close()
    assert parts.parts == [ANSWER, ANSWER, b"closed"]


def test_answers_to_head_and_to_a_client_that_waits_for_100_arrive(serving: Serving) -> None:
    """What uvicorn sends without a body reaches the client: the answer to HEAD, and status 100."""

    async def test() -> None:
        reader, writer = await serving.connect(PING.replace(b"GET", b"HEAD"))
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        body = json.dumps({"instances": ["good"]}).encode()
        writer.write((HEAD % len(body))[:-2] + b"Expect: 100-continue\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        writer.write(body)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        writer.close()

    serving.run(test)
