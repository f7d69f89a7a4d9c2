from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from servers import reserved_port, serving, start
from waiting import SECONDS


@pytest.fixture
def port() -> Iterator[int]:
    """A port where nothing listens."""
    with reserved_port() as port:
        yield port


def test_serves_until_sigterm(published: Any) -> None:
    """The process answers predictions once /ping is 200, and SIGTERM ends it."""
    with serving(published.directory, published.environment) as served:
        assert served.invoke(["fine"])["model_id"] == "12.3"
        served.process.terminate()
        assert served.process.communicate(timeout=SECONDS)[1] == ""


def test_ends_when_the_weights_are_not_the_approved_ones(published: Any, port: int) -> None:
    """A wrong hash is one sentence and exit code 14, never a server."""
    wrong = published.environment.model_copy(update={"description_sha256": "f" * 64})
    server = start(published.directory, wrong, port)
    message = server.communicate(timeout=SECONDS)[1]
    assert server.returncode == 14
    assert message.count("\n") == 1
    assert "SHA-256" in message


def test_ends_when_there_is_no_model(published: Any, port: int, tmp_path: Path) -> None:
    """A missing model is one sentence and exit code 10."""
    server = start(tmp_path / "nowhere", published.environment, port)
    message = server.communicate(timeout=SECONDS)[1]
    assert server.returncode == 10
    assert message.startswith("cannot read the model file")
    assert message.count("\n") == 1


def test_ends_when_its_port_is_taken(published: Any) -> None:
    """A port that another program has is one sentence and exit code 10."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = start(published.directory, published.environment, port)
        message = server.communicate(timeout=SECONDS)[1]
    assert server.returncode == 10
    assert message == f"Cannot listen on 127.0.0.1:{port}: Address already in use.\n"


@pytest.mark.parametrize(
    ("arguments", "header"),
    [
        (["train"], "not train"),
        ([], "not nothing"),
        (["serve"], "MODEL_NAME is not set: set it as model/env"),
    ],
)
def test_says_what_is_wrong_with_its_invocation(arguments: list[str], header: str) -> None:
    """A wrong command or an incomplete environment ends with exit code 10 and a sentence."""
    result = subprocess.run(
        [sys.executable, "-m", "modelbuild.serving", *arguments], env={}, capture_output=True, text=True
    )
    assert result.returncode == 10
    assert header in result.stderr
    assert result.stderr.count("\n") == 1


def test_needs_no_training_libraries() -> None:
    """The serving image stays small: neither torch, Metaflow, W&B nor AWS's client is imported."""
    program = "import sys, modelbuild.serving.__main__; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"torch", "metaflow", "wandb", "boto3", "pyarrow", "yaml"} & set(result.stdout.split())
