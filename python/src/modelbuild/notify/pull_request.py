"""The verdict as a comment on a pull request on GitHub."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from markupsafe import Markup

from modelbuild import log
from modelbuild.buildkite.job import JobEnvironment
from modelbuild.contract.report import Report
from modelbuild.errors import ConfigurationError, GitHubError
from modelbuild.github import HOST, LIMIT_CHARACTERS, PullRequest, api_of, repository_of
from modelbuild.report.build import HeadJob
from modelbuild.report.sections import Page, fitting, render_sections
from modelbuild.settings.notify import GitHubSettings

_API = "GITHUB_API_URL"
_SECTIONS = ("headline", "comparison", "candidates", "gates", "slices", "changes", "warnings")

# The marker and the note about omitted sections have room beside the sections.
_LIMIT_CHARACTERS = LIMIT_CHARACTERS - 1_024


def comment_of_build(
    settings: GitHubSettings,
    report: Report,
    job: JobEnvironment,
    environ: Mapping[str, str] = os.environ,
) -> None:
    """Comment on the pull request of the build, if it is for one on GitHub; what fails is a line of the log.

    Args:
        settings: the host of the repository, and which variable has the token.
        report: the report.
        job: the variables of the step's job.
        environ: where the token is, and ``GITHUB_API_URL`` for an API at another address than the host's.
    """
    repository = repository_of(job.repository, settings.host)
    if repository is None or not job.pull_request.isdecimal():
        log.info(f"This build is for no pull request on {settings.host}: there is nothing to comment on")
        return
    token = environ.get(settings.token, "").strip()
    if not token:
        log.warn(f"The pull request has no comment: {settings.token} is not set (option github.token)")
        return
    try:
        api = environ.get(_API) or api_of(settings.host)
        address = write(report, PullRequest(repository, int(job.pull_request), token, api))
    except (ConfigurationError, GitHubError) as error:
        log.warn(f"The pull request has no comment: {error}")
        return
    log.info(f"Comment on the pull request: {address}")


@dataclass(frozen=True)
class Target:
    """Where the command ``report`` comments, as a person or a CI names it.

    Attributes:
        repository: its address, or ``owner/name``; None if nothing names it.
        number: of the pull request; ``false`` in a build of Buildkite that is for none.
        token: the name of the variable with the token.
        host: of the repository's GitHub.
    """

    repository: str | None
    number: str | None
    token: str
    host: str = HOST


def comment_on(target: Target, report: Report, environ: Mapping[str, str] = os.environ) -> None:
    """Comment on a pull request, and print the address of the comment.

    Raises:
        ConfigurationError: repository, pull request or token are not known.
        GitHubError: GitHub refused, or could not be reached.
    """
    if target.number == "false":
        log.info("This build is for no pull request: there is nothing to comment on")
        return
    if target.number is None or not (target.number.isascii() and target.number.isdecimal()):
        raise ConfigurationError(f"the pull request is {target.number!r}: give --pull-request NUMBER")
    repository = _repository(target)
    token = environ.get(target.token, "").strip()
    if not token:
        raise ConfigurationError(
            f"{target.token} is not set: put a token there that may write comments on {repository}, or name "
            "another variable with --token"
        )
    api = environ.get(_API) or api_of(target.host)
    address = write(report, PullRequest(repository, int(target.number), token, api))
    log.info(f"Comment on pull request {target.number} of {repository}: {address}")


def _repository(target: Target) -> str:
    """``owner/name`` of the target's repository.

    Raises:
        ConfigurationError: it is on another host than the target's, or not known.
    """
    named = target.repository or ""
    if re.fullmatch(r"[\w.-]+/[\w.-]+", named, re.ASCII):
        return named
    found = repository_of(named, target.host)
    if found is None:
        what = "is not known" if not named else f"has no address on {target.host}"
        raise ConfigurationError(
            f"the repository {what}: give --repository OWNER/NAME, and --host for GitHub Enterprise Server"
        )
    return found


def write(report: Report, pull_request: PullRequest) -> str:
    """Write the comment of the report's model, or replace it; returns its address.

    Raises:
        GitHubError: GitHub refused, or could not be reached.
    """
    return pull_request.comment(f"<!-- modelbuild {report.build.pipeline}/{report.model} -->", body(report))


def body(report: Report) -> str:
    """The comment as HTML, which GitHub's Markdown takes: the page's sections that need no picture.

    If they are too long for a comment, the least important sections are left out.
    """
    page = Page(
        address=lambda _: Markup(""),
        shade=lambda _level, _right: "",
        shades="",
        rest="the report of the build",
        open_examples=0,
        open_rows=10,
        rows=20,
        columns=4,
        labels=0,
        cell=200,
        text=2_000,
    )
    # The sections with links to the Batch job are not among those of a comment.
    head = HeadJob(id="", url="", logs_url="", artifacts=report.manifest.request.artifacts)
    sections = {name: _without_references(html) for name, html in render_sections(report, head, page)}
    # The order of the sections is that of their importance.
    ordered = {name: sections[name] for name in _SECTIONS if name in sections}
    return fitting(ordered, _SECTIONS, _LIMIT_CHARACTERS, len)


def _without_references(html: str) -> str:
    """HTML in whose text GitHub finds neither users to notify nor issues to link: ``@ada``, ``#7``, ``GH-7``,
    ``https://github.com/a/b/issues/7``.

    A word joiner, which has no width, stands behind each such mark.
    """
    parts = re.split(r"(<[^>]*>)", html)
    # An entity such as &#39; keeps its number sign.
    parts[::2] = [
        re.sub(r"@|(?<!&)#|\bGH-|https?://|\bwww\.", "\\g<0>\u2060", text, flags=re.IGNORECASE)
        for text in parts[::2]
    ]
    return "".join(parts)
