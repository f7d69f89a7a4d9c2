"""The tables of slices: this model on parts of the rows, beside another model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from modelbuild.contract import Metric, Quality, Report, figure
from modelbuild.contract.report import Comparison, Difference, Role
from modelbuild.report.deltas import Delta, delta

_BESIDE: tuple[Role, ...] = ("live", "best", "baseline")


@dataclass(frozen=True)
class SliceRow:
    """A slice: this model's metrics, and by how much it is better than the other model by the first one.

    Attributes:
        name: the value of the column.
        rows: how many rows have it, as text; empty for a slice that only the other model was evaluated on.
        values: the metrics as text, empty for those that the slice lacks.
        delta: None without another model, or if one of the two lacks the slice.
    """

    name: str
    rows: str
    values: Sequence[str]
    delta: Delta | None


@dataclass(frozen=True)
class SliceTable:
    """The slices by one column: what became worse first, then the worst first.

    Attributes:
        column: the column's name.
        metrics: those of the table.
        other_model: the name of the other model; empty without one.
        rows: the slices.
    """

    column: str
    metrics: Sequence[Metric]
    other_model: str
    rows: Sequence[SliceRow]


def compared_slices(report: Report) -> Comparison | None:
    """The comparison whose slices the tables show: with live, else the best model, else a baseline."""
    found = (report.compared_with(role) for role in _BESIDE)
    return next((one for one in found if one and one.slices), None)


def slice_tables(report: Report) -> list[SliceTable]:
    """A table for each column that divides the evaluation rows."""
    other = compared_slices(report)
    tables = []
    for column, values in report.manifest.evaluation.slices.items():
        metrics = report.manifest.evaluation.used_in(values)
        differences = other.slices.get(column, {}) if other else {}
        names = sorted(
            values.keys() | differences.keys(),
            key=lambda name: _place(metrics, values.get(name), differences.get(name), name),
        )
        if not names:
            continue
        tables.append(
            SliceTable(
                column,
                metrics,
                other.name if other and differences else "",
                [_row(name, metrics, values, differences) for name in names],
            )
        )
    return tables


def _row(
    name: str,
    metrics: Sequence[Metric],
    values: Mapping[str, Quality],
    differences: Mapping[str, Difference],
) -> SliceRow:
    quality, difference = values.get(name), differences.get(name)
    found = [quality.metrics.get(metric.name) if quality else None for metric in metrics]
    return SliceRow(
        name,
        f"{quality.rows:,}" if quality else "",
        ["" if value is None else figure(value) for value in found],
        delta(difference) if difference else None,
    )


def _place(
    metrics: Sequence[Metric], quality: Quality | None, difference: Difference | None, name: str
) -> tuple[bool, float, str]:
    became_worse = difference is not None and delta(difference).outcome == "worse"
    value = quality.metrics.get(metrics[0].name) if quality and metrics else None
    # A slice that lacks the first metric comes last.
    return (not became_worse, math.inf if value is None else metrics[0].gain(value, 0.0), name)
