from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from modelbuild.errors import ConfigurationError
from modelbuild.onboarding.init import write
from modelbuild.onboarding.training import of_pipeline

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
        "This is no job of Buildkite, so build 1 of pipeline my-shop is invented, and has no meta-data.\n"
    )
    plan = json.loads(done.stdout)
    assert plan["stored"] is False
    assert plan["request"]["artifacts"] == "s3://modelbuild-123456789012/models/my-shop/my-shop/1"
    assert plan["request"]["flow"] == "flows/my-shop/flow.py"
    assert plan["request"]["images"]["default"] == "registry.example/default:0.1.0"
    assert plan["job"]["queue"] == "modelbuild-head"


def test_variables_of_the_pipeline(repository: Path, on_agent: dict[str, str]) -> None:
    """``env:`` of the file and of the step are what they would be in the job: options are completed with the
    one, and both set parameters; the step's own stands above the file's.
    """
    file = repository / ".buildkite" / "pipeline.yml"
    text = file.read_text()
    env = "env: {IMAGE_REGISTRY: of-file.example, PARAM_MODEL__NGRAMS: 1, PARAM_TRAINING__EPOCHS: 2}\n"
    one = "    env: {PARAM_TRAINING__EPOCHS: 3, PARAM_TRAINING__LEARNING_RATE: 1e-3}\n    plugins:"
    position = text.index('  - label: ":weight_lifter:')
    changed = text[:position] + text[position:].replace("    plugins:", one, 1)
    other = repository.parent / "other.yml"
    other.write_text(env + changed)
    done = dry_run(repository, on_agent, "--pipeline", str(other))
    assert done.returncode == 0, done.stderr
    request = json.loads(done.stdout)["request"]
    assert request["images"]["default"].startswith("of-file.example/")
    assert request["parameters"]["model"]["ngrams"] == 1
    assert request["parameters"]["training"] == {"epochs": 3, "batch_size": 16, "learning_rate": 0.001}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda train: train + train.replace("training_finished", "other"), "another step of this build"),
        (lambda train: train + "    parallelism: 2\n", "parallelism would train several times"),
        (lambda train: train + "    matrix: [a, b]\n", "matrix would train several times"),
    ],
)
def test_several_trainings_have_no_plan(change: Callable[[str], str], message: str, repository: Path) -> None:
    """A build has one training, so what would make several is refused before anything is submitted."""
    text = (repository / ".buildkite" / "pipeline.yml").read_text()
    train = text[text.index('  - label: ":weight_lifter:') : text.index("  # Unblocked by")].rstrip() + "\n"
    two = repository.parent / "two.yml"
    two.write_text(f"steps:\n{change(train)}")
    with pytest.raises(ConfigurationError, match=rf"two\.yml:\d+: step train: {message}"):
        of_pipeline(two, {"IMAGE_REGISTRY": "registry.example"})


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
    ("text", "message"),
    [
        ("steps: []", "no step of pipeline.yml trains: add one, or name another file with --pipeline"),
        ("steps: [{plugins: [./plugins/train: {flow: a}]}]", 'option flow of the train plugin is "a"'),
    ],
)
def test_pipeline_without_a_plan(text: str, message: str, repository: Path, on_agent: dict[str, str]) -> None:
    """What cannot be planned is one sentence."""
    (repository / "pipeline.yml").write_text(text)
    done = dry_run(repository, on_agent, "--pipeline", "pipeline.yml")
    assert done.returncode == 10
    assert done.stderr.startswith(f"modelbuild: {message}")
    assert len(done.stderr.splitlines()) == 1
