"""The runs of a project side by side: a column for each metric, and for each parameter that differs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from modelbuild_local.wandb.charts import is_number
from modelbuild_local.wandb.query import ordered, selected, value_of
from modelbuild_local.wandb.state import Run

NEWEST_FIRST = "-created_at"
FILTERS = {"group": "group", "job_type": "jobType"}
"""The columns that the page filters by, with the name of each in the page's address."""

_METRICS, _PARAMETERS = 6, 4


@dataclass(frozen=True)
class Column:
    """A column with a value for each run.

    Attributes:
        title: the name on the page.
        link: the address that sorts by this column: highest first, or lowest first if it is highest first.
        direction: how the page is sorted by this column, in the words of ``aria-sort``.
    """

    title: str
    link: str
    direction: str


@dataclass(frozen=True)
class Comparison:
    """What the page of a project shows."""

    started: Column
    columns: Sequence[Column]
    rows: Sequence[tuple[Run, Sequence[Any]]]
    chosen: Sequence[tuple[str, str, str]]
    """The filters: each with its name, its value, and the address without it."""
    links: Mapping[tuple[str, str], str]
    """The address with a filter added, by the filter's name and value."""


def compare(runs: Iterable[Run], query: Mapping[str, str]) -> Comparison:
    """The runs that a query of the page asks for: ``sort``, ``group`` and ``job_type``, all optional.

    Raises:
        Refused: there is no column by the name in ``sort``.
    """
    chosen = {name: query[name] for name in FILTERS if query.get(name)}
    order = query.get("sort") or NEWEST_FIRST
    found = selected(runs, {FILTERS[name]: value for name, value in chosen.items()})
    found = ordered(found, order)
    names = [*_metrics(found), *_parameters(found)]

    def column(name: str, title: str) -> Column:
        here, ascending = order.lstrip("+-") == name, not order.startswith("-")
        following = name if here and not ascending else f"-{name}"
        direction = ("ascending" if ascending else "descending") if here else "none"
        return Column(title, _address({**chosen, "sort": following}), direction)

    def filtered(name: str, value: str) -> str:
        return _address({**chosen, name: value, **({"sort": order} if order != NEWEST_FIRST else {})})

    values = {(name, item) for run in found for name, item in _filter_values(run)}
    return Comparison(
        started=column("created_at", "Started"),
        columns=[column(name, name.split(".", 1)[1].removeprefix("parameters.")) for name in names],
        rows=[(run, [value_of(run, name) for name in names]) for run in found],
        chosen=[(name, value, filtered(name, "")) for name, value in chosen.items()],
        links={(name, value): filtered(name, value) for name, value in values},
    )


def _address(query: Mapping[str, str]) -> str:
    return f"?{urlencode({name: value for name, value in query.items() if value}, errors='replace')}"


def _filter_values(run: Run) -> Iterable[tuple[str, str]]:
    return ((name, value) for name, value in (("group", run.group), ("job_type", run.job_type)) if value)


def _metrics(runs: Sequence[Run]) -> list[str]:
    """The metrics that most runs have. The primary one is the first, and those with a curve are the last."""
    primary = [run.settings.get("primary_metric") for run in runs]
    drawn = {name for run in runs for row in run.history for name in row}
    found: Counter[str] = Counter()
    for run in runs:
        for name, value in run.summary.items():
            if is_number(value) and name[:1] != "_" and "/" not in name and "." not in name:
                found[name] += 1
    ranked = sorted(found, key=lambda name: (name not in primary, name in drawn, -found[name], name))
    return [f"summary_metrics.{name}" for name in ranked[:_METRICS]]


def _parameters(runs: Sequence[Run]) -> list[str]:
    """The parameters that are not the same in all runs, in the order of the first run."""
    values: dict[str, list[str]] = {}
    for run in runs:
        for name, value in _flat("", run.settings.get("parameters")):
            values.setdefault(name, []).append(repr(value))
    differing = [name for name, all in values.items() if len(set(all)) > 1 or len(all) < len(runs)]
    return [f"config.parameters{name}" for name in differing][:_PARAMETERS]


def _flat(prefix: str, value: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            if "." not in name:
                yield from _flat(f"{prefix}.{name}", inner)
    elif prefix:
        yield prefix, value
