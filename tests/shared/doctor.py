"""``modelbuild doctor`` for a pipeline that trains one model, on the AWS stand-in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3

import standins
from modelbuild.onboarding.doctor import examine

PIPELINE = standins.ROOT / "tests" / "fixtures" / "pipeline.yml"
Write = Callable[[str], Path]


def wrong(file: Path, environ: dict[str, str]) -> list[str]:
    """The sentences with a fix."""
    return [line.text for line in examine(file, environ) if not line.ok]


def client(name: str) -> Any:
    """A boto3 client of the environment's AWS."""
    connect: Any = boto3.client
    return connect(name)
