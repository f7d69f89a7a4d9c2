"""The commands that the plugins' hooks run: train, notify and deploy."""

from __future__ import annotations

import os
from pathlib import Path

import click

from modelbuild.cli.options import pipeline_option


@click.command()
@click.option("--dry-run", is_flag=True, help="Print what would be done, as JSON, and change nothing.")
@pipeline_option("With --dry-run, where the options are read from outside of the plugin.")
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
        raise click.UsageError("--model chooses what --dry-run plans: give --dry-run, too")
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


@click.command()
def notify() -> None:
    """Show how a training ended (plugin notify).

    It fails unless the training succeeded. Its options are read from BUILDKITE_PLUGIN_CONFIGURATION, which
    the agent sets.
    """
    from modelbuild.settings.notify import NotifySettings

    settings = NotifySettings.from_environment(os.environ)
    from modelbuild.notify import command

    command.run(settings)


@click.command()
def deploy() -> None:
    """Serve a model in production (plugin deploy).

    Its options are read from BUILDKITE_PLUGIN_CONFIGURATION, which the agent sets.
    """
    from modelbuild.settings.deploy import DeploySettings

    settings = DeploySettings.from_environment(os.environ)
    from modelbuild.deploy import command

    command.run(settings)
