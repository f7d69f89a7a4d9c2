"""The command line: parse, call one function, turn an error into a message and an exit code.

What a command needs is imported when it runs, so that a hook starts without loading what it does not use.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import click

from modelbuild import __version__, log
from modelbuild.errors import ConfigurationError, ModelbuildError
from modelbuild.process import encoding

_ADDED = "modelbuild.commands"
"""The entry points by which another distribution adds commands, as modelbuild-local does."""


class _Commands(click.Group):
    """The commands of this package, and those that other distributions add.

    The entry points of other distributions are read only for an unknown command and for the help: that takes
    a tenth of a second, which the hooks save.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands, those of this package first."""
        return [*super().list_commands(ctx), *sorted(_added())]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, if there is one."""
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        added = _added()
        if cmd_name == "local" and cmd_name not in added:
            ctx.fail("laptop mode is not installed here: run scripts/install in a clone of modelbuild")
        return added[cmd_name]() if cmd_name in added else None


def _added() -> dict[str, Callable[[], click.Command]]:
    """What imports each command of another distribution, by its name."""
    from importlib.metadata import entry_points

    return {point.name: point.load for point in entry_points(group=_ADDED)}


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="modelbuild")
def cli() -> None:
    """A machine-learning model as a build: train, decide and deploy from Buildkite.

    Begin with init, check and doctor. The plugins run train, notify and deploy.
    """


