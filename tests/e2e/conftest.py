"""One laptop for all end-to-end tests: a clone of this commit with its own services and agents."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from laptop import running_laptop


@pytest.fixture(scope="session")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Laptop mode for a clone of this repository."""
    with running_laptop(tmp_path_factory.mktemp("laptop")) as running:
        yield running


@pytest.fixture(scope="session")
def prepared(laptop: Any) -> Any:
    """A laptop with the small flow and the pipelines for prepared accounts committed."""
    laptop.commit_prepared_pipelines()
    return laptop
