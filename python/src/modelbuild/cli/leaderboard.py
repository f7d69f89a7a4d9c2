"""The command that shows all models of a pipeline by their quality."""

from __future__ import annotations

import os
from pathlib import Path

import click

from modelbuild import log
from modelbuild.cli.options import artifacts_option, pipeline_root
from modelbuild.errors import ConfigurationError


@click.command()
@click.argument("pipeline")
@artifacts_option
@click.option("--model", help="Name of the models; by default all of the pipeline.")
@click.option(
    "--html", "page", metavar="FILE", type=click.Path(path_type=Path), help="Write a page for a browser."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--limit",
    metavar="N",
    default=20,
    show_default=True,
    type=click.IntRange(1, 1000),
    help="How many rows a table has.",
)
def leaderboard(
    pipeline: str, artifacts: str, model: str | None, page: Path | None, as_json: bool, limit: int
) -> None:
    """Show all models of a pipeline by their quality.

    Models of all builds and branches of PIPELINE, candidates of sweeps, and, where WANDB_API_KEY is set,
    experimental runs of W&B. There is a table for each set of evaluation rows, because only values on the
    same rows can be compared. --artifacts may end with the pipeline, or be that of all pipelines.
    """
    from modelbuild.aws.identity import session
    from modelbuild.aws.storage import Storage
    from modelbuild.experiments.asking import of_project
    from modelbuild.leaderboard import intervals, reading, table
    from modelbuild.settings import AwsSettings
    from modelbuild.store.pipeline import PipelineStore

    store = PipelineStore(Storage(session(AwsSettings())), pipeline_root(artifacts, pipeline))
    answer = of_project(pipeline, os.environ)
    board = reading.read_board(store, model, limit, answer, intervals.measure())
    if page is not None:
        from modelbuild.leaderboard.page import render_page

        try:
            page.write_text(render_page(board), encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(f"--html cannot be written to {page} ({error.strerror})") from error
    if as_json:
        click.echo(board.to_json(), nl=False)
        return
    log.lines(table.render(board))
    if page is not None:
        log.info(f"wrote {page}")
