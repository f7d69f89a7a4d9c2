"""The command that takes the parameters of a model over."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from modelbuild import log
from modelbuild.cli.options import artifacts_option, pipeline_root


@click.command()
@click.argument("model_id")
@artifacts_option
@click.option("--pipeline", help="Slug of the pipeline, where --artifacts does not end with it.")
@click.option("--model", help="Name of the model; by default the only one of the pipeline that has the id.")
@click.option(
    "--file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The parameter file; by default the one that the model was trained with.",
)
@click.option("--allow-dirty", is_flag=True, help="Change a file that has uncommitted changes.")
def adopt(
    model_id: str,
    artifacts: str,
    pipeline: str | None,
    model: str | None,
    file: Path | None,
    allow_dirty: bool,
) -> None:
    """Write the parameters of a model into its flow's file.

    MODEL_ID is the number of the build, or of its candidate (12.3). In the file of the checkout, only the
    values that differ are replaced, as a change for you to commit: comments, order and layout stay. If the
    command cannot give the file exactly the model's parameters, it changes nothing, and exits with 10.
    """
    from modelbuild.aws.identity import session
    from modelbuild.aws.storage import Storage
    from modelbuild.lineage import adopt as adoption
    from modelbuild.lineage.models import find_model
    from modelbuild.settings import AwsSettings
    from modelbuild.store.pipeline import PipelineStore

    models = PipelineStore(Storage(session(AwsSettings())), pipeline_root(artifacts, pipeline))
    found = adoption.adopt(find_model(models, model, model_id), file, Path.cwd(), allow_dirty=allow_dirty)
    if not found.changes:
        log.info(f"{found.file} has the parameters of {model_id} already")
        return
    for line in adoption.change_lines(found):
        log.info(line)
    adoption.write(found)
    log.info(f"wrote {found.file}; commit it, for example with:")
    log.info(f"git commit -m {shlex.quote(found.message)} -- {shlex.quote(str(found.file))}")
