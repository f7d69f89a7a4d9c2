"""A bar for each slice: this model beside another one."""

from __future__ import annotations

from matplotlib.figure import Figure

from modelbuild.contract import Report
from modelbuild.report.charts.canvas import OTHER, OWN, axes, inches, label, legend_above, svg
from modelbuild.report.slices import compared_slices, slice_tables

_MOST = 20


def bars(report: Report, title: str) -> bytes:
    """The first metric of the first table of slices, in the order of that table."""
    table = slice_tables(report)[0]
    values = report.manifest.evaluation.slices[table.column]
    metric = table.metrics[0].name
    beside = compared_slices(report)
    differences = beside.slices.get(table.column, {}) if beside else {}
    rows = table.rows[:_MOST]
    names = [label(row.name) for row in rows]
    own = [values[row.name].metrics.get(metric, 0.0) if row.name in values else 0.0 for row in rows]
    other = [differences[row.name].other if row.name in differences else 0.0 for row in rows]
    places = range(len(rows))

    def draw(figure: Figure) -> None:
        plot = axes(figure, _title(title, len(table.rows)), left=inches(names) + 0.25, top=0.62)
        if table.beside:
            plot.barh([place + 0.2 for place in places], other, 0.36, color=OTHER, label=label(table.beside))
        plot.barh(
            [place - (0.2 if table.beside else 0) for place in places],
            own,
            0.36 if table.beside else 0.6,
            color=OWN,
            label=label(f"{report.model} {report.manifest.request.model_id}"),
        )
        plot.set_yticks(places, names)
        plot.set_ylim(len(rows) - 0.4, -0.6)
        plot.grid(visible=False, axis="y")
        plot.spines["left"].set_visible(False)
        handles, labels = plot.get_legend_handles_labels()
        legend_above(plot, handles[::-1], labels[::-1])

    return svg(draw, 1.1 + 0.34 * max(len(rows), 3))


def _title(title: str, rows: int) -> str:
    return title if rows <= _MOST else f"{title}: the first {_MOST} of {rows:,}"
