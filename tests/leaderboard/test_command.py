"""The commands, with S3 of the AWS stand-in."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import boto3
import pytest
from click.testing import CliRunner

import recorded
import standins
from leaderboards import parameters
from modelbuild.aws.identity import session
from modelbuild.aws.storage import Storage
from modelbuild.cli import cli
from modelbuild.errors import ConfigurationError
from modelbuild.settings import AwsSettings

BUCKET = recorded.ROOT.removesuffix("/comments")


@pytest.fixture
def lake(on_stand_in: str, monkeypatch: pytest.MonkeyPatch) -> Storage:
    """The data lake's S3, where the pipeline "comments" has a model 12 and no other; nobody asks W&B."""
    assert on_stand_in
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    boto3.resource("s3").Bucket(standins.BUCKET).objects.filter(Prefix="models/comments/").delete()
    storage = Storage(session(AwsSettings()))
    recorded.put(storage, recorded.manifest("12", parameters=parameters(0.5)))
    return storage


def test_the_leaderboard_of_a_pipeline(lake: Storage, tmp_path: Path) -> None:
    """As text, as JSON and as a page; the prefix may end with the pipeline or be that of all pipelines."""
    assert lake
    page = tmp_path / "board.html"
    for artifacts in (BUCKET, recorded.ROOT, f"{recorded.ROOT}/"):
        done = CliRunner().invoke(
            cli, ["leaderboard", "comments", "--artifacts", artifacts, "--html", str(page)]
        )
        assert done.exit_code == 0
    assert "sentiment 12" in page.read_text(encoding="utf-8")
    done = CliRunner().invoke(cli, ["leaderboard", "comments", "--artifacts", BUCKET, "--json"])
    assert json.loads(done.output)["tables"][0]["entries"][0]["model_id"] == "12"


def test_a_pipeline_without_models_is_no_error(lake: Storage, capfd: pytest.CaptureFixture[str]) -> None:
    """One sentence, and exit code 0."""
    assert lake
    done = subprocess.run(
        [sys.executable, "-m", "modelbuild", "leaderboard", "other", "--artifacts", BUCKET],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"no model that was evaluated lies in {BUCKET}/other: ")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("pipeline", ["my_pipeline", "größer", "..", ""])
def test_a_name_that_no_pipeline_has_is_a_sentence(pipeline: str) -> None:
    """Buildkite's slugs have letters, digits and hyphens; S3 is not asked for anything else."""
    done = CliRunner().invoke(cli, ["leaderboard", pipeline, "--artifacts", BUCKET])
    assert isinstance(done.exception, ConfigurationError)
    assert str(done.exception).startswith(f"the pipeline is {pipeline!r}: give its slug")


def test_a_model_is_adopted(lake: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file of the checkout has the model's values afterwards."""
    assert lake
    file = tmp_path / "flows" / "sentiment" / "params.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("seed: 1\ntraining: {epochs: 3, learning_rate: 1.0}  # of the fit\n")
    identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    for command in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-qm", "parameters"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, ["adopt", "12", "--artifacts", BUCKET, "--pipeline", "comments"])
    assert done.exit_code == 0
    assert file.read_text() == "seed: 1\ntraining: {epochs: 3, learning_rate: 0.5}  # of the fit\n"
