"""How much each parameter of a sweep explains of the differences between its candidates."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue

from modelbuild.contract import LeaderboardRow

_FEWEST = 8
"""From fewer candidates a forest learns their noise."""

_TREES = 64


def importance(rows: Sequence[LeaderboardRow]) -> dict[str, float]:
    """The part of the differences that each parameter explains, from 0 to 1; all together 1.

    A random forest predicts the metric from the parameters; the part of a parameter is that of its splits in
    the reduction of the variance. Empty for too few candidates, or if all have the same metric.

    Source: Breiman, "Random Forests", Machine Learning 45 (2001).
    """
    trained = [row for row in rows if row.metric is not None and row.status in ("succeeded", "unfit")]
    names = sorted({name for row in trained for name in row.values})
    metrics = np.array([row.metric for row in trained], dtype=float)
    if len(trained) < _FEWEST or not names:
        return {}
    # Halved first, because float64 does not hold the difference of the largest numbers.
    distances = metrics / 2 - metrics.min() / 2
    if not distances.any():
        return {}
    # Imported here: only the head of a sweep needs it, and it takes half a second.
    from sklearn.ensemble import RandomForestRegressor

    columns = {name: _columns([row.values.get(name) for row in trained]) for name in names}
    features = np.column_stack([column for some in columns.values() for column in some])
    forest = RandomForestRegressor(_TREES, random_state=0).fit(features, distances / distances.max())
    parts = iter(forest.feature_importances_)
    found = {name: float(sum(next(parts) for _ in some)) for name, some in columns.items()}
    return {
        name: round(part, 4) for name, part in sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))
    }


def _columns(values: Sequence[JsonValue]) -> list[npt.NDArray[np.float64]]:
    """A parameter as numbers: the ranks of its numbers, with absent ones below all; if it has other values,
    a column for each value.

    A tree splits by the order of numbers only, and scikit-learn has them as float32, which holds neither
    1e40 nor the difference of 1e-50 and 1e-60.
    """
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) == sum(value is not None for value in values) and numbers:
        ranks = {number: rank for rank, number in enumerate(sorted(set(numbers)))}
        places = [ranks[value] if isinstance(value, int | float) else -1 for value in values]
        return [np.array(places, dtype=np.float64)]
    texts = [json.dumps(value, sort_keys=True) for value in values]
    return [np.array([text == other for text in texts], dtype=float) for other in sorted(set(texts))]
