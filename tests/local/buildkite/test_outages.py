"""Outages of Buildkite's APIs, as a rehearsal asks for them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from request_faults import RequestFaults, injected_faults


@pytest.fixture
def faults(server: Any) -> Iterator[RequestFaults]:
    """Faults that are gone when the test is over."""
    with injected_faults(server.url, "api-token") as changed:
        yield changed


def test_refusals_have_their_headers(server: Any, faults: RequestFaults) -> None:
    """Only the requests that are named are refused, with status, message and headers, and only so often."""
    faults.add("GET */pipelines", status=429, code="Too fast.", headers={"Retry-After": "7"}, count=1)
    refused = server.rest.get("/pipelines")
    assert (refused.status_code, refused.json()) == (429, {"message": "Too fast."})
    assert refused.headers["Retry-After"] == "7"
    assert server.rest.get("/pipelines").status_code == 200
    assert faults.struck() == [1]


def test_connections_break_before_and_after_what_was_asked(server: Any, faults: RequestFaults) -> None:
    """A silent connection breaks without anything done; a lost answer is one to something that was done."""
    builds = server.create_pipeline("outages", [{"block": "wait"}])
    faults.add(f"POST *{builds}", silence=0.3, count=1)
    faults.add(f"POST *{builds}", lost=True, count=1)
    body = {"commit": "HEAD", "branch": "main", "message": "a build"}
    before = time.monotonic()
    for number in (0, 1):
        with pytest.raises(httpx.RemoteProtocolError):
            server.rest.post(builds, json=body)
        assert len(server.rest.get(builds).json()) == number
    assert time.monotonic() - before >= 0.3
