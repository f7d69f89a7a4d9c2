"""The command line: parse, call one function, turn an error into a message and an exit code.

A command's module is imported when the command is asked for, and what the command needs when it runs, so that
a hook starts without loading what it does not use. A new command has a module here and a line in ``group``.
"""

from __future__ import annotations

import sys

import click

from modelbuild import __version__, log
from modelbuild.cli.group import Commands
from modelbuild.errors import ModelbuildError
from modelbuild.process import encoding, search_path


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="modelbuild")
def cli() -> None:
    """A machine-learning model as a build: train, decide and deploy from Buildkite.

    Begin with init, check and doctor. The plugins run train, notify and deploy.
    """


def main() -> None:
    """Run the command line and exit."""
    search_path.keep_absolute_folders()
    encoding.require_utf8()
    try:
        cli(prog_name="modelbuild")
    except Exception as error:  # noqa: BLE001 - a defect is reported as an error is, and without its text
        log.fail(error)
        sys.exit(error.exit_code if isinstance(error, ModelbuildError) else ModelbuildError.exit_code)
