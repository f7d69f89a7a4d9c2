"""The command that leads a model or a prediction back to its build."""

from __future__ import annotations

from typing import TextIO

import click

from modelbuild import log
from modelbuild.cli.options import artifacts_option
from modelbuild.errors import ConfigurationError


@click.command()
@click.argument("model_id", required=False)
@click.option(
    "--prediction",
    "prediction",
    type=click.File(encoding="utf-8"),
    help="An answer of the endpoint, as JSON; - for standard input.",
)
@artifacts_option
@click.option(
    "--production-role",
    envvar="MODELBUILD_PRODUCTION_ROLE",
    show_envvar=True,
    help="Role that may read in production what an endpoint serves; by default the present identity is used.",
)
@click.option("--model", help="Name of the model; by default the only one of the pipeline that has the id.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def trace(
    model_id: str | None,
    model: str | None,
    prediction: TextIO | None,
    artifacts: str,
    production_role: str | None,
    as_json: bool,
) -> None:
    """Trace a model or a prediction back to its build.

    Give MODEL_ID, which is the number of the build or of its candidate (12.3), or --prediction.
    """
    if (model_id is None) == (prediction is None):
        raise click.UsageError("give either MODEL_ID or --prediction FILE")
    from pydantic import ValidationError

    from modelbuild.aws.identity import session
    from modelbuild.aws.storage import Storage
    from modelbuild.lineage import trace as lineage
    from modelbuild.settings import AwsSettings

    if prediction is not None:
        if model is not None:
            raise click.UsageError("--prediction names its model: leave --model out")
        model, model_id = _model_of(prediction, artifacts)
    assert model_id is not None
    storage = Storage(session(AwsSettings()))
    production = storage
    if production_role:
        try:
            production = Storage(session(AwsSettings(role_arn=production_role)))
        except ValidationError as error:
            raise ConfigurationError(
                f"--production-role is {production_role!r}: give the ARN of a role, such as "
                "arn:aws:iam::222222222222:role/modelbuild-read"
            ) from error
    found = lineage.trace(artifacts, model_id, storage, production, model)
    if as_json:
        click.echo(found.to_json(), nl=False)
    else:
        log.lines(lineage.render(found))


def _model_of(file: TextIO, artifacts: str) -> tuple[str, str]:
    """Name and id of the model in an answer of the endpoint, or in one prediction taken from it."""
    from modelbuild.lineage.prediction import read_prediction

    try:
        text = file.read()
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"{file.name} is not text: give the JSON that the endpoint answered"
        ) from error
    answer = read_prediction(text)
    pipeline = getattr(answer, "pipeline", None)
    if pipeline is not None and pipeline != artifacts.rstrip("/").rsplit("/", 1)[-1]:
        raise ConfigurationError(
            f"{file.name} was answered by a model of pipeline {pipeline}, but --artifacts is {artifacts}: "
            f"end it with /{pipeline}"
        )
    return answer.model, answer.model_id
