"""The lines and exit codes of ``modelbuild doctor``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from doctor import client
from modelbuild.onboarding.checks import Check
from modelbuild.onboarding.doctor import examine
from standins import ROOT

API_TOKEN = "the-rest-token"
PIPELINE = ROOT / ".buildkite" / "pipeline.yml"


def objects() -> list[str]:
    """The keys in the bucket of the stack."""
    listed = client("s3").list_objects_v2(Bucket="modelbuild-123456789012")
    return [found["Key"] for found in listed.get("Contents", [])]


def test_all_is_well(on_agent: dict[str, str]) -> None:
    """With the real agent, the stack of infra/ and this repository's pipeline every line is ok, each
    thing is looked at, and no object is left behind.
    """
    before = objects()
    lines = list(examine(PIPELINE, {**on_agent, "BUILDKITE_API_TOKEN": API_TOKEN}))
    assert [line for line in lines if not line.ok] == []
    assert [line.text.split(": ")[0].split(" ")[0] for line in lines] == [
        *("agent", "pipeline", "identity", "job"),
        *("queue", "queue", "queue", "quotas", "quotas", "quotas", "bucket", "job", "API"),
    ]
    assert objects() == before


def test_command_line(on_agent: dict[str, str], tmp_path: Path) -> None:
    """The lines are printed; the exit code is 0 when all are ok, and else 10."""

    def ran(file: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "modelbuild", "doctor", "--pipeline", str(file)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    good = ran(PIPELINE, on_agent)
    assert good.returncode == 0, good.stdout + good.stderr
    assert {line[:3] for line in good.stdout.splitlines()} == {"ok "}
    assert "the-rest-token" not in good.stdout
    bad = ran(tmp_path / "none.yml", on_agent)
    assert bad.returncode == 10
    assert "fix pipeline: cannot read the pipeline" in bad.stdout
    assert bad.stderr == ""


def test_line_is_ok_or_a_fix() -> None:
    """A line begins with what it is."""
    assert str(Check(True, "agent: 3.108.0")) == "ok  agent: 3.108.0"
    assert str(Check(False, "agent: too old")) == "fix agent: too old"
