from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from modelbuild.answers import Identity
from modelbuild.image_check import load_check, server, server_checks
from modelbuild.image_check.model import CheckedModel, read_model
from modelbuild.image_check.server import Answer, NoAnswer, Server
from modelbuild.image_check.session import Session
from models import publish

NUMBERS = st.integers() | st.floats() | st.just(10**400)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
OUTPUTS = st.dictionaries(st.sampled_from(["label", "scores", "model", "model_id", "x"]), JSON, max_size=4)
DOCUMENTS = JSON | st.fixed_dictionaries(
    {"predictions": st.lists(OUTPUTS | JSON, min_size=1, max_size=1)},
    optional={"model": JSON, "model_id": JSON, "pipeline": JSON},
)
BODIES = (
    st.binary() | st.text().map(str.encode) | DOCUMENTS.map(lambda document: json.dumps(document).encode())
)


@contextmanager
def talking(answer: Callable[[socket.socket], None]) -> Iterator[Server]:
    """A server that does this with each connection, after it has read the beginning of the request."""

    def serve(listening: socket.socket) -> None:
        while True:
            try:
                accepted, _ = listening.accept()
            except OSError:
                return
            with accepted:
                try:
                    accepted.recv(65_536)
                    answer(accepted)
                except OSError:
                    # The client has given up.
                    continue

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, args=(listening,), daemon=True).start()
        yield Server("127.0.0.1", listening.getsockname()[1])
        listening.shutdown(socket.SHUT_RDWR)


@settings(max_examples=60)
@given(
    st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"]),
    st.binary(),
)
@example(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", b"short")
@example(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", b"")
@example(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"zz\r\n")
@example(b"HTTP/1.1 99999 OK\r\n\r\n", b"")
@example(b"HTTP/1.1 200 OK\r\n" + 200 * b"a: b\r\n", b"")
@example(b"HTTP/1.1 200 OK\r\na: " + 100_000 * b"b", b"")
@example(b"HTTP/1.1 200 OK\r\nContent-Encoding: \xff\xfe\r\n\r\n", b"\x00")
def test_any_bytes_are_an_answer_or_one_error(head: bytes, rest: bytes) -> None:
    """Whatever bytes come in place of HTTP, the client returns an answer or says that there is none."""
    with talking(lambda accepted: accepted.sendall(head + rest)) as found:
        try:
            message = str(found.invoke(b"{}").status)
        except NoAnswer as error:
            message = str(error)
    assert message.isdecimal() or message.startswith("the server does not answer POST /invocations")


def test_an_answer_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is for the whole answer: a byte now and then does not extend it."""
    monkeypatch.setattr(server, "INVOKE_SECONDS", 0.3)

    def drip(accepted: socket.socket) -> None:
        accepted.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            accepted.sendall(b"a")
            time.sleep(0.02)

    start = time.monotonic()
    with talking(drip) as found, pytest.raises(NoAnswer, match=r"to the end \(not within 0\.3 s\)"):
        found.invoke(b"{}")
    assert time.monotonic() - start < 20


def test_an_answer_that_is_too_large_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """SageMaker passes on no answer of this size, and reading all of it could take all memory."""
    monkeypatch.setattr(server, "MAX_BODY_BYTES", 100)

    def send(accepted: socket.socket) -> None:
        accepted.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            accepted.sendall(bytes(65_536))

    with talking(send) as found, pytest.raises(NoAnswer, match="more than 100 bytes"):
        found.invoke(b"{}")


class _Scripted(Server):
    """A server in memory, whose answers are all the same."""

    answer: Answer

    def ping(self) -> Answer:
        return self.answer

    def invoke(self, *_: object) -> Answer:
        return self.answer


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> CheckedModel:
    """A model of texts with three labels."""
    directory: Path = tmp_path_factory.mktemp("model")
    publish(directory)
    return read_model(directory, None, [])


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    status=st.sampled_from([200, 200, 200, 400, 503]), body=BODIES, attributes=st.text(), named=st.booleans()
)
@example(
    status=200,
    body=b'{"predictions": [{"scores": ' + b"[" * 150 + b"]" * 150 + b"}]}",
    attributes="",
    named=True,
)
@example(status=200, body=b'{"predictions": [{"\\ud800": 1}]}', attributes="\ud800", named=False)
@example(status=200, body=b'{"predictions": [{"value": ' + b"9" * 5000 + b"}]}", attributes="", named=False)
def test_any_answer_ends_in_sentences(
    status: int,
    body: bytes,
    attributes: str,
    named: bool,
    model: CheckedModel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever a server answers, every check has an outcome with a text, and a wrong answer fails some."""
    monkeypatch.setattr(load_check, "_LOAD_SECONDS", 0.001)
    monkeypatch.setattr(server_checks, "_RECOVERY_SECONDS", 0.0)
    found = _Scripted("127.0.0.1", 1)
    headers = {"x-amzn-sagemaker-custom-attributes": attributes}
    object.__setattr__(found, "answer", Answer(status, headers, body, 0.001))
    identity = Identity(model="tone", model_id="12.3", pipeline="comments") if named else None
    outcomes = list(server_checks.examine(Session(found, model, identity), 0.0))
    assert all(outcome.text for outcome in outcomes)
    assert any(outcome.status == "failed" for outcome in outcomes)
