"""A started server, and processes with the unmodified SDK."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

import standins
from waiting import SECONDS

KEY = standins.SECRETS["api_key"]


@dataclass
class WandbServer:
    """A running server."""

    url: str
    process: subprocess.Popen[str]
    folder: Path

    def run(self, program: str, *, key: str = KEY) -> subprocess.CompletedProcess[str]:
        """A Python program in a process of its own, which knows this server and nothing of this machine."""
        return subprocess.run(
            [sys.executable, "-c", program],
            cwd=self.folder,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.folder),
                "WANDB_DIR": str(self.folder),
                "WANDB_BASE_URL": self.url,
                "WANDB_API_KEY": key,
                "WANDB_SILENT": "true",
                "WANDB_ERROR_REPORTING": "false",
                "WANDB_DISABLE_GIT": "true",
            },
            capture_output=True,
            text=True,
            timeout=2 * SECONDS,
        )

    def answer(self, program: str) -> Any:
        """What a program prints as JSON."""
        result = self.run(program)
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout.splitlines()[-1])

    def graphql(self, name: str, **variables: object) -> Any:
        """The answer to a query that is only a name."""
        body = {"operationName": name, "query": f"query {name} {{ x }}", "variables": variables}
        return httpx.post(f"{self.url}/graphql", json=body, auth=("api", KEY)).json()

    def unknown(self) -> list[str]:
        """The operations that were asked for in vain."""
        names: list[str] = httpx.get(f"{self.url}/healthz").json()["unknown"]
        return names

    def page(self, path: str) -> str:
        """The page at a path."""
        answer = httpx.get(self.url + path, cookies=standins.PAGE_COOKIES)
        assert answer.status_code == 200
        return answer.text


@pytest.fixture(scope="session")
def wandb_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WandbServer]:
    """A server with one key, which is KEY."""
    folder = tmp_path_factory.mktemp("wandb")
    with standins.started("wandb", "--data", folder / "data") as running:
        yield WandbServer(running.url, running.process, folder)


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[WandbServer]:
    """A server that the test has for itself."""
    with standins.started("wandb", "--data", tmp_path / "data") as running:
        yield WandbServer(running.url, running.process, tmp_path)
