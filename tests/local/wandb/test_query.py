"""Which runs a query selects, and in which order."""

from __future__ import annotations

from typing import Any

import pytest

from modelbuild_local.wandb.errors import Refused
from modelbuild_local.wandb.query import ordered, selected
from modelbuild_local.wandb.state import Run, Store


@pytest.fixture
def runs() -> list[Run]:
    """Three runs: of the last one, little is known."""
    store = Store()
    found = [store.new_run("local", "p", name) for name in ("a", "b", "c")]
    for run, rate, score in zip(found, (0.1, 0.5), (0.7, 0.6), strict=False):
        run.config = {"training": {"value": {"rate": rate, "kind": f"k{rate}"}}, "plain": {"value": rate}}
        run.summary = {"macro_f1": score, "class/good/f1": score}
        run.tags, run.group = ["all", run.id], "g"
    return found


@pytest.mark.parametrize(
    ("filters", "ids"),
    [
        ({}, "abc"),
        ({"config.training.rate": 0.1}, "a"),
        ({"config.training.value.rate": {"$in": [0.1, 0.5]}}, "ab"),
        ({"config.plain.value": {"$gt": 0.1}}, "b"),
        ({"config.training.kind": {"$gt": 0.1}}, ""),
        ({"config.training.nothing.more": {"$exists": False}}, "abc"),
        ({"summary_metrics.class/good/f1": {"$lte": 0.6}}, "b"),
        ({"tags": "all", "name": {"$nin": ["a"]}}, "b"),
        ({"group": None}, "c"),
        ({"$nor": [{"name": "a"}, {"group": "g"}]}, "c"),
        ({"$and": [{"name": {"$regex": "[ab]"}}, {"tags": {"$ne": "a"}}]}, "b"),
    ],
)
def test_filters_select(runs: list[Run], filters: dict[str, Any], ids: str) -> None:
    """A value is compared with one of its own type only, and a list equals each of its elements."""
    assert "".join(run.id for run in selected(runs, filters)) == ids


@pytest.mark.parametrize(
    ("order", "ids"),
    [
        ("+created_at", "abc"),
        ("-created_at", "cba"),
        ("-summary_metrics.macro_f1", "abc"),
        ("summary_metrics.macro_f1", "bac"),
        ("-config.plain.value", "bac"),
        ("+group", "abc"),
    ],
)
def test_order_puts_unknown_values_last(runs: list[Run], order: str, ids: str) -> None:
    """Runs without a value come last in both directions; equal ones are ordered by their age."""
    assert "".join(run.id for run in ordered(runs, order)) == ids


@pytest.mark.parametrize(
    "filters", [{"job_type": "x"}, {"name": {"$near": 1}}, {"config": 1}, {"name": {"$regex": "("}}]
)
def test_what_does_not_exist_is_refused(runs: list[Run], filters: dict[str, Any]) -> None:
    """A name of a column or an operator with a typo is an error, as at W&B, and not an empty answer."""
    with pytest.raises(Refused):
        selected(runs, filters)
