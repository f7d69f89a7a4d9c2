"""Finds the agent's executable."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from modelbuild_local.agent.build import build

OLDEST = (3, 119)
"""Older agents do not know the option ``--ping-mode``."""


def find() -> Path:
    """The agent to run: ``buildkite-agent`` on PATH if it is 3.119 or newer, else the one that is built here.

    Raises:
        ConfigurationError: there is no agent, and it cannot be built.
    """
    found = shutil.which("buildkite-agent")
    if found is not None and _version(found) >= OLDEST:
        return Path(found)
    return build()


def _version(executable: str) -> tuple[int, ...]:
    try:
        command = [executable, "--version"]
        output = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return parse_version(output.stdout)


def parse_version(text: str) -> tuple[int, ...]:
    """Major and minor version in what ``buildkite-agent --version`` prints; empty if there is none."""
    match = re.search(r"version v?(\d+)\.(\d+)", text)
    return tuple(int(part) for part in match.groups()) if match else ()
