"""The command line: parse, call one function, turn an error into a message and an exit code.

A command's module is imported when the command is asked for, and what the command needs when it runs, so that
a hook starts without loading what it does not use. A new command has a module here and a line in ``group``.
"""

from __future__ import annotations

import errno
import sys
from pathlib import Path

import click

from modelbuild import __version__, log
from modelbuild.cli.group import Commands
from modelbuild.errors import ConfigurationError, ModelbuildError
from modelbuild.process import encoding, search_path, streams


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="modelbuild")
def cli() -> None:
    """A machine-learning model as a build: train, decide and deploy from Buildkite.

    Begin with init, check and doctor. The plugins run train, notify and deploy.
    """


def main() -> None:
    """Run the command line and exit."""
    streams.open_closed()
    search_path.keep_absolute_folders()
    encoding.require_utf8()
    try:
        cli(prog_name="modelbuild")
    except Exception as caught:  # noqa: BLE001 - a defect is reported as an error is, and without its text
        error = _explained(caught)
        log.fail(error)
        sys.exit(error.exit_code if isinstance(error, ModelbuildError) else ModelbuildError.exit_code)


def _explained(error: Exception) -> Exception:
    """The error; a sentence for one whose cause is that a disk is full, or the working directory deleted."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ConfigurationError(
            "no space is left on a disk of this machine: free some, or set TMPDIR to a folder of another disk"
        )
    if isinstance(error, FileNotFoundError):
        try:
            Path.cwd()
        except FileNotFoundError:
            return ConfigurationError("the working directory was deleted: change to a folder that exists")
    return error
