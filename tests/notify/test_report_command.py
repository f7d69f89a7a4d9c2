from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import reports
import standins
from github_api import TOKEN, GitHub
from modelbuild.aws.storage import Storage
from modelbuild.store.model import ModelStore

REPORT = reports.first_report()
PREFIX = f"s3://{standins.BUCKET}/models/comments/sentiment/12"
HERE = ("--github", "--repository", "acme/comments", "--pull-request", "7")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The report of model 12 in a file."""
    path = tmp_path / "report.json"
    path.write_text(REPORT.to_json())
    return path


def report(*arguments: str | Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the command with these variables, and those with which AWS is reached."""
    inherited = {name: value for name, value in os.environ.items() if name.startswith(("AWS_", "PATH"))}
    return subprocess.run(
        [sys.executable, "-m", "modelbuild", "report", *map(str, arguments)],
        env={**inherited, **environ},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


def test_without_github_the_verdict_is_printed(file: Path) -> None:
    """A person reads the verdict in a terminal, and nothing is sent."""
    done = report("--report", file)
    assert done.returncode == 0
    assert REPORT.verdict.sentence in done.stdout


def test_the_report_beside_the_manifest_becomes_one_comment(storage: Storage, github: GitHub) -> None:
    """From S3, in any CI: the second run replaces the comment of the first, and prints where it is."""
    ModelStore(storage, PREFIX).write_report(REPORT.to_json().encode(), b"")
    for _ in range(2):
        done = report(f"{PREFIX}/", *HERE, GITHUB_TOKEN=TOKEN, GITHUB_API_URL=github.url)
        assert done.returncode == 0, done.stderr
        assert "Comment on pull request 7 of acme/comments: https://github.com/c" in done.stdout
    [comment] = github.comments
    assert comment["body"].startswith("<!-- modelbuild comments/sentiment -->\n")
    assert REPORT.verdict.sentence in comment["body"]


def test_a_build_of_buildkite_needs_no_option_but_github(file: Path, github: GitHub) -> None:
    """Repository and pull request come from the agent; a build of a branch has nothing to comment on."""
    agent = {"BUILDKITE_REPO": "git@github.com:acme/comments.git", "GITHUB_API_URL": github.url}
    of_branch = report("--report", file, "--github", BUILDKITE_PULL_REQUEST="false", **agent)
    assert of_branch.returncode == 0
    assert "This build is for no pull request: there is nothing to comment on" in of_branch.stdout
    assert github.tokens == []
    done = report(
        *("--report", file, "--github", "--token", "BOT"), BUILDKITE_PULL_REQUEST="7", BOT=TOKEN, **agent
    )
    assert done.returncode == 0, done.stderr
    assert len(github.comments) == 1


@pytest.mark.parametrize(
    ("arguments", "variables", "message"),
    [
        (HERE, {}, "GITHUB_TOKEN is not set: put a token there that may write comments on acme/comments"),
        (HERE[:3], {}, "the pull request is None: give --pull-request NUMBER"),
        ((*HERE, "--pull-request", "seven"), {}, "the pull request is 'seven': give --pull-request NUMBER"),
        (("--github", *HERE[3:]), {}, "the repository is not known: give --repository OWNER/NAME"),
        (
            HERE,
            {"GITHUB_TOKEN": TOKEN, "GITHUB_API_URL": "http://github.example"},
            "GITHUB_API_URL is http://github.example, where anyone on the way could read the token",
        ),
        (
            (*HERE, "--repository", "https://gitlab.com/acme/comments"),
            {"GITHUB_TOKEN": TOKEN},
            "the repository has no address on github.com: give --repository OWNER/NAME, and --host",
        ),
    ],
)
def test_what_is_missing_is_one_sentence_and_code_10(
    file: Path, arguments: tuple[str, ...], variables: dict[str, str], message: str
) -> None:
    """Each error names the option that mends it."""
    done = report("--report", file, *arguments, **variables)
    assert done.returncode == 10
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert TOKEN not in done.stdout + done.stderr


def test_a_refusal_of_github_is_code_18(file: Path, github: GitHub) -> None:
    """A pipeline tells GitHub's refusal from a wrong option."""
    github.status = 403
    done = report("--report", file, *HERE, GITHUB_TOKEN=TOKEN, GITHUB_API_URL=github.url)
    assert done.returncode == 18
    assert "GitHub answered GET /repos/acme/comments/issues/7/comments" in done.stderr
    assert TOKEN not in done.stdout + done.stderr


def test_what_is_no_report_is_named(storage: Storage, tmp_path: Path) -> None:
    """A prefix without a report, a file that is missing and one of another kind."""
    assert storage
    nothing = report(PREFIX)
    assert nothing.returncode == 10
    assert f"{PREFIX} has no report.json: give the prefix of one model" in nothing.stderr
    missing = report("--report", tmp_path / "none.json")
    assert missing.returncode == 10
    assert "none.json cannot be read (No such file or directory)" in missing.stderr
    other = tmp_path / "other.json"
    other.write_text("{}")
    assert report("--report", other).returncode == 14
    assert report().returncode == 2
    assert report("models/comments/sentiment/12").returncode == 2
