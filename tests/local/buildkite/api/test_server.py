"""Tokens, unknown paths, limits, and how the server stops."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import httpx
import pytest

import standins
from modelbuild_local.buildkite.api.rest import RateLimit
from waiting import SECONDS


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v3/register"),
        ("GET", "/v3/ping"),
        ("GET", "/v3/jobs/x"),
        ("GET", "/v2/organizations/local/pipelines"),
    ],
)
@pytest.mark.parametrize("token", ["", "Token wrong", "Bearer wrong"])
def test_requests_without_a_token_are_refused(server: Any, method: str, path: str, token: str) -> None:
    """Both APIs answer 401 and a JSON message without the right token."""
    answer = httpx.request(method, server.url + path, headers={"Authorization": token} if token else {})
    assert answer.status_code == 401
    assert answer.json()["message"]


def test_an_unknown_path_is_json_too(server: Any) -> None:
    """A path that does not exist answers 404 with a JSON message."""
    for path in ("/v3/nothing", "/v2/nothing", "/v3/jobs/x/secrets"):
        answer = httpx.get(server.url + path)
        assert (answer.status_code, bool(answer.json()["message"])) == (404, True)


def test_each_answer_has_the_rate_limit(server: Any) -> None:
    """REST answers carry the headers a polite client reads, errors too."""
    for path in ("/pipelines", "/pipelines/nobody"):
        headers = server.rest.get(path).headers
        for name in ("Limit", "Remaining", "Reset"):
            assert int(headers[f"RateLimit-User-{name}"]) >= 1


def test_the_rate_limit_lasts_a_minute() -> None:
    """Over the limit nothing is served until the window has passed."""
    limit = RateLimit(2)
    assert [limit.take(second)[0] for second in (0, 1, 2, 59, 60)] == [True, True, False, False, True]


@pytest.mark.parametrize("how", ["end of input", "SIGTERM", "SIGINT"])
def test_the_server_stops_when_it_is_reported(tmp_path: Path, how: str) -> None:
    """The end of standard input and both signals end the server with exit code 0."""
    with standins.started("buildkite", "--data", tmp_path) as running, httpx.Client() as client:
        client.get(f"{running.url}/")
        if how == "end of input":
            assert running.stop() == 0
        else:
            running.process.send_signal(signal.Signals[how])
            assert running.process.wait(SECONDS) == 0


def test_token_says_what_it_may_do(server: Any) -> None:
    """The REST token's own page lists the scopes that the callback needs, and not the token."""
    answer = httpx.get(f"{server.url}/v2/access-token", headers=server.rest.headers)
    assert answer.status_code == 200
    assert {"read_builds", "write_builds"} <= set(answer.json()["scopes"])
    assert "api-token" not in answer.text
    assert httpx.get(f"{server.url}/v2/access-token").status_code == 401
