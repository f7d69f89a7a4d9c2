from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from modelbuild.cli import cli

COMMAND = [sys.executable, "-m", "modelbuild"]


def modelbuild(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the command line with an environment of its own."""
    return subprocess.run(
        [*COMMAND, *arguments],
        env={"PATH": os.environ["PATH"], **environ},
        capture_output=True,
        text=True,
        check=False,
    )


def test_wrong_option_is_a_message_and_a_code(plugin: str) -> None:
    """A user's mistake opens the log's group, is one line without traceback, and exits with 10."""
    done = modelbuild(plugin, BUILDKITE="true", BUILDKITE_PLUGIN_CONFIGURATION='{"colour": 1}')
    assert done.returncode == 10
    lines = done.stderr.splitlines()
    assert lines[0] == "^^^ +++"
    assert lines[1].startswith(f"modelbuild: option colour of the {plugin} plugin does not exist: ")
    assert len(lines) == 2


def test_terminal_has_no_groups() -> None:
    """Outside of a job the message stands alone."""
    done = modelbuild("check", "none.yml")
    assert done.returncode == 10
    assert done.stderr.startswith("modelbuild: cannot read the pipeline none.yml")


@pytest.mark.parametrize("command", ["check", "train --dry-run", "local run"])
def test_a_deleted_folder_is_a_sentence(command: str, tmp_path: Path) -> None:
    """A shell may stand in a folder that is gone, as after another checkout: the sentence says so."""
    script = f'mkdir gone && cd gone && rmdir ../gone && exec "$0" {command}'
    program = Path(sys.executable).with_name("modelbuild")
    done = subprocess.run(["sh", "-c", script, program], cwd=tmp_path, capture_output=True, check=False)
    message = b"modelbuild: the working directory was deleted: change to a folder that exists\n"
    assert (done.returncode, done.stderr) == (10, message)


def test_a_full_disk_is_a_sentence() -> None:
    """A model may be larger than what an agent has left, and that is no defect of modelbuild."""
    code = (
        "import errno, modelbuild.cli as command\n"
        "def fill(**_): raise OSError(errno.ENOSPC, 'a path')\n"
        "command.cli = fill\n"
        "command.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    message = (
        "modelbuild: no space is left on a disk of this machine: free some, or set TMPDIR to a folder of "
    )
    assert (done.returncode, done.stderr) == (10, f"{message}another disk\n")


def test_a_hook_starts_without_what_it_does_not_use() -> None:
    """Refusing a wrong option takes neither botocore nor jinja2, so it takes no second."""
    code = (
        "import sys; from modelbuild.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print({'botocore', 'jinja2', 'urllib3', 'requests', 'metaflow'} & sys.modules.keys())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "train"],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "set()\n"


def test_a_training_is_submitted_without_what_only_its_head_calls_with() -> None:
    """What the step loads until the head is submitted does without requests."""
    code = (
        "import sys; from modelbuild.train.submit import command, follow, page, plan, submission\n"
        "from modelbuild.aws import identity, logs, storage\n"
        "from modelbuild.aws.batch import jobs\n"
        "print('requests' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_head_outside_of_batch_says_so() -> None:
    """The head's command, typed by hand, says where it belongs."""
    done = modelbuild("head")
    assert done.returncode == 10
    assert "ARTIFACTS is not set" in done.stderr


@pytest.mark.parametrize("arguments", [[], ["7", "--prediction", "-"]])
def test_trace_takes_an_id_or_a_prediction(arguments: list[str]) -> None:
    """One of the two, not none and not both."""
    done = modelbuild("trace", *arguments, "--artifacts", "s3://bucket/models/demo")
    assert done.returncode == 2
    assert "give either MODEL_ID or --prediction FILE" in done.stderr


def test_trace_refuses_what_is_no_prediction(tmp_path: Path) -> None:
    """What no endpoint answered is refused before anything is read from S3."""
    file = tmp_path / "answer.json"
    file.write_text("{}")
    done = modelbuild("trace", "--prediction", str(file), "--artifacts", "s3://bucket/models/demo")
    assert done.returncode == 10
    assert "is not an answer of an endpoint" in done.stderr


def test_trace_refuses_another_pipelines_prediction(tmp_path: Path) -> None:
    """A prediction of one pipeline is not looked up among the models of another."""
    model = {"model": "sentiment", "model_id": "7"}
    prediction = {"label": "positive", "scores": {"positive": 1.0}, **model}
    answer = {**model, "pipeline": "sentiment", "predictions": [prediction]}
    file = tmp_path / "answer.json"
    file.write_text(json.dumps(answer))
    done = modelbuild("trace", "--prediction", str(file), "--artifacts", "s3://bucket/models/demo/")
    assert done.returncode == 10
    assert "end it with /sentiment" in done.stderr


def test_trace_refuses_what_is_no_role() -> None:
    """What cannot be assumed is named before AWS is asked."""
    done = modelbuild("trace", "7", "--artifacts", "s3://bucket/models/demo", "--production-role", "reader")
    assert done.returncode == 10
    assert "--production-role is 'reader': give the ARN of a role" in done.stderr


def test_help_lists_every_command() -> None:
    """Each command is in the help, the laptop mode as well."""
    done = modelbuild("--help")
    assert done.returncode == 0
    for name in (
        "train",
        "notify",
        "deploy",
        "head",
        "reconcile",
        "trace",
        "adopt",
        "leaderboard",
        "init",
        "check",
        "doctor",
        "local",
    ):
        assert f"\n  {name} " in done.stdout


def test_laptop_mode_is_another_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where only the product is installed, as in images and on agents, `local` says how to get it."""
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **_: importlib.metadata.EntryPoints())
    done = CliRunner().invoke(cli, ["local", "up"])
    assert done.exit_code == 2
    assert "laptop mode is not installed here: run scripts/install in a clone of modelbuild" in done.output
    assert "local" not in CliRunner().invoke(cli, ["--help"]).output.split()
