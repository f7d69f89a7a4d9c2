"""What the services of laptop mode have in common as processes."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import standins


@pytest.mark.parametrize(
    ("service", "name", "options"),
    [
        ("aws", "AWS", ["--scratch", ".", "--images", ".", "--bin", "."]),
        ("buildkite", "Buildkite", ["--data", "."]),
        ("wandb", "W&B", ["--data", "."]),
    ],
)
def test_taken_port_is_one_sentence(service: str, name: str, options: list[str], tmp_path: Path) -> None:
    """A port that is in use ends the program with a sentence that names it, without a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", f"modelbuild_local.{service}", "--port", port, *options],
            cwd=tmp_path,
            input=json.dumps(standins.SECRETS) + "\n",
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == (
        f"The {name} stand-in cannot listen on port {port}: Address already in use; use --port 0.\n"
    )
