"""The primary metric of the newest models of a pipeline."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from modelbuild.contract import Report
from modelbuild.contract.report import TrendPoint
from modelbuild.report.charts.canvas import (
    GOOD,
    LEGEND_LINE,
    LEGEND_TOP,
    OTHER,
    OWN,
    PAPER,
    add_axes,
    add_legend,
    add_title,
    svg,
)

_MOST_TICKS = 12
_IN_A_LINE = 4
"""So many entries of the legend fit into a line."""


def trend(report: Report, title: str) -> bytes:
    """A point for each model, the newest at the right; those on other rows are hollow."""
    points = report.trend

    def draw(figure: Figure) -> None:
        add_title(figure, title)
        deployed = {point.comparable for point in points if point.deployed}
        entries = 2 + len(deployed) + any(not point.comparable for point in points)
        lines = 1 if entries <= _IN_A_LINE else 2
        plot = add_axes(figure, top=LEGEND_TOP + (lines - 1) * LEGEND_LINE)
        comparable = [place for place, point in enumerate(points) if point.comparable]
        plot.plot(comparable, [points[place].value for place in comparable], color=OTHER, linewidth=1.5)
        _points(plot, points, [not point.comparable for point in points], "other rows", PAPER, OTHER)
        _points(plot, points, [point.comparable for point in points], "same rows", OTHER, OTHER)
        elsewhere = [point.deployed and not point.comparable for point in points]
        _points(plot, points, elsewhere, "deployed, other rows", PAPER, GOOD)
        here = [point.deployed and point.comparable for point in points]
        _points(plot, points, here, "deployed", GOOD, GOOD)
        last = len(points) - 1
        _points(plot, points, [place == last for place in range(len(points))], "this model", OWN, OWN)
        every = max(1, -(-len(points) // _MOST_TICKS))
        places = list(range(last, -1, -every))
        plot.set_xticks(places, [points[place].model_id for place in places])
        plot.set_xlim(-0.5, last + 0.5)
        plot.margins(y=0.15)
        plot.grid(visible=False, axis="x")
        plot.set_xlabel("model")
        add_legend(figure, *plot.get_legend_handles_labels(), lines)

    return svg(draw)


def _points(
    plot: Axes, points: Sequence[TrendPoint], chosen: Sequence[bool], name: str, face: str, edge: str
) -> None:
    places = [place for place, wanted in enumerate(chosen) if wanted]
    if places:
        plot.scatter(
            places,
            [points[place].value for place in places],
            46,
            marker="D" if edge == GOOD else "o",
            facecolor=face,
            edgecolor=edge,
            linewidths=1.5,
            label=name,
            zorder=3,
        )
