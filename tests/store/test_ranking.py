from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

import trained
from memory import MemoryObjects
from modelbuild.contract import Evaluation, Metric, Quality
from modelbuild.store.ranking import Ranking, rank

TRUTH = trained.truth_of(100)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)


def evaluation(value: float, better: str = "higher") -> Evaluation:
    """An evaluation with one metric."""
    metric = Metric.model_validate({"name": "m", "title": "M", "better": better})
    quality = Quality(rows=1, metrics={"m": value})
    return Evaluation(dataset_sha256="1" * 64, metrics=(metric,), primary="m", overall=quality)


@given(FLOATS, FLOATS)
def test_ranks_sort_as_the_metric_does(first: float, second: float) -> None:
    """The better of two values has the lesser text, and equal values have the same, also of two zeros."""
    for better, sign in (("higher", -1), ("lower", 1)):
        ranks = [rank(evaluation(value, better)) for value in (first, second)]
        values = [sign * value for value in (first, second)]
        assert (ranks[0] < ranks[1]) == (values[0] < values[1])
        assert (ranks[0] == ranks[1]) == (values[0] == values[1])
        assert all(len(one) == 16 for one in ranks)
    assert rank(evaluation(0.0)) == rank(evaluation(-0.0))
    assert math.isfinite(first)


def test_the_best_model_is_first() -> None:
    """Models on other rows are in another ranking, and a model that is added twice is in it once."""
    objects = MemoryObjects()
    found = [
        trained.store_model(objects, number, trained.evaluated(TRUTH, trained.guesses(TRUTH, right, number)))
        for number, right in ((8, 0.5), (9, 0.9), (10, 0.7))
    ]
    trained.store_model(objects, 11, trained.evaluated(TRUTH[:50], TRUTH[:50]))
    ranking = Ranking.of(objects, found[0])
    ranking.add(found[1])
    assert ranking.best() == ["9", "10", "8"]
