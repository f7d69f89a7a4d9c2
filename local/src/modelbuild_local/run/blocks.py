"""Block steps in the terminal: whether a training or a person unblocks them, and with which fields."""

from __future__ import annotations

import sys
from typing import Any

import click

from modelbuild.contract import TrainingResult
from modelbuild.errors import ConfigurationError
from modelbuild_local.run.terminal import plain_label

Json = dict[str, Any]


def training_prefix(job: Json) -> str | None:
    """The prefix of the meta-data of the training that unblocks the block; None for a block for people."""
    return TrainingResult.prefix_of(field["key"] for field in job["fields"])


def defaults(job: Json) -> dict[str, str]:
    """The fields with their defaults.

    Raises:
        ConfigurationError: a field must be filled in, and has no default.
    """
    for field in job["fields"]:
        if field.get("required", True) and not _default(field):
            label = plain_label(str(job["label"] or "block"))
            raise ConfigurationError(
                f"field {field['key']} of the block '{label}' is required and has no default, "
                "so --yes cannot accept it: run without --yes in a terminal"
            )
    return {field["key"]: _default(field) for field in job["fields"]}


def ask(job: Json) -> dict[str, str] | None:
    """Ask a person at the terminal for the fields; None if they do not unblock the block."""
    click.secho(f"\n{plain_label(str(job['label'] or 'block'))}", bold=True)
    if job.get("prompt"):
        click.echo(job["prompt"])
    answers = {field["key"]: _ask_field(field) for field in job["fields"]}
    return answers if click.confirm("Unblock?", default=True) else None


def _default(field: Json) -> str:
    """The default of a field; several values one per line."""
    default = field.get("default") or ""
    return default if isinstance(default, str) else "\n".join(default)


def _ask_field(field: Json) -> str:
    text = str(field.get("title") or field["key"])
    if field.get("hint"):
        text = f"{text} ({field['hint']})"
    default = _default(field) or (None if field.get("required", True) else "")
    options = field.get("options") or []
    if not options:
        return str(click.prompt(text, default=default))
    click.echo(text)
    for option in options:
        click.echo(f"  {option['value']}: {option['label']}")
    if default is not None:
        default = default.replace("\n", ", ")
    question = "Choose (commas between several)" if field.get("multiple") else "Choose"
    return str(click.prompt(question, default=default, value_proc=lambda answer: _chosen(field, answer)))


def _chosen(field: Json, answer: str) -> str:
    """The values of the chosen options, one per line. Raises: click.BadParameter: it is no valid choice."""
    parts = answer.split(",") if field.get("multiple") else [answer]
    values = [part.strip() for part in parts if part.strip()]
    known = [option["value"] for option in field["options"]]
    for value in values:
        if value not in known:
            raise click.BadParameter(f"'{value}' is not one of {', '.join(known)}")
    if not values and field.get("required", True):
        raise click.BadParameter(f"choose one of {', '.join(known)}")
    return "\n".join(values)


def interactive() -> bool:
    """Whether the terminal is interactive."""
    return sys.stdin.isatty() and sys.stdout.isatty()
