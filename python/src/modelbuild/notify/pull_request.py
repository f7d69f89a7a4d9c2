"""The verdict as a comment on the pull request of a build (option ``github``)."""

from __future__ import annotations

import os
from collections.abc import Mapping

from markupsafe import Markup

from modelbuild import log
from modelbuild.buildkite.job import JobEnvironment
from modelbuild.contract.report import Report
from modelbuild.github import API, GitHubError, PullRequest, repository_of
from modelbuild.report.head_job import HeadJob
from modelbuild.report.sections import Page, render_sections
from modelbuild.settings.notify import GitHubSettings

_SECTIONS = ("headline", "comparison", "gates", "slices", "changes", "warnings")


def comment(
    settings: GitHubSettings,
    report: Report,
    head: HeadJob,
    job: JobEnvironment,
    environ: Mapping[str, str] = os.environ,
) -> None:
    """Comment on the pull request of the build, if it is for one on GitHub; what fails is a line of the log.

    Args:
        settings: which variable has the token.
        report: the report.
        head: the Batch job of the training.
        job: the variables of the step's job.
        environ: where the token is.
    """
    repository = repository_of(job.repository)
    if repository is None or not job.pull_request.isdecimal():
        log.say("This build is for no pull request on GitHub: there is nothing to comment on")
        return
    token = environ.get(settings.token, "").strip()
    if not token:
        log.warn(f"The pull request has no comment: {settings.token} is not set (option github.token)")
        return
    marker = f"<!-- modelbuild {report.build.pipeline}/{report.model} -->"
    try:
        api = environ.get("GITHUB_API_URL") or API
        page = PullRequest(repository, int(job.pull_request), token, api)
        address = page.comment(marker, body(report, head))
    except GitHubError as error:
        log.warn(f"The pull request has no comment: {error}")
        return
    log.say(f"Comment on the pull request: {address}")


def body(report: Report, head: HeadJob) -> str:
    """The comment as HTML, which GitHub's Markdown takes: the page's sections that need no picture."""
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
    sections = dict(render_sections(report, head, page))
    return "".join(sections[name] for name in _SECTIONS if name in sections)
