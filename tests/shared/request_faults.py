"""Faults that a test injects into the requests to a stand-in."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from standins import SECRET


class RequestFaults:
    """The faults of one stand-in; see ``modelbuild_local.service.faults``."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._token = token

    def add(self, request: str, **fault: Any) -> None:
        """Inject a fault into requests from now on."""
        self._call("POST", "faults", {"request": request, **fault})

    def struck(self) -> list[int]:
        """How often each fault has struck, in the order in which they were added."""
        return [fault["struck"] for fault in self._call("GET", "faults")]

    def limit_key_lifetime(self, seconds: int) -> None:
        """Limit for how long the AWS stand-in's later credentials of roles are valid."""
        self._call("PUT", "credentials", {"seconds": seconds})

    def clear(self) -> None:
        """Remove all faults."""
        self._call("DELETE", "faults")

    def _call(self, method: str, what: str, value: Any = None) -> Any:
        data = None if value is None else json.dumps(value).encode()
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._token}"}
        request = urllib.request.Request(f"{self._url}/laptop/{what}", data, headers, method=method)
        with urllib.request.urlopen(request) as answer:
            return json.loads(answer.read())


@contextmanager
def injected_faults(url: str, token: str = SECRET) -> Iterator[RequestFaults]:
    """Faults of a stand-in that are gone when the block ends; ``token`` is its administrator's."""
    faults = RequestFaults(url, token)
    try:
        yield faults
    finally:
        faults.clear()
