"""A client of Buildkite's REST API in this process."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
from starlette.applications import Starlette

URL = "http://127.0.0.1:1"
ROOT = "/v2/organizations/local"


class Rest:
    """A client of an application in this process."""

    def __init__(self, app: Starlette) -> None:
        self._transport = httpx.ASGITransport(app=app)

    def request(self, method: str, path: str, **more: Any) -> httpx.Response:
        """A request with the API token."""

        async def send() -> httpx.Response:
            headers = {"Authorization": "Bearer secret"}
            async with httpx.AsyncClient(transport=self._transport, base_url=URL, headers=headers) as client:
                return await client.request(method, path, **more)

        return asyncio.run(send())

    def get(self, path: str) -> httpx.Response:
        """What is at the path."""
        return self.request("GET", path)
