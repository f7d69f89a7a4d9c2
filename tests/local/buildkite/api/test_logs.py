"""The forms in which the REST API gives a job's log and environment."""

from __future__ import annotations

from typing import Any

import pytest

from agent_client import FakeAgent, start_build

LOG = "one\nzw\u00f6lf\n"


@pytest.fixture
def job(server: Any, agent: FakeAgent, name: str) -> str:
    """The path of a job with a log."""
    build = start_build(server, name, {"command": "x"}, env={"TEXT": 'a "b"', "PLAIN": "x"})
    agent.take()
    agent.call("POST", "/jobs/{job}/chunks", params={"offset": 0}, content=LOG.encode())
    return f"{build}/jobs/{agent.job['id']}"


def test_a_log_is_json_or_text(server: Any, job: str) -> None:
    """The log is JSON; text by the header Accept and by the suffix; HEAD has its size alone."""
    assert server.rest.get(f"{job}/log").json()["content"] == LOG
    accept = {"Accept": "text/plain"}
    assert server.rest.get(f"{job}/log", headers=accept).text == LOG
    assert server.rest.get(f"{job}/log.txt").text == LOG
    answer = server.rest.head(f"{job}/log")
    assert (answer.headers["content-length"], answer.headers["accept-ranges"]) == ("11", "bytes")


@pytest.mark.parametrize(
    ("accept", "wanted", "status", "content"),
    [
        ("text/plain", "bytes=-3", 206, "lf\n"),
        ("text/plain", "bytes=-999", 206, LOG),
        ("text/plain", "bytes=0-3", 400, None),
        ("text/plain", "bytes=-0", 400, None),
        ("text/plain", "bytes=-1,-2", 400, None),
        ("application/json", "bytes=-3", 400, None),
    ],
)
def test_the_end_of_a_log_is_a_range(
    server: Any, job: str, accept: str, wanted: str, status: int, content: str | None
) -> None:
    """Of ranges, only the last bytes of the text are served."""
    answer = server.rest.get(f"{job}/log", headers={"Accept": accept, "Range": wanted})
    assert answer.status_code == status
    if content is not None:
        tail = content.encode()[-3:] if wanted == "bytes=-3" else content.encode()
        assert answer.content == tail
        assert answer.headers["content-range"] == f"bytes {11 - len(tail)}-10/11"


def test_an_environment_is_json_or_text(server: Any, job: str) -> None:
    """The environment is JSON, or lines for dotenv by the header Accept and by the suffix."""
    assert server.rest.get(f"{job}/env").json()["env"]["TEXT"] == 'a "b"'
    for answer in (
        server.rest.get(f"{job}/env", headers={"Accept": "text/plain"}),
        server.rest.get(f"{job}/env.txt"),
    ):
        assert 'TEXT="a \\"b\\""' in answer.text.splitlines()
        assert "PLAIN=x" in answer.text.splitlines()
