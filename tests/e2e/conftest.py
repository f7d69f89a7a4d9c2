"""One laptop for all end-to-end tests: a clone of this commit with its own services and agents."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# Tests are imported by file, without packages: what several of them share is loaded by file, too.
_SPEC = importlib.util.spec_from_file_location("laptop", Path(__file__).with_name("laptop.py"))
assert _SPEC is not None
assert _SPEC.loader is not None
laptop_module: Any = importlib.util.module_from_spec(_SPEC)
sys.modules["laptop"] = laptop_module
_SPEC.loader.exec_module(laptop_module)


@pytest.fixture(scope="session")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Laptop mode for a clone of this repository."""
    with laptop_module.running_laptop(tmp_path_factory.mktemp("laptop")) as running:
        yield running


@pytest.fixture(scope="session")
def prepared(laptop: Any) -> Any:
    """A laptop with the small flow and the pipelines for prepared accounts committed."""
    laptop.commit_prepared_pipelines()
    return laptop
