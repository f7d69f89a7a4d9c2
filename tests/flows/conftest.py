from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

SENTIMENT = Path(__file__).parents[2] / "flows" / "sentiment"

# A flow's modules lie beside its flow.py, which is how Metaflow packages and imports them.
sys.path.insert(0, str(SENTIMENT))

from parameters import Parameters, parse  # noqa: E402
from rows import Labelled, Rated, labelled, split  # noqa: E402
from source import archive, rated_texts  # noqa: E402


@pytest.fixture(scope="session")
def parameters() -> Parameters:
    """The parameters that the repository's own pipeline trains with."""
    return Parameters.model_validate(parse((SENTIMENT / "params.yaml").read_text()))


@pytest.fixture(scope="session")
def all_rated() -> list[Rated]:
    """Every rated text of the real data set, downloaded once into the user's cache."""
    rows: list[Rated] = []
    for row in rated_texts(archive()):
        row.pop("raters")
        values: dict[str, Any] = row
        rows.append(Rated(**values))
    return rows


@pytest.fixture(scope="session")
def halves(all_rated: list[Rated], parameters: Parameters) -> tuple[list[Labelled], list[Labelled]]:
    """The training rows and the held-out rows."""
    rows = labelled(all_rated, parameters.labels.tau)
    return split(rows, parameters.split.test_percent, parameters.seed)
