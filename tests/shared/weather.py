"""What goes wrong with requests to a stand-in."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from standins import SECRET


class Weather:
    """The faults of one stand-in; see ``modelbuild_local.service.faults``."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._token = token

    def add(self, request: str, **fault: Any) -> None:
        """Let some requests be struck from now on."""
        self._call("POST", "faults", {"request": request, **fault})

    def struck(self) -> list[int]:
        """How often each fault has struck, in the order in which they were added."""
        return [fault["struck"] for fault in self._call("GET", "faults")]

    def keys_live(self, seconds: int) -> None:
        """Let the keys that roles are given at the AWS stand-in from now on live no longer than that."""
        self._call("PUT", "credentials", {"seconds": seconds})

    def clear(self) -> None:
        """Let all be well again."""
        self._call("DELETE", "faults")

    def _call(self, method: str, what: str, value: Any = None) -> Any:
        data = None if value is None else json.dumps(value).encode()
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._token}"}
        asked = urllib.request.Request(f"{self._url}/laptop/{what}", data, headers, method=method)
        with urllib.request.urlopen(asked) as answer:
            return json.loads(answer.read())


@contextmanager
def changing(url: str, token: str = SECRET) -> Iterator[Weather]:
    """Faults of a stand-in that are gone when the block ends; ``token`` is its administrator's."""
    weather = Weather(url, token)
    try:
        yield weather
    finally:
        weather.clear()
