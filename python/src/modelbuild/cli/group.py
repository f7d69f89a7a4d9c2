"""Which commands there are, and the module that has each."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

import click

_MODULES = {
    "train": "plugins",
    "notify": "plugins",
    "deploy": "plugins",
    "head": "heads",
    "sweep-worker": "heads",
    "ended": "heads",
    "reconcile": "heads",
    "trace": "trace",
    "leaderboard": "leaderboard",
    "adopt": "adopt",
    "report": "report",
    "init": "onboarding",
    "check": "onboarding",
    "doctor": "onboarding",
    "check-image": "check_image",
}
"""The module of this package that has each command, as a function of the command's name."""

_ADDED = "modelbuild.commands"
"""The entry points by which another distribution adds commands, as modelbuild-local does."""


class Commands(click.Group):
    """The commands of this package, and those that other distributions add.

    A command's module is imported when the command is asked for, and for the help. The entry points of other
    distributions are read only for the help and for a command that is not known here: to read them takes a
    tenth of a second, which the hooks save.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The names of all commands, those of this package first."""
        return [*sorted(_MODULES), *sorted(_added())]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, if there is one."""
        if cmd_name in _MODULES:
            return _own(cmd_name)
        added = _added()
        if cmd_name == "local" and cmd_name not in added:
            ctx.fail("laptop mode is not installed here: run scripts/install in a clone of modelbuild")
        return added[cmd_name]() if cmd_name in added else None


def _own(name: str) -> click.Command:
    """Import a command of this package."""
    module = import_module(f"modelbuild.cli.{_MODULES[name]}")
    command = getattr(module, name.replace("-", "_"))
    assert isinstance(command, click.Command)
    return command


def _added() -> dict[str, Callable[[], click.Command]]:
    """What imports each command of another distribution, by its name."""
    from importlib.metadata import entry_points

    return {point.name: point.load for point in entry_points(group=_ADDED)}
