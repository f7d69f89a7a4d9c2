"""The inference server as a process of its own, as its image runs it."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelbuild.contract import ServingEnvironment
from waiting import wait_until


@dataclass(frozen=True)
class Served:
    """A server that answers /ping with 200."""

    process: subprocess.Popen[str]
    port: int

    def invoke(self, instances: list[Any]) -> Any:
        """The document that /invocations answers with."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/invocations",
            json.dumps({"instances": instances}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)


def start(
    directory: Path, environment: ServingEnvironment, port: int, **variables: str
) -> subprocess.Popen[str]:
    """The process, which serves on this machine only."""
    variables |= {
        "PATH": os.environ["PATH"],
        "SM_MODEL_DIR": str(directory),
        "SAGEMAKER_BIND_TO_PORT": str(port),
        "BIND_ADDRESS": "127.0.0.1",
        **environment.to_env(),
    }
    command = [sys.executable, "-m", "modelbuild.serving", "serve"]
    return subprocess.Popen(command, env=variables, stderr=subprocess.PIPE, text=True)


@contextlib.contextmanager
def reserved_port() -> Iterator[int]:
    """A port that no other program is given while the block runs; outside of Linux, one that is free now.

    A server can listen there, because servers set SO_REUSEADDR, which on Linux is enough to share a port
    without a listener; without one, connections are refused.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        port = int(holder.getsockname()[1])
        if sys.platform != "linux":
            holder.close()
        yield port


@contextlib.contextmanager
def serving(directory: Path, environment: ServingEnvironment, **variables: str) -> Iterator[Served]:
    """A server, until the block ends."""
    with reserved_port() as port:
        served = Served(start(directory, environment, port, **variables), port)
        try:
            wait_until(lambda: _answers_ping(served), "an answer to /ping")
            yield served
        finally:
            served.process.kill()
            served.process.wait()


def _answers_ping(served: Served) -> bool:
    assert served.process.poll() is None, served.process.communicate()[1]
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{served.port}/ping") as answer:
            return int(answer.status) == 200
    except (urllib.error.URLError, ConnectionError):
        return False
