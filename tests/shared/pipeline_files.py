"""Variants of a pipeline that trains one model, and what ``modelbuild check`` finds in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import yaml

import standins
from modelbuild.onboarding.check import findings
from modelbuild.onboarding.pipeline import read

GOOD = (standins.ROOT / "tests" / "fixtures" / "plain_pipeline.yml").read_text()
Write = Callable[[str], Path]


def texts(file: Path) -> list[str]:
    """The findings in a file, without lines."""
    return [finding.text for finding in findings(read(file))]


def changed(before: str, after: str) -> str:
    """The pipeline with one change."""
    assert GOOD.count(before) == 1
    return GOOD.replace(before, after)


def line_of(text: str, beginning: str) -> int:
    """The line in which a step begins."""
    (line,) = (number for number, one in enumerate(text.splitlines(), 1) if one.startswith(beginning))
    return line


TRAINING = yaml.safe_load(GOOD)["steps"][3:5]
