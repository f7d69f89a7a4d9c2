from __future__ import annotations

import os
from pathlib import Path

import pytest

from modelbuild.buildkite import agent
from modelbuild.errors import BuildkiteError

# Records each call as its arguments, one a line, then its input; answers from the file "answer".
AGENT = """#!/bin/sh
cd "{folder}"
for word; do printf '%s\\n' "$word"; done > arguments
cat > input
[ -f error ] && {{ cat error >&2; exit 4; }}
if [ "$1 $2" = "meta-data get" ] && [ ! -f answer ]; then printf '%s\\n' "$5"; else cat answer; fi
"""


@pytest.fixture
def recorder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a recorder that is ``buildkite-agent`` on PATH."""
    script = tmp_path / "buildkite-agent"
    script.write_text(AGENT.format(folder=tmp_path))
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


def arguments(recorder: Path) -> list[str]:
    """What the last call was given."""
    return (recorder / "arguments").read_text().splitlines()


@pytest.mark.parametrize(
    ("printed", "value"),
    [("a value", "a value"), ("a value\n", "a value"), ("", ""), ("two\nlines\n\n", "two\nlines\n")],
)
def test_value_is_what_was_set(recorder: Path, printed: str, value: str) -> None:
    """Version 3 prints the value, version 4 ends it with a line break: both give the value."""
    (recorder / "answer").write_text(printed)
    assert agent.get_meta_data("model/image") == value
    assert arguments(recorder)[:3] == ["meta-data", "get", "model/image"]


def test_missing_key_is_none(recorder: Path) -> None:
    """A key that was never set is None, which differs from a key that is empty."""
    assert agent.get_meta_data("no/such/key") is None
    (recorder / "answer").write_text("\n")
    assert agent.get_meta_data("an/empty/key") == ""


def test_values_travel_by_standard_input(recorder: Path) -> None:
    """A value is not an argument, so it may be long, and begin with a dash."""
    (recorder / "answer").write_text("")
    value = "--" + "x" * 90_000
    agent.set_meta_data({"a/key": value})
    assert arguments(recorder) == ["meta-data", "set", "a/key"]
    assert (recorder / "input").read_text() == value


def test_blank_values_are_left_out(recorder: Path) -> None:
    """Buildkite refuses blank values, so none is sent."""
    agent.set_meta_data({"a/key": "", "another/key": " \n"})
    assert not (recorder / "arguments").exists()


def test_annotation_travels_by_standard_input(recorder: Path) -> None:
    """The body goes through standard input, the context and style as options."""
    (recorder / "answer").write_text("")
    agent.annotate("<p>ä</p>", context="training", style="info")
    assert arguments(recorder) == ["annotate", "--context", "training", "--style", "info"]
    assert (recorder / "input").read_text() == "<p>ä</p>"


def test_failure_is_reported_with_its_last_line(recorder: Path) -> None:
    """An agent that fails is an error with what it said last, and its exit code."""
    (recorder / "error").write_text(
        "2026-01-01 INFO  trying\n2026-01-01 FATAL  Failed to annotate build: 401\n"
    )
    with pytest.raises(BuildkiteError, match=r"'buildkite-agent annotate .*' exited with 4: .*build: 401$"):
        agent.annotate("body", context="training", style="info")


def test_failure_in_another_encoding_is_reported(recorder: Path) -> None:
    """What an agent says is passed on as far as it can be read."""
    (recorder / "error").write_bytes(b"caf\xe9 is closed\n")
    with pytest.raises(BuildkiteError, match=r"exited with 4: caf. is closed$"):
        agent.get_meta_data("model/image")


def test_missing_agent_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside a job there is no agent, and the message says so."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BuildkiteError, match="buildkite-agent is not on PATH"):
        agent.get_meta_data("key")
