from __future__ import annotations

import re
from html import unescape

import pytest

import reports
import samples
from github_api import TOKEN, GitHub, github_api
from modelbuild.github import LIMIT_CHARACTERS, api_of, repository_of
from modelbuild.notify import pull_request
from modelbuild.settings.notify import GitHubSettings

REPORT = reports.first_report()
PULL_REQUEST = {"BUILDKITE_REPO": "git@github.com:acme/comments.git", "BUILDKITE_PULL_REQUEST": "7"}


JOB = samples.job_environment(**PULL_REQUEST)


def comment(github: GitHub, **variables: str) -> None:
    """Comment as notify of a pull request's build does."""
    job = samples.job_environment(**{**PULL_REQUEST, **variables})
    environ = {"GITHUB_TOKEN": TOKEN, "GITHUB_API_URL": github.url}
    pull_request.comment_of_build(GitHubSettings(), REPORT, job, environ)


def test_a_pull_request_gets_one_comment_with_the_verdict(github: GitHub) -> None:
    """A second build replaces the comment of the first."""
    comment(github)
    comment(github)
    [made] = github.comments
    assert made["body"].startswith("<!-- modelbuild comments/sentiment -->\n")
    assert REPORT.verdict.sentence in made["body"]
    assert "artifact://" not in made["body"]
    assert set(github.tokens) == {f"Bearer {TOKEN}"}


def test_a_renamed_repository_gets_its_comment(github: GitHub) -> None:
    """Buildkite keeps the former name, and GitHub answers it with the new address."""
    github.moved = github.url
    comment(github)
    comment(github)
    [made] = github.comments
    assert REPORT.verdict.sentence in made["body"]


