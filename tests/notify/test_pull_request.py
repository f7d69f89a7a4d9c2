from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

import reports
import samples
from http_api import JsonHandler, served, url
from modelbuild.github import LIMIT_CHARACTERS, repository_of
from modelbuild.notify import pull_request
from modelbuild.settings.notify import GitHubSettings

TOKEN = "ghp_0123456789abcdef"
REPORT = reports.first_report()
PULL_REQUEST = {"BUILDKITE_REPO": "git@github.com:acme/comments.git", "BUILDKITE_PULL_REQUEST": "7"}


class GitHub:
    """The comments of pull request 7 of acme/comments, behind GitHub's own paths."""

    def __init__(self) -> None:
        self.comments: list[dict[str, Any]] = []
        self.status = 200
        self.tokens: list[str | None] = []
        self.url = ""

    def comment(self, **variables: str) -> None:
        """Comment as notify of a pull request's build does."""
        job = samples.job_environment(**{**PULL_REQUEST, **variables})
        environ = {"GITHUB_TOKEN": TOKEN, "GITHUB_API_URL": self.url}
        pull_request.comment(GitHubSettings(), REPORT, reports.JOB, job, environ)


@pytest.fixture
def github() -> Iterator[GitHub]:
    """A GitHub whose pull request has no comment of ours."""
    state = GitHub()

    class Handler(JsonHandler):
        def do_GET(self) -> None:
            found = re.fullmatch(
                r"/repos/acme/comments/issues/7/comments\?per_page=100&page=(\d+)", self.path
            )
            assert found is not None, self.path
            start = 100 * (int(found[1]) - 1)
            self._reply(state.comments[start : start + 100])

        def do_POST(self) -> None:
            assert self.path == "/repos/acme/comments/issues/7/comments"
            made = {"id": len(state.comments), "html_url": "https://github.com/c", **self.body()}
            if state.status == 200:
                state.comments.append(made)
            self._reply(made)

        def do_PATCH(self) -> None:
            number = int(self.path.removeprefix("/repos/acme/comments/issues/comments/"))
            state.comments[number] |= self.body()
            self._reply(state.comments[number])

        def _reply(self, value: object) -> None:
            state.tokens.append(self.headers["Authorization"])
            self.answer(value if state.status == 200 else {"message": "no"}, state.status)

    with served(Handler) as server:
        state.url = url(server)
        yield state


def test_a_pull_request_gets_one_comment_with_the_verdict(github: GitHub) -> None:
    """A second build replaces the comment of the first."""
    github.comment()
    github.comment()
    [comment] = github.comments
    assert comment["body"].startswith("<!-- modelbuild comments/sentiment -->\n")
    assert REPORT.verdict.sentence in comment["body"]
    assert "artifact://" not in comment["body"]
    assert set(github.tokens) == {f"Bearer {TOKEN}"}


def test_the_comment_is_found_among_many(github: GitHub) -> None:
    """Comments come in pages of a hundred."""
    github.comments += [{"id": number, "body": f"comment {number}"} for number in range(250)]
    github.comment()
    github.comment()
    assert len(github.comments) == 251


def test_each_model_has_its_own_comment(github: GitHub) -> None:
    """The marker of another model is another comment."""
    github.comments.append({"id": 0, "body": "<!-- modelbuild comments/topics -->\nbetter"})
    github.comment()
    assert [comment["body"].split("\n")[0] for comment in github.comments] == [
        "<!-- modelbuild comments/topics -->",
        "<!-- modelbuild comments/sentiment -->",
    ]


@pytest.mark.parametrize(
    "variables",
    [
        {"BUILDKITE_PULL_REQUEST": "false"},
        {"BUILDKITE_REPO": "https://gitlab.com/acme/comments.git"},
        {"BUILDKITE_REPO": "https://github.com.evil.example/acme/comments"},
    ],
)
def test_without_a_pull_request_on_github_nothing_is_sent(github: GitHub, variables: dict[str, str]) -> None:
    """Neither the token nor the verdict leaves for another host."""
    github.comment(**variables)
    assert github.tokens == []


@pytest.mark.parametrize("status", [401, 403, 404, 422, 500])
def test_a_refusal_is_a_line_of_the_log(
    github: GitHub, capsys: pytest.CaptureFixture[str], status: int
) -> None:
    """The step stays green: the verdict is on Buildkite's page all the same."""
    github.status = status
    github.comment()
    output = capsys.readouterr()
    assert f"with {status} (no)" in output.out + output.err
    assert TOKEN not in output.out + output.err


@pytest.mark.parametrize(
    ("api", "message"),
    [
        ("http://github.example", "must begin with https://"),
        ("http://127.0.0.1:1", "GitHub could not be reached (ConnectionError)"),
    ],
)
def test_an_address_without_tls_or_an_answer_is_a_line_of_the_log(
    capsys: pytest.CaptureFixture[str], api: str, message: str
) -> None:
    """A token never leaves this machine in clear text."""
    environ = {"GITHUB_TOKEN": TOKEN, "GITHUB_API_URL": api}
    job = samples.job_environment(**PULL_REQUEST)
    pull_request.comment(GitHubSettings(), REPORT, reports.JOB, job, environ)
    output = capsys.readouterr()
    assert message in output.out + output.err
    assert TOKEN not in output.out + output.err


def test_a_missing_token_is_named_by_its_variable(capsys: pytest.CaptureFixture[str]) -> None:
    """A person learns which variable to set."""
    job = samples.job_environment(**PULL_REQUEST)
    pull_request.comment(GitHubSettings(token="MY_TOKEN"), REPORT, reports.JOB, job, {})
    output = capsys.readouterr()
    assert "MY_TOKEN is not set (option github.token)" in output.out + output.err


def test_a_comment_fits_into_what_github_takes(github: GitHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long page is cut, and the comment is written."""
    monkeypatch.setattr(pull_request, "body", lambda *_: "x" * 100_000)
    github.comment()
    assert len(github.comments[0]["body"]) == LIMIT_CHARACTERS


def test_repositories_of_github_by_ssh_and_https() -> None:
    """The same repository by any of its addresses, and no other host's."""
    for address in (
        "git@github.com:acme/comments.git",
        "ssh://git@github.com/acme/comments.git",
        "https://github.com/acme/comments",
        "https://user:secret@github.com/acme/comments.git",
    ):
        assert repository_of(address) == "acme/comments"
    assert repository_of("https://gitlab.com/acme/comments") is None
    assert repository_of("/srv/comments.git") is None
