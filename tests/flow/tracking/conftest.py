"""A training of a classifier, with W&B's stand-in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import standins
from tracked_training import RunReader, Training, of_classifier


@pytest.fixture(scope="module")
def wandb_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of W&B's stand-in."""
    with standins.started("wandb", "--data", tmp_path_factory.mktemp("wandb")) as running:
        yield running.url


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, wandb_url: str) -> Iterator[RunReader]:
    """Reads the runs that W&B's stand-in has."""
    reader = RunReader(tmp_path_factory.mktemp("reader"), wandb_url)
    yield reader
    reader.close()


@pytest.fixture
def training(tmp_path: Path, wandb_url: str) -> Training:
    """A training of a classifier."""
    return Training(tmp_path, wandb_url, of_classifier())