def _pipeline_option(help_text: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return click.option(
        "--pipeline",
        "file",
        default=".buildkite/pipeline.yml",
        show_default=True,
        type=click.Path(path_type=Path),
        help=help_text,
    )


@cli.command()
@click.option("--dry-run", is_flag=True, help="Print what would be done, as JSON, and change nothing.")
@_pipeline_option("With --dry-run, where the options are read from outside of the plugin.")
@click.option("--model", help="With --dry-run, which of several models of the pipeline is meant.")
def train(dry_run: bool, file: Path, model: str | None) -> None:
    """Submit a training (plugin train).

    Its options are read from BUILDKITE_PLUGIN_CONFIGURATION, which the agent sets. A dry run takes them from
    the pipeline FILE where that is not set, so that it works in any checkout, with credentials of AWS.
    """
    if dry_run:
        _plan(file, model)
        return
    if model is not None:
        raise click.UsageError("--model chooses what --dry-run plans: give that, too")
    from modelbuild.settings.train import TrainSettings

    settings = TrainSettings.from_environment(os.environ)
    from modelbuild.train.submit import command

    command.run(settings)


def _plan(file: Path, model: str | None) -> None:
    """Print the plan of this step, or of the step that trains in a pipeline file."""
    from modelbuild.onboarding import training
    from modelbuild.settings.options import CONFIGURATION
    from modelbuild.settings.train import TrainSettings
    from modelbuild.train.submit import plan

    environ = plan.environment(os.environ, Path.cwd())
    if CONFIGURATION in environ:
        plan.show(TrainSettings.from_environment(environ), environ)
    else:
        plan.show(*training.of_pipeline(file, environ, model))


@cli.command()
def notify() -> None:
    """Show how a training ended (plugin notify).

    It fails unless the training succeeded. Its options are read from BUILDKITE_PLUGIN_CONFIGURATION, which
    the agent sets.
    """
    from modelbuild.settings.notify import NotifySettings

    settings = NotifySettings.from_environment(os.environ)
    from modelbuild.notify import command

    command.run(settings)


@cli.command()
def deploy() -> None:
    """Serve a model in production (plugin deploy).

    Its options are read from BUILDKITE_PLUGIN_CONFIGURATION, which the agent sets.
    """
    from modelbuild.settings.deploy import DeploySettings

    settings = DeploySettings.from_environment(os.environ)
    from modelbuild.deploy import command

    command.run(settings)


@cli.command()
def head() -> None:
    """Run a training inside its Batch job.

    However it ends, the result is delivered to Buildkite.
    """
    # The imports take a second, in which SIGTERM would end the job without a result; it waits instead.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    from modelbuild.train.head import command as head

    sys.exit(head.run(os.environ))


@cli.command()
def ended() -> None:
    """Be the Lambda function of the stack.

    It delivers the result of a head that died.
    """
    from modelbuild.aws import function
    from modelbuild.train.recovery.ended import handler

    function.serve(handler)


@cli.command()
@click.option(
    "--artifacts",
    required=True,
    envvar="MODELBUILD_ARTIFACTS",
    show_envvar=True,
    help="Where the pipeline's models lie: s3://<bucket>/models/<pipeline>.",
)
@click.option("--queue", default="modelbuild-head", show_default=True, help="Batch queue of the heads.")
@click.option(
    "--secret",
    "secret_name",
    default="modelbuild/buildkite",
    show_default=True,
    envvar="BUILDKITE_SECRET_ARN",
    show_envvar=True,
    help="Secret with Buildkite's token, read where BUILDKITE_API_TOKEN is not set.",
)
def reconcile(artifacts: str, queue: str, secret_name: str) -> None:
    """Unblock builds that no other signal reached.

    For a pipeline on a schedule. It looks for builds that wait for a training which has ended, or which
    Batch does not know any more, and ends heads that have waited for a machine for too long.
    """
    from modelbuild.train.recovery import reconcile as reconciliation

    reconciliation.run(artifacts, queue, secret_name)


@cli.command()
@click.argument("model_id", required=False)
@click.option(
    "--prediction",
    "prediction",
    type=click.File(encoding="utf-8"),
    help="An answer of the endpoint, as JSON; - for standard input.",
)
@click.option(
    "--artifacts",
    required=True,
    envvar="MODELBUILD_ARTIFACTS",
    show_envvar=True,
    help="Where the pipeline's models lie: s3://<bucket>/models/<pipeline>.",
)
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
    """Lead a model or a prediction back to its build.

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


@cli.command()
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
        raise click.UsageError("--text and --label name columns of --data FILE: give that, too")
    rows = data.read(file, text, label) if file else None
    written = init.write(folder, team, rows)
    if rows is not None:
        columns = f"texts of column {rows.text!r}, {rows.labels} labels of column {rows.label!r}"
        log.say(f"{rows.rows:,} rows: {columns}")
    for file in written.files:
        log.say(f"wrote {file}")
    log.lines("\nWhat is next:")
    for number, text in enumerate(written.next_steps(), 1):
        log.lines(f"{number}. {text}")


@cli.command()
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
        log.say(f"{file}:{finding.line}: {finding.text}")
    if found:
        sys.exit(ConfigurationError.exit_code)
    log.say(f"ok  {file}")


@cli.command()
@_pipeline_option("The pipeline whose training is looked at.")
def doctor(file: Path) -> None:
    """Say on an agent what a training would meet.

    Each line is ok or a sentence with the fix; the exit code is 10 if there is something to fix. Besides
    what a training may do, this needs batch:DescribeJobQueues, batch:DescribeComputeEnvironments and
    s3:DeleteObject.
    """
    from modelbuild.onboarding import doctor

    lines = []
    for line in doctor.examine(file, os.environ):
        log.say(str(line))
        lines.append(line)
    if not all(line.ok for line in lines):
        sys.exit(ConfigurationError.exit_code)


@cli.command("check-image")
@click.argument("targets", nargs=-1, required=True, metavar="[IMAGE] MODEL_DIR", type=str)
@click.option(
    "--url", help="Address of a server that runs, such as http://127.0.0.1:8080, in place of IMAGE."
)
@click.option(
    "--manifest",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="manifest.json of the model, whose golden predictions must be answered.",
)
@click.option(
    "--instance",
    "instances",
    multiple=True,
    metavar="JSON",
    help="An instance to send; by default the golden predictions', or the example of the declared input.",
)
@click.option("--engine", type=click.Choice(["docker", "podman"]), help="By default the first that works.")
@click.option(
    "--timeout",
    default=240.0,
    show_default=True,
    metavar="SECONDS",
    type=click.FloatRange(min=1, max=3600),
    help="How long /ping may take to be answered with 200.",
)
@click.option("--model", help="With --url, the model that the server must name; by default the one of /ping.")
@click.option("--model-id", help="With --url, its id.")
@click.option("--pipeline", help="With --url, its pipeline.")
def check_image(
    targets: tuple[str, ...],
    url: str | None,
    manifest: Path | None,
    instances: tuple[str, ...],
    engine: str | None,
    timeout: float,
    model: str | None,
    model_id: str | None,
    pipeline: str | None,
) -> None:
    """Prove that an image can serve a model.

    Runs IMAGE with docker or podman as SageMaker does, or takes the server at --url, and checks what
    docs/serving.md asks of an image of your own. MODEL_DIR is the unpacked model.tar.gz. Each line is ok,
    failed with the fix, or not checked with the reason. The exit code is 14 if a check failed, and 10 if the
    checks cannot be made.
    """
    if len(targets) != (1 if url else 2):
        raise click.UsageError("give IMAGE and MODEL_DIR, or --url and MODEL_DIR")
    names = {"model": model, "model_id": model_id, "pipeline": pipeline}
    given = {name: value for name, value in names.items() if value is not None}
    if given and not url:
        raise click.UsageError("--model, --model-id and --pipeline say what the server at --url must name")
    if engine and url:
        raise click.UsageError("--engine runs IMAGE: leave it out with --url")
    from modelbuild.errors import VerificationFailed
    from modelbuild.image_check import command
    from modelbuild.image_check.model import read_model

    checked = read_model(Path(targets[-1]), manifest, command.read_instances(instances))
    if url:
        passed = command.check_server(url, checked, given, timeout)
    else:
        passed = command.check_image(targets[0], checked, engine, timeout)
    if not passed:
        sys.exit(VerificationFailed.exit_code)


def main() -> None:
    """Run the command line and exit."""
    encoding.require_utf8()
    try:
        cli(prog_name="modelbuild")
    except Exception as error:  # noqa: BLE001 - a defect is reported as an error is, and without its text
        log.fail(error)
        sys.exit(error.exit_code if isinstance(error, ModelbuildError) else ModelbuildError.exit_code)
