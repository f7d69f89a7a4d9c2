"""The command that shows the report on a model outside of the build page."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("prefix", required=False, metavar="[S3_PREFIX]")
@click.option(
    "--report",
    "file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="A file report.json, in place of S3_PREFIX.",
)
@click.option("--github", is_flag=True, help="Comment on a pull request on GitHub.")
@click.option(
    "--repository",
    envvar=["BUILDKITE_REPO", "GITHUB_REPOSITORY"],
    show_envvar=True,
    help="Address of the repository, or OWNER/NAME.",
)
@click.option(
    "--pull-request",
    metavar="NUMBER",
    envvar="BUILDKITE_PULL_REQUEST",
    show_envvar=True,
    help="Number of the pull request.",
)
@click.option(
    "--token",
    metavar="VARIABLE",
    default="GITHUB_TOKEN",
    show_default=True,
    help="Name of the variable with a token that may write comments.",
)
@click.option(
    "--host",
    default="github.com",
    show_default=True,
    envvar="GH_HOST",
    show_envvar=True,
    help="Host of the repository's GitHub; GITHUB_API_URL names its API, where that has another address.",
)
def report(
    prefix: str | None,
    file: Path | None,
    github: bool,
    repository: str | None,
    pull_request: str | None,
    token: str,
    host: str,
) -> None:
    """Print the verdict on a model, and comment on a pull request.

    The report is the one that notify wrote below S3_PREFIX, the prefix of the model
    (s3://BUCKET/models/PIPELINE/MODEL/12), or --report FILE. The comment of a model is replaced when it is
    written again. The exit code is 10 if an option is wrong, 11 if AWS and 18 if GitHub refuses.
    """
    if (prefix is None) == (file is None):
        raise click.UsageError("give either S3_PREFIX or --report FILE")
    from modelbuild.notify import summary

    if file is not None:
        found = summary.read_file(file)
    else:
        assert prefix is not None
        if not prefix.startswith("s3://"):
            raise click.UsageError(f"S3_PREFIX is {prefix!r}: it begins with s3://")
        from modelbuild.aws.identity import session
        from modelbuild.aws.storage import Storage
        from modelbuild.settings import AwsSettings
        from modelbuild.store.model import ModelStore

        found = summary.read_stored(ModelStore(Storage(session(AwsSettings())), prefix.rstrip("/")))
    summary.show(found)
    if github:
        from modelbuild.notify.pull_request import Target, comment_on

        comment_on(Target(repository, pull_request, token, host), found)
