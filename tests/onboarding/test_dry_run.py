from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from modelbuild.onboarding.init import write

TRAINING = "BUILDKITE_PLUGIN_CONFIGURATION"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A commit of what ``init`` writes."""
    folder = tmp_path / "My Shop"
    folder.mkdir()
    write(folder)
    person = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
    for command in (["init", "-q"], ["add", "."], [*person, "commit", "-qm", "first"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


def dry_run(
    folder: Path, environ: dict[str, str], *arguments: str, agent: bool = False
) -> subprocess.CompletedProcess[str]:
    """``modelbuild train --dry-run`` in a checkout, on a machine with or without an agent."""
    path = environ["PATH"] if agent else environ["PATH"].partition(":")[2]
    return subprocess.run(
        [sys.executable, "-m", "modelbuild", "train", "--dry-run", *arguments],
        cwd=folder,
        env={**environ, "PATH": path, "IMAGE_REGISTRY": "registry.example"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_plan_of_a_checkout(repository: Path, on_agent: dict[str, str]) -> None:
    """Outside of a job the options are those of the pipeline, with its variables, for a build that is made
    up, and said to be.
    """
    done = dry_run(repository, on_agent)
    assert done.returncode == 0, done.stderr
    assert done.stderr == (
        "This is no job of Buildkite, so build 1 of pipeline my-shop is made up, and has no meta-data.\n"
    )
    plan = json.loads(done.stdout)
    assert plan["stored"] is False
    assert plan["request"]["artifacts"] == "s3://modelbuild-123456789012/models/my-shop/1"
    assert plan["request"]["flow"] == "flows/my-shop/flow.py"
    assert plan["request"]["images"]["default"] == "registry.example/default:0.1.0"
    assert plan["job"]["queue"] == "modelbuild-head"


def test_plan_of_each_step_that_trains(repository: Path, on_agent: dict[str, str]) -> None:
    """Another file may be named, and each of its steps that train has its plan."""
    file = repository / ".buildkite" / "pipeline.yml"
    text = file.read_text()
    train = text[text.index('  - label: ":weight_lifter:') : text.index("  # Unblocked by")]
    two = repository.parent / "two.yml"
    two.write_text(f"steps:\n{train}{train.replace('training_finished', 'other')}")
    done = dry_run(repository, on_agent, "--pipeline", str(two))
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.split("\n}\n{\n")
    assert '"unblock": "training_finished"' in first
    assert '"unblock": "other"' in second


def test_options_of_the_plugin_come_first(repository: Path, on_agent: dict[str, str]) -> None:
    """In a job of the plugin its own options are planned, and the pipeline's file is not looked at."""
    done = dry_run(repository, {**on_agent, TRAINING: "{}"}, "--pipeline", "none.yml")
    assert done.returncode == 10
    assert "option flow of the train plugin is missing" in done.stderr


def test_folder_without_a_commit(tmp_path: Path, on_agent: dict[str, str]) -> None:
    """What was never committed cannot be trained, and that is the sentence."""
    write(tmp_path)
    done = dry_run(tmp_path, on_agent)
    assert done.returncode == 10
    assert done.stderr.endswith("is not in a git repository: run this in a checkout\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("steps: []", "no step of pipeline.yml trains: add one, or name another file with --pipeline"),
        ("steps: [{plugins: [./plugins/train: {flow: a}]}]", 'option flow of the train plugin is "a"'),
    ],
)
def test_pipeline_without_a_plan(text: str, said: str, repository: Path, on_agent: dict[str, str]) -> None:
    """What cannot be planned is one sentence."""
    (repository / "pipeline.yml").write_text(text)
    done = dry_run(repository, on_agent, "--pipeline", "pipeline.yml")
    assert done.returncode == 10
    assert done.stderr.startswith(f"modelbuild: {said}")
    assert len(done.stderr.splitlines()) == 1
