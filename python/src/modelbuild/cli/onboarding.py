"""The commands that help a first user: init, check and doctor."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from modelbuild import log
from modelbuild.cli.options import pipeline_option
from modelbuild.errors import ConfigurationError


@click.command()
@click.argument("folder", default=".", metavar="[DIR]", type=click.Path(path_type=Path))
@click.option(
    "--approvers", "team", default="", metavar="TEAM", help="Slug of the team of Buildkite that may deploy."
)
@click.option(
    "--data",
    "file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="CSV file with the rows to train on; by default an example of 40 rows.",
)
@click.option("--text", metavar="COLUMN", help="With --data, the column with the texts.")
@click.option("--label", metavar="COLUMN", help="With --data, the column with the labels.")
def init(folder: Path, team: str, file: Path | None, text: str | None, label: str | None) -> None:
    """Write a pipeline and a first flow into a repository.

    DIR is the repository, by default this folder. Nothing that is there is overwritten.
    """
    from modelbuild.onboarding import data, init

    if file is None and (text or label):
        raise click.UsageError("--text and --label name columns of the CSV file: give --data FILE, too")
    rows = data.read(file, text, label) if file else None
    written = init.write(folder, team, rows)
    if rows is not None:
        columns = f"texts of column {rows.text!r}, {rows.labels} labels of column {rows.label!r}"
        log.info(f"{rows.rows:,} rows: {columns}")
        if rows.single > rows.labels / 2:
            log.warn(
                f"Most labels of column {rows.label!r} occur in one row only, so a model cannot learn them: "
                "if another column has the labels, delete what was written and name it with --label."
            )
    for file in written.files:
        log.info(f"wrote {file}")
    log.lines("\nWhat is next:")
    for number, text in enumerate(written.next_steps(), 1):
        log.lines(f"{number}. {text}")


@click.command()
@click.argument("file", metavar="[FILE]", default=".buildkite/pipeline.yml", type=click.Path(path_type=Path))
def check(file: Path) -> None:
    """Say what is wrong in a pipeline.

    FILE is the pipeline, by default .buildkite/pipeline.yml. The exit code is 10 if something is wrong.
    """
    from modelbuild.buildkite.job import PullRequest
    from modelbuild.onboarding import check, pipeline

    read = pipeline.read(file)
    found = [*check.findings(read), *check.of_fork(read.steps, PullRequest.read(os.environ))]
    for finding in found:
        log.info(f"{file}:{finding.line}: {finding.text}")
    if found:
        sys.exit(ConfigurationError.exit_code)
    log.info(f"ok  {file}")


@click.command()
@pipeline_option("The pipeline whose training is looked at.")
def doctor(file: Path) -> None:
    """Say on an agent what would make a training fail.

    Each line is ok or a sentence with the fix; the exit code is 10 if there is something to fix. Besides
    what a training may do, this needs batch:DescribeJobQueues, batch:DescribeComputeEnvironments and
    s3:DeleteObject.
    """
    from modelbuild.onboarding import doctor

    lines = []
    for line in doctor.examine(file, os.environ):
        log.info(str(line))
        lines.append(line)
    if not all(line.ok for line in lines):
        sys.exit(ConfigurationError.exit_code)
