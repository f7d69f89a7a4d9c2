"""The command that proves that an image can serve a model."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.command("check-image")
@click.argument("targets", nargs=-1, required=True, metavar="[IMAGE] MODEL_DIR", type=str)
@click.option(
    "--url", help="Address of a server that runs, such as http://127.0.0.1:8080, in place of IMAGE."
)
@click.option(
    "--manifest",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="manifest.json of the model, with the golden predictions that the server must give.",
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
    help="How long the server may take until it answers /ping with 200.",
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
    identity_options = {name: value for name, value in names.items() if value is not None}
    if identity_options and not url:
        raise click.UsageError("--model, --model-id and --pipeline say what the server at --url must name")
    if engine and url:
        raise click.UsageError("--engine runs IMAGE: leave it out with --url")
    from modelbuild.errors import VerificationFailed
    from modelbuild.image_check import command
    from modelbuild.image_check.model import read_model

    checked = read_model(Path(targets[-1]), manifest, command.read_instances(instances))
    if url:
        passed = command.check_server(url, checked, identity_options, timeout)
    else:
        passed = command.check_image(targets[0], checked, engine, timeout)
    if not passed:
        sys.exit(VerificationFailed.exit_code)
