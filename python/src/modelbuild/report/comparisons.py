"""The table of models: this one, live, the best ones and the baselines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from modelbuild.contract import Metric, Report, figure
from modelbuild.contract.report import Comparison, Role
from modelbuild.report.deltas import Delta, delta
from modelbuild.text import counted

_ROLES: dict[Role, str] = {
    "live": "live",
    "best": "best so far",
    "experiment": "best experimental run",
    "baseline": "baseline",
}


@dataclass(frozen=True)
class Cell:
    """A model by one metric: its value, and by how much this model is better."""

    value: str
    delta: Delta | None = None


@dataclass(frozen=True)
class ModelRow:
    """A model of the table.

    Attributes:
        role: what it is to this model, for people.
        name: of the model, baseline or run.
        url: the page of its build or run.
        cells: a cell for each metric of the table; none if the models are not comparable.
        note: why they are not comparable, or which rows they were compared on if not all.
    """

    role: str
    name: str
    url: str
    cells: Sequence[Cell]
    note: str

    @property
    def comparable(self) -> bool:
        """Whether there is a comparison by the primary metric."""
        return bool(self.cells)


def shown_metrics(report: Report) -> list[Metric]:
    """The metrics of all rows, the primary one first."""
    evaluation = report.manifest.evaluation
    return sorted(evaluation.overall_metrics, key=lambda metric: metric.name != evaluation.primary)


def model_rows(report: Report, metrics: Sequence[Metric]) -> list[ModelRow]:
    """The other models in the order of their roles; of baselines the strongest first."""
    ordered = [one for role in _ROLES for one in sorted(_with_role(report, role), key=lambda one: one.gain)]
    return [_row(comparison, metrics, report) for comparison in ordered]


def _with_role(report: Report, role: Role) -> list[Comparison]:
    return [comparison for comparison in report.comparisons if comparison.role == role]


def _row(comparison: Comparison, metrics: Sequence[Metric], report: Report) -> ModelRow:
    cells = []
    if comparison.outcome != "not comparable":
        found = [comparison.metrics.get(metric.name) for metric in metrics]
        cells = [Cell(figure(one.other), delta(one)) if one else Cell("") for one in found]
    note = _note(comparison, report, bool(cells))
    return ModelRow(_ROLES[comparison.role], comparison.name, comparison.url, cells, note)


def _note(comparison: Comparison, report: Report, comparable: bool) -> str:
    if not comparable:
        return comparison.reason or "no reason is given"
    all_rows = comparison.rows == report.manifest.evaluation.overall.rows
    # Such as "on the 2,100 of 2,345 rows that it was evaluated on as well".
    if all_rows or comparison.reason.startswith("on "):
        return comparison.reason
    return f"on {counted(comparison.rows, 'row')}{': ' if comparison.reason else ''}{comparison.reason}"
