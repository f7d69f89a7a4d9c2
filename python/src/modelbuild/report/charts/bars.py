"""A bar for each slice: this model beside another one."""

from __future__ import annotations

from matplotlib.figure import Figure

from modelbuild.contract import Report
from modelbuild.report.charts.canvas import (
    LEGEND_TOP,
    OTHER,
    OWN,
    add_axes,
    add_legend,
    add_title,
    inches,
    label,
    svg,
)
from modelbuild.report.slices import compared_slices, slice_tables

_MOST = 12


def bars(report: Report, title: str) -> bytes:
    """The first metric of the first table of slices, in the order of that table."""
    table = slice_tables(report)[0]
    values = report.manifest.evaluation.slices[table.column]
    metric = table.metrics[0].name
    comparison = compared_slices(report)
    differences = comparison.slices.get(table.column, {}) if comparison else {}
    rows = table.rows[:_MOST]
    names = [label(row.name) for row in rows]
    own = [values[row.name].metrics.get(metric, 0.0) if row.name in values else 0.0 for row in rows]
    other = [differences[row.name].other if row.name in differences else 0.0 for row in rows]
    # The two bars of a slice touch at the middle of its row.
    half = 0.19 if table.other_model else 0.0

    def draw(figure: Figure) -> None:
        add_title(figure, title if len(table.rows) <= _MOST else f"{title}, {_MOST} of {len(table.rows):,}")
        plot = add_axes(figure, left=inches(names) + 0.25, bottom=0.3, top=LEGEND_TOP)
        places = range(len(rows))
        bars = [plot.barh([place - half for place in places], own, 2 * half or 0.6, color=OWN)]
        if table.other_model:
            bars.append(plot.barh([place + half for place in places], other, 2 * half, color=OTHER))
        plot.set_yticks(places, names)
        plot.set_ylim(len(rows) - 0.5, -0.5)
        plot.grid(visible=False, axis="y")
        plot.spines["left"].set_visible(False)
        models = (f"{report.model} {report.manifest.request.model_id}", table.other_model)
        add_legend(figure, [one.patches[0] for one in bars], [label(model) for model in models[: len(bars)]])

    return svg(draw, max(2.75, 1.0 + 0.27 * len(rows)))
