"""The agent that is found, and the one that is built."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from modelbuild.errors import ConfigurationError
from modelbuild_local import agent
from modelbuild_local.agent.binary import OLDEST, parse_version
from modelbuild_local.agent.build import build, destination


def executable_saying(path: Path, text: str) -> Path:
    """A program that prints ``text``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{text}'\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the user."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("buildkite-agent version 3.138.3+x..dirty", (3, 138)),
        ("buildkite-agent version 4.0.0-beta.15, build 12", (4, 0)),
        ("buildkite-agent version v3.99.1", (3, 99)),
        ("command not found", ()),
        ("", ()),
    ],
)
def test_version(text: str, version: tuple[int, ...]) -> None:
    """The version is read from what the agent prints; without one, no agent counts as new enough."""
    assert parse_version(text) == version


@pytest.mark.parametrize("version", ["3.119.0", "3.138.3", "4.0.0"])
def test_agent_on_path_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    """An agent on PATH that knows all options is the one that runs."""
    program = executable_saying(tmp_path / "buildkite-agent", f"buildkite-agent version {version}, build x")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert agent.find() == program


@pytest.mark.parametrize("message", ["buildkite-agent version 3.118.1", "no version at all"])
def test_old_agent_on_path_is_passed_over(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, message: str
) -> None:
    """An agent that is too old, or a file that is no agent, is replaced by the one that is built."""
    executable_saying(tmp_path / "bin" / "buildkite-agent", message)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    built = executable_saying(destination(os.environ), "buildkite-agent version 3.138.3")
    assert agent.find() == built
    assert cache in built.parents


@pytest.mark.usefixtures("cache")
def test_what_is_built_is_not_built_again() -> None:
    """An executable under the name of the present module is returned as it is."""
    built = executable_saying(destination(os.environ), "present")
    before = built.stat().st_mtime_ns
    assert build() == built
    assert build().stat().st_mtime_ns == before
    assert [path.name for path in built.parent.iterdir()] == ["buildkite-agent"]


@pytest.mark.usefixtures("cache")
def test_failed_build_leaves_nothing_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its toolchain the agent is not built: one sentence, no executable, no half-built folder."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(ConfigurationError, match=r"could not install Go: .*; repair that, or install"):
        build()
    left = [path.name for path in destination(os.environ).parent.iterdir()]
    assert left == ["lock"]


def test_the_agent_is_real() -> None:
    """What laptop mode runs is buildkite-agent itself, new enough for plugins in folders."""
    output = subprocess.run([agent.find(), "--version"], capture_output=True, text=True, check=True).stdout
    assert output.startswith("buildkite-agent version")
    assert parse_version(output) >= OLDEST
