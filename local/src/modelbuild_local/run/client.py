"""A client of the local Buildkite's REST API for `local run`."""

from __future__ import annotations

import itertools
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

from modelbuild.errors import BuildkiteError
from modelbuild_local.laptop import ORGANIZATION, State

_TIMEOUT_SECONDS = 30.0
_PER_PAGE = 100
"""The most items that Buildkite puts on a page."""


class Client:
    """Sends requests with the token of a running laptop mode; every path is relative to its organization."""

    def __init__(self, state: State) -> None:
        self._root = f"{state.buildkite_url}/v2/organizations/{ORGANIZATION}"
        self._token = state.api_token
        # The user's proxies do not apply to addresses of this machine.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def get(self, path: str) -> Any:
        """The JSON at ``path``.

        Raises:
            BuildkiteError: the server refused the request, or does not answer.
        """
        return json.loads(self._call("GET", path))

    def get_all(self, path: str) -> Iterator[Any]:
        """The items of all pages of the list at ``path``. Raises like ``get``."""
        separator = "&" if "?" in path else "?"
        for page in itertools.count(1):
            items = self.get(f"{path}{separator}page={page}&per_page={_PER_PAGE}")
            yield from items
            if len(items) < _PER_PAGE:
                return

    def text(self, path: str) -> str:
        """The text at ``path``. Raises like ``get``."""
        return self._call("GET", path).decode()

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """Send a POST. Raises like ``get``."""
        return json.loads(self._call("POST", path, body))

    def put(self, path: str, body: dict[str, Any]) -> Any:
        """Send a PUT. Raises like ``get``."""
        return json.loads(self._call("PUT", path, body))

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> bytes:
        request = urllib.request.Request(
            f"{self._root}/{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"},
            method=method,
        )
        try:
            with self._opener.open(request, timeout=_TIMEOUT_SECONDS) as response:
                return bytes(response.read())
        except urllib.error.HTTPError as error:
            message = _message(error)
            raise BuildkiteError(f"the local Buildkite refused {method} {path}: {message}") from None
        except OSError as error:
            raise BuildkiteError(
                f"the local Buildkite does not answer ({error}): is modelbuild local up still running?"
            ) from None


def _message(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.loads(error.read())["message"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {error.code}"