def test_the_token_follows_no_redirection_to_another_host(
    github: GitHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """The refusal names what GitHub said."""
    with github_api() as other:
        github.moved = other.url
        comment(github)
        assert other.tokens == []
    output = capsys.readouterr()
    assert "with 301 (Moved Permanently)" in output.out + output.err


def test_the_comment_is_found_among_many(github: GitHub) -> None:
    """Comments come in pages of a hundred."""
    for number in range(250):
        github.add(f"comment {number}")
    comment(github)
    comment(github)
    assert len(github.comments) == 251


def test_each_model_has_its_own_comment(github: GitHub) -> None:
    """The marker of another model is another comment."""
    github.add("<!-- modelbuild comments/topics -->\nbetter", TOKEN)
    comment(github)
    assert [made["body"].split("\n")[0] for made in github.comments] == [
        "<!-- modelbuild comments/topics -->",
        "<!-- modelbuild comments/sentiment -->",
    ]


def test_the_comment_of_a_stranger_is_not_replaced(github: GitHub) -> None:
    """Any user may write the marker first, and edit the verdict afterwards: the verdict has its own."""
    forged = "<!-- modelbuild comments/sentiment -->\nbetter"
    github.add(forged)
    comment(github)
    comment(github)
    first, ours = github.comments
    assert first["body"] == forged
    assert REPORT.verdict.sentence in ours["body"]


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
    comment(github, **variables)
    assert github.tokens == []


@pytest.mark.parametrize("status", [401, 403, 404, 422, 500])
def test_a_refusal_is_a_line_of_the_log(
    github: GitHub, capsys: pytest.CaptureFixture[str], status: int
) -> None:
    """The step stays green: the verdict is on Buildkite's page all the same."""
    github.status = status
    comment(github)
    output = capsys.readouterr()
    assert f"with {status} (no)" in output.out + output.err
    assert TOKEN not in output.out + output.err


@pytest.mark.parametrize(
    ("api", "message"),
    [
        ("http://github.example", "GITHUB_API_URL is http://github.example, where anyone on the way"),
        ("https://[", "GITHUB_API_URL is not an address such as https://api.github.com"),
        ("https://user:pw@github.example", "GITHUB_API_URL has a user or a password in it"),
        ("http://127.0.0.1:1", "GitHub could not be reached (ConnectionError)"),
    ],
)
def test_an_address_without_tls_or_an_answer_is_a_line_of_the_log(
    capsys: pytest.CaptureFixture[str], api: str, message: str
) -> None:
    """A token never leaves this machine in clear text."""
    environ = {"GITHUB_TOKEN": TOKEN, "GITHUB_API_URL": api}
    pull_request.comment_of_build(GitHubSettings(), REPORT, JOB, environ)
    output = capsys.readouterr()
    assert message in output.out + output.err
    assert TOKEN not in output.out + output.err


@pytest.mark.parametrize("token", ["tok\u2019en-1", "tok\nen-1", "tok en-1", "tok\x00en-1"])
def test_a_token_that_cannot_be_sent_is_a_line_of_the_log(
    github: GitHub, capsys: pytest.CaptureFixture[str], token: str
) -> None:
    """The line has no part of the token."""
    environ = {"GITHUB_TOKEN": token, "GITHUB_API_URL": github.url}
    pull_request.comment_of_build(GitHubSettings(), REPORT, JOB, environ)
    output = capsys.readouterr()
    assert "the token for GitHub cannot be sent: character 4 of" in output.err
    assert "en-1" not in output.out + output.err
    assert github.tokens == []


@pytest.mark.parametrize("answer", ["x", ["x"], 1, {"message": "hello"}, [{"id": "x"}]])
def test_an_answer_of_another_form_is_a_line_of_the_log(
    github: GitHub, capsys: pytest.CaptureFixture[str], answer: object
) -> None:
    """A proxy may answer with any JSON."""
    github.raw = answer
    comment(github)
    assert "with JSON of another form" in capsys.readouterr().err


def test_a_missing_token_is_named_by_its_variable(capsys: pytest.CaptureFixture[str]) -> None:
    """A person learns which variable to set."""
    pull_request.comment_of_build(GitHubSettings(token="MY_TOKEN"), REPORT, JOB, {})
    output = capsys.readouterr()
    assert "MY_TOKEN is not set (option github.token)" in output.out + output.err


def test_a_long_comment_has_whole_sections(github: GitHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table that is cut in the middle would take what follows it into itself; what is left out is named."""
    sections = {"headline": "<p>verdict</p>", "slices": f"<table>{'x' * 70_000}", "changes": "<p>c</p>"}
    monkeypatch.setattr(pull_request, "render_sections", lambda *_: sections.items())
    comment(github)
    text = github.comments[0]["body"]
    assert "<p>verdict</p><p>c</p>" in text
    assert "<table>" not in text
    assert "slices" in text


def test_a_comment_fits_into_what_github_takes(github: GitHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long page is cut, and the comment is written."""
    monkeypatch.setattr(pull_request, "body", lambda *_: "x" * 100_000)
    comment(github)
    assert len(github.comments[0]["body"]) == LIMIT_CHARACTERS


def test_repositories_of_github_by_ssh_and_https() -> None:
    """The same repository by any of its addresses, and no other host's."""
    for host in ("github.com", "github.acme.example"):
        for address in (
            f"git@{host}:acme/comments.git",
            f"ssh://git@{host}/acme/comments.git",
            f"ssh://git@{host}:22/acme/comments.git",
            f"https://{host}/acme/comments",
            f"https://{host.upper()}/acme/comments",
            f"https://user:secret@{host}/acme/comments.git",
        ):
            assert repository_of(address, host) == "acme/comments"
    assert repository_of("https://gitlab.com/acme/comments") is None
    assert repository_of("https://github.acme.example/acme/comments") is None
    assert repository_of("https://githubxcom/acme/comments") is None
    assert repository_of("/srv/comments.git") is None


def test_enterprise_server_has_its_api_below_its_own_host() -> None:
    """The paths of GitHub's documentation begin with /api/v3 there."""
    assert api_of("github.com") == "https://api.github.com"
    assert api_of("github.acme.example:8443") == "https://github.acme.example:8443/api/v3"


def test_a_build_of_enterprise_server_comments_where_the_option_names_its_host(
    github: GitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only option github.host sends the token to another host than GitHub's."""
    asked = []

    def api_of(host: str) -> str:
        asked.append(host)
        return github.url

    monkeypatch.setattr(pull_request, "api_of", api_of)
    job = samples.job_environment(
        **PULL_REQUEST | {"BUILDKITE_REPO": "git@github.acme.example:acme/comments.git"}
    )
    environ = {"GITHUB_TOKEN": TOKEN}
    pull_request.comment_of_build(GitHubSettings(), REPORT, job, environ)
    assert github.comments == []
    pull_request.comment_of_build(GitHubSettings(host="github.acme.example"), REPORT, job, environ)
    assert len(github.comments) == 1
    assert asked == ["github.acme.example"]


def test_text_from_outside_mentions_nobody_and_links_no_issue() -> None:
    """GitHub would notify a user whose name is in a commit's subject, on each build."""
    report = reports.report_beside_live(0.01)
    assert report.changes is not None
    commit = report.changes.commits[0].model_copy(
        update={"subject": "Fix (#123, gh-7, a/b#8), thanks @alice & 'co'", "author": "@bob"}
    )
    changes = report.changes.model_copy(update={"commits": (commit,)})
    html = pull_request.body(report.model_copy(update={"changes": changes}))
    text = unescape(re.sub(r"<[^>]*>", "", html))
    assert "Fix (#\u2060123, gh-\u20607, a/b#\u20608), thanks @\u2060alice & 'co'" in text
    assert "@\u2060bob" in text
    assert not re.search(r"(?i)[@#]\w|gh-\d", text)


def test_an_address_in_text_from_outside_is_no_link() -> None:
    """GitHub would note this pull request on the issue of another repository. Others are not changed."""
    report = reports.report_beside_live(0.01)
    assert report.changes is not None
    subject = "As https://github.com/a/b/issues/9, www.github.com/a/b/issues/8 and s3://bucket/rows"
    commit = report.changes.commits[0].model_copy(update={"subject": subject})
    changes = report.changes.model_copy(update={"commits": (commit,)})
    html = pull_request.body(report.model_copy(update={"changes": changes}))
    text = unescape(re.sub(r"<[^>]*>", "", html))
    shown = "As https://\u2060github.com/a/b/issues/9, www.\u2060github.com/a/b/issues/8 and s3://bucket/rows"
    assert shown in text


def test_certificates_that_are_not_there_cost_the_comment_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is wrong on the agent is a line of the log, as what is wrong at GitHub is."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nonexistent/certificates.pem")
    environ = {"GITHUB_TOKEN": TOKEN, "GITHUB_API_URL": "https://127.0.0.1:1"}
    pull_request.comment_of_build(GitHubSettings(), REPORT, JOB, environ)
    assert "The pull request has no comment: GitHub could not be reached (" in capsys.readouterr().err
