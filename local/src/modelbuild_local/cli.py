"""``modelbuild local``: the commands of laptop mode."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import ParamSpec

import click

from modelbuild import cache
from modelbuild.errors import ConfigurationError, ModelbuildError
from modelbuild_local import laptop
from modelbuild_local.up.environment import without_proxy

P = ParamSpec("P")

_INTERRUPTED = 130


def _exit_on_error(command: Callable[P, None]) -> Callable[P, None]:
    """Print a ModelbuildError as its message, and exit with its code."""

    @wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            with cache.errors_explained():
                command(*args, **kwargs)
        except ModelbuildError as error:
            click.echo(f"modelbuild local: {error}", err=True)
            sys.exit(error.exit_code)
        except KeyboardInterrupt:
            sys.exit(_INTERRUPTED)

    return wrapper


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def local() -> None:
    """Run everything on this machine: Buildkite, AWS and W&B stand-ins with the real agent."""
    os.environ.update(without_proxy(os.environ))


@local.command()
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for logs, artifacts and checkouts. Default: one in the cache, emptied at each start.",
)
@click.option(
    "--team",
    "teams",
    multiple=True,
    metavar="SLUG",
    help="Team of Buildkite that you belong to, for allowed_teams; may be repeated. Default: every team.",
)
@_exit_on_error
def up(data: Path | None, teams: tuple[str, ...]) -> None:
    """Start the services, until Ctrl-C, for the repository of the current folder. Prints their addresses, and
    the variables with which your own shell reaches them.
    """
    from modelbuild_local.up import command

    command.run(laptop.repository(Path.cwd()), data, teams)


@local.command()
@click.option(
    "--pipeline", metavar="FILE", help="Pipeline file in the repository. Default: where agents look."
)
@click.option("--branch", help="Branch of the build. Default: the one that is checked out.")
@click.option("--env", multiple=True, metavar="NAME=VALUE", help="Variable for every job; may be repeated.")
@click.option("--yes", is_flag=True, help="Open the blocks that are for people, with their defaults.")
@_exit_on_error
def run(pipeline: str | None, branch: str | None, env: tuple[str, ...], yes: bool) -> None:
    """Build the current commit with real agents, and show what they do.

    Exits with 0 if the build passed, with 1 if it did not, with 130 after Ctrl-C, which cancels the build.
    """
    from modelbuild_local.run import command

    repository = laptop.repository(Path.cwd())
    passed = command.run(
        laptop.require_running(repository),
        pipeline=None if pipeline is None else _inside(repository, Path(pipeline)),
        branch=branch,
        env=dict(_variable(item) for item in env),
        accept=yes,
    )
    sys.exit(0 if passed else 1)


def _inside(repository: Path, file: Path) -> str:
    """The path of a file relative to the repository."""
    try:
        return file.resolve().relative_to(repository).as_posix()
    except ValueError:
        raise ConfigurationError(f"{file} is not in {repository}: name a file of the repository") from None


def _variable(item: str) -> tuple[str, str]:
    name, equals, value = item.partition("=")
    if not name or not equals:
        raise ConfigurationError(f"--env {item} is not of the form NAME=VALUE")
    return name, value
