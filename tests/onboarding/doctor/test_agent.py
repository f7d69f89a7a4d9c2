"""The agent, the pipeline file and the variables of its host."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from doctor import PIPELINE, Write, wrong


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("buildkite-agent version 3.107.2+10500", "update it to 3.108 or newer"),
        ("buildkite-agent version 2.9", "update it to 3.108 or newer"),
        ("something", "which is no version"),
    ],
)
def test_agent_too_old(version: str, message: str, on_agent: dict[str, str], own_path: Any) -> None:
    """An agent that cannot find the plugins is reported with the version that can."""
    own_path(f"echo '{version}'")
    (found,) = [text for text in wrong(PIPELINE, on_agent) if text.startswith("agent: ")]
    assert message in found


def test_newer_agent_is_new_enough(on_agent: dict[str, str], own_path: Any) -> None:
    """Versions are compared as numbers."""
    own_path("echo buildkite-agent version 4.0.1")
    assert wrong(PIPELINE, on_agent) == []


@pytest.fixture
def own_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a script in the place of the agent."""

    def put(script: str) -> None:
        (tmp_path / "bin").mkdir()
        executable = tmp_path / "bin" / "buildkite-agent"
        executable.write_text(f"#!/bin/sh\n{script}\n")
        executable.chmod(0o755)
        monkeypatch.setenv("PATH", str(executable.parent))

    return put


def test_no_agent(on_agent: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Outside of an agent's host the first line says so."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "buildkite-agent is not on PATH" in wrong(PIPELINE, on_agent)[0]


def test_findings_of_check_are_reported(on_agent: dict[str, str], write: Write) -> None:
    """A block that cannot take the result is reported with its line; AWS is checked all the same."""
    file = write(
        PIPELINE.read_text().replace("      - {text: Status, key: training/status, required: false}\n", "")
    )
    (found,) = wrong(file, on_agent)
    before, _, _ = file.read_text().partition('  - block: ":hourglass: training"')
    line = before.count("\n") + 1
    assert f"pipeline.yml:{line}: step training_finished: field training/status is missing" in found


def test_pipeline_without_training(on_agent: dict[str, str], write: Write) -> None:
    """A pipeline without a step that trains is reported, and that AWS was not checked."""
    first, second = wrong(write("steps:\n  - command: ls\n"), on_agent)
    assert "no step trains" in first
    assert second.startswith("AWS: not checked")


def test_variable_that_agents_lack(on_agent: dict[str, str]) -> None:
    """A variable that the pipeline requires and this agent does not have is named."""
    del on_agent["DATA_LAKE_ACCOUNT"]
    assert "requires DATA_LAKE_ACCOUNT, which this environment does not have" in wrong(PIPELINE, on_agent)[0]


def test_variable_of_the_pipeline(on_agent: dict[str, str], write: Write) -> None:
    """What ``env:`` of the pipeline gives need not be on the agents, and completes the options."""
    text = PIPELINE.read_text().replace("steps:\n", "env: {QUEUE: of-file}\nsteps:\n", 1)
    assert text.count("          unblock: training_finished\n") == 1
    unblock = "          unblock: training_finished\n"
    file = write(text.replace(unblock, f'{unblock}          queue: "${{QUEUE?}}"\n'))
    assert any("of-file" in message for message in wrong(file, on_agent))


def test_several_trainings(on_agent: dict[str, str], write: Write) -> None:
    """Parallel trainings of one build are reported."""
    text = PIPELINE.read_text()
    assert text.count("    key: train\n") == 1
    file = write(text.replace("    key: train\n", "    key: train\n    parallelism: 2\n"))
    assert any("parallelism would train several times" in message for message in wrong(file, on_agent))
