"""Options that several commands share."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import click

from modelbuild.errors import ConfigurationError

_Decorator: TypeAlias = Callable[[Callable[..., None]], Callable[..., None]]

artifacts_option: _Decorator = click.option(
    "--artifacts",
    required=True,
    envvar="MODELBUILD_ARTIFACTS",
    show_envvar=True,
    help="Where the pipeline's models lie: s3://<bucket>/models/<pipeline>.",
)
"""A decorator that adds the required option ``--artifacts``."""


def pipeline_root(artifacts: str, pipeline: str | None) -> str:
    """The prefix of a pipeline's models, from one that ends with the pipeline or is that of all pipelines.

    Raises:
        ConfigurationError: no pipeline of Buildkite has such a name.
    """
    from modelbuild.contract.record import SLUG_PATTERN

    if pipeline is not None and not re.fullmatch(SLUG_PATTERN, pipeline):
        raise ConfigurationError(
            f"the pipeline is {pipeline!r}: give its slug, which has letters, digits and hyphens only"
        )
    root = artifacts.rstrip("/")
    return root if pipeline is None or root.rsplit("/", 1)[-1] == pipeline else f"{root}/{pipeline}"


def pipeline_option(help_text: str) -> _Decorator:
    """A decorator that adds option ``--pipeline`` with this help, as parameter ``file``."""
    return click.option(
        "--pipeline",
        "file",
        default=".buildkite/pipeline.yml",
        show_default=True,
        type=click.Path(path_type=Path),
        help=help_text,
    )
