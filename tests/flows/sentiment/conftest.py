from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from parameters import LinearParameters
    from rows import Labelled, Rated

SENTIMENT = Path(__file__).parents[3] / "flows" / "sentiment"


@pytest.fixture(scope="session")
def parameters() -> LinearParameters:
    """The parameters that the repository's own pipeline trains with."""
    from parameters import LinearParameters, parse

    return LinearParameters.model_validate(parse((SENTIMENT / "params.yaml").read_text()))


@pytest.fixture(scope="session")
def all_rated() -> list[Rated]:
    """Every rated text of the real data set, downloaded once into the user's cache."""
    from comments import PACKAGE, rated_texts
    from rows import Rated

    rows: list[Rated] = []
    for row in rated_texts(PACKAGE.content()):
        row.pop("raters")
        values: dict[str, Any] = row
        rows.append(Rated(**values))
    return rows


@pytest.fixture(scope="session")
def halves(all_rated: list[Rated], parameters: LinearParameters) -> tuple[list[Labelled], list[Labelled]]:
    """The training rows and the held-out rows."""
    from rows import labelled, split

    rows = labelled(all_rated, parameters.labels.tau)
    return split(rows, parameters.split.test_percent, parameters.seed)
