from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import boto3
import pytest

import standins
from modelbuild.aws.identity import session
from modelbuild.aws.storage import Storage
from modelbuild.contract import Manifest, TrainingResult
from modelbuild.settings import AwsSettings

MODEL = Path(__file__).parents[1] / "data" / "model-12"
UPDATE = "UPDATE_GOLDEN"


@pytest.fixture
def golden() -> Callable[[str, str], None]:
    """``golden(name, text)``: the text is what the file in golden/ holds; UPDATE_GOLDEN=1 writes it there."""

    def check(name: str, text: str) -> None:
        path = Path(__file__).with_name("golden") / name
        if os.environ.get(UPDATE):
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8"), f"if this is right, run again with {UPDATE}=1"

    return check


@pytest.fixture
def environ() -> dict[str, str]:
    """The variables of a job of build 12 of the pipeline "comments"."""
    return {
        "BUILDKITE_BUILD_NUMBER": "12",
        "BUILDKITE_PIPELINE_SLUG": "comments",
        "BUILDKITE_BUILD_URL": "https://buildkite.example/acme/comments/builds/12",
        "BUILDKITE_COMMIT": "c" * 40,
        "BUILDKITE_REPO": "git@github.com:acme/comments.git",
    }


@pytest.fixture
def manifest() -> Manifest:
    """Model 12, better than the majority and worse than VADER, with one weak source."""
    return Manifest.model_validate_json((MODEL / "manifest.json").read_bytes())


@pytest.fixture
def result() -> TrainingResult:
    """What the training of ``manifest`` said in the end."""
    return TrainingResult.model_validate_json((MODEL / "result.json").read_bytes())


@dataclass
class RecordingAgent:
    """What stands for ``buildkite-agent``: it keeps meta-data and annotations in a folder."""

    folder: Path

    def set(self, values: dict[str, str]) -> None:
        """Set meta-data in place of all there is; like Buildkite's block steps, empty values too."""
        (self.folder / "meta-data").write_text(json.dumps(values))

    def annotations(self) -> list[tuple[str, str, str]]:
        """Context, style and body of each annotation, in order."""
        path = self.folder / "annotations"
        return [tuple(json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []


_SCRIPT = """#!{python} -IS
import json, pathlib, sys
folder, arguments = pathlib.Path({folder!r}), sys.argv[1:]
if arguments[:2] == ["meta-data", "get"]:
    print(json.loads((folder / "meta-data").read_text()).get(arguments[2], arguments[4]))
elif arguments[0] == "annotate":
    with (folder / "annotations").open("a") as file:
        file.write(json.dumps([arguments[2], arguments[4], sys.stdin.read()]) + "\\n")
else:
    sys.exit("unexpected call: " + repr(arguments))
"""


@pytest.fixture
def job_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RecordingAgent:
    """A ``buildkite-agent`` first on PATH that answers from, and records in, a folder."""
    script = tmp_path / "buildkite-agent"
    script.write_text(_SCRIPT.format(python=sys.executable, folder=str(tmp_path)))
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    recording = RecordingAgent(tmp_path)
    recording.set({})
    return recording


@pytest.fixture
def storage(on_stand_in: str) -> Storage:
    """The data lake's S3 as the product sees it, with nothing of the pipeline "comments" in it."""
    assert on_stand_in
    boto3.resource("s3").Bucket(standins.BUCKET).objects.filter(Prefix="models/comments/").delete()
    return Storage(session(AwsSettings()))
