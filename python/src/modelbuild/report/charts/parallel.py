"""The candidates of a sweep in parallel coordinates: a line for each, an axis for each parameter."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from modelbuild.contract import Leaderboard, LeaderboardRow, Report
from modelbuild.contract import figure as metric_text
from modelbuild.report.candidates import headings, varying
from modelbuild.report.charts.canvas import (
    GOOD,
    INK,
    LEGEND_TOP,
    OTHER,
    OWN,
    PAPER,
    SOFT,
    add_axes,
    add_legend,
    add_title,
    label,
    svg,
)
from modelbuild.report.headline import brief

_MOST_AXES = 5
_MOST_LINES = 300
_MOST_TICKS = 5

_NUMBERS_BEGIN = 0.16
"""Where the numbers of an axis begin if some candidates have none: those are at 0."""

_KINDS = {
    "best": (OWN, 2.4, 1.0),
    "within noise of it": (GOOD, 1.2, 0.9),
    "worse": (OTHER, 0.8, 0.6),
    "not compared with it": (SOFT, 0.8, 0.6),
}
"""Color, width and opacity of the lines."""


@dataclass(frozen=True)
class _Axis:
    """An axis: its name, the height of each candidate from 0 to 1, and the texts at some heights."""

    name: str
    heights: Sequence[float]
    ticks: Sequence[tuple[float, str]]


def parallel(report: Report, title: str) -> bytes:
    """The candidates with a rank by the most important parameters, and by the metric at the right."""
    assert report.leaderboard is not None
    board = report.leaderboard
    rows = board.ranked[:_MOST_LINES]
    names = varying(board)
    named = [*zip(names, headings(names), strict=True)][:_MOST_AXES]
    axes = [*(_parameter(name, heading, rows, board) for name, heading in named), _metric(rows, board)]

    def draw(figure: Figure) -> None:
        add_title(figure, title if len(rows) == len(board.rows) else f"{title}, {len(rows):,} of them")
        plot = add_axes(figure, left=0.25, right=0.6, bottom=0.6, top=LEGEND_TOP + 0.1)
        plot.set_axis_off()
        plot.set_xlim(0, len(axes) - 1)
        plot.set_ylim(-0.03, 1.03)
        lines: dict[str, Line2D] = {}
        # The best is drawn last, above the others.
        for number, row in reversed([*enumerate(rows)]):
            color, width, opacity = _KINDS[_kind(row)]
            heights = [axis.heights[number] for axis in axes]
            [line] = plot.plot(heights, color=color, linewidth=width, alpha=opacity)
            lines[_kind(row)] = line
        for place, axis in enumerate(axes):
            _draw_axis(plot, place, axis, len(axes) - 1)
        kinds = [kind for kind in _KINDS if kind in lines]
        add_legend(figure, [lines[kind] for kind in kinds], kinds)

    return svg(draw, 3.2)


def _kind(row: LeaderboardRow) -> str:
    if row.rank == 1:
        return "best"
    if row.within_noise is None:
        return "not compared with it"
    return "within noise of it" if row.within_noise else "worse"


def _draw_axis(plot: Axes, place: int, axis: _Axis, last: int) -> None:
    plot.axvline(place, color=SOFT, linewidth=0.8, zorder=3)
    for height, text in axis.ticks:
        plot.annotate(
            label(text, 12),
            (place, height),
            (4, 0),
            textcoords="offset points",
            va="center",
            fontsize=7.5,
            color=INK,
            zorder=4,
            bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 0.8, "alpha": 0.85},
        )
    # Long names of neighbours do not overlap.
    plot.annotate(
        label(axis.name, 16),
        (place, 0),
        (0, -16 if place % 2 == 0 else -28),
        textcoords="offset points",
        ha="left" if place == 0 else "right" if place == last else "center",
        fontsize=8,
        color=SOFT,
    )


def _parameter(name: str, heading: str, rows: Sequence[LeaderboardRow], board: Leaderboard) -> _Axis:
    """The axis of a parameter: a scale of numbers, or a place for each value."""
    values = [row.values.get(name) for row in rows]
    numbers = [
        float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
        for value in values
    ]
    present = [number for number in numbers if not math.isnan(number)]
    others = {json.dumps(value) for value in values if isinstance(value, bool | str | list | dict)}
    if not others and len(set(present)) > 1:
        dimension = board.sweep.space.get(name)
        is_log = dimension is not None and dimension.scale == "log" and min(present) > 0
        return _scale(heading, numbers, is_log=is_log)
    texts = sorted({brief(value) for value in values})
    step = 1 / max(len(texts) - 1, 1)
    ticks = [(number * step, text) for number, text in enumerate(texts)]
    every = max(1, -(-len(ticks) // (2 * _MOST_TICKS)))
    return _Axis(heading, [texts.index(brief(value)) * step for value in values], ticks[::every])


def _scale(name: str, numbers: Sequence[float], *, is_log: bool) -> _Axis:
    """An axis of numbers; those that are missing (NaN) are at its lower end."""
    present = sorted({number for number in numbers if not math.isnan(number)})
    places = [math.log(number) if is_log else number for number in numbers]
    low, high = (math.log(end) if is_log else end for end in (present[0], present[-1]))
    begin = _NUMBERS_BEGIN if len(present) and any(map(math.isnan, numbers)) else 0.0

    def height(place: float) -> float:
        return 0.0 if math.isnan(place) else begin + (1 - begin) * (place - low) / (high - low)

    if len(present) <= _MOST_TICKS:
        ticks = [(height(math.log(one) if is_log else one), _number(one)) for one in present]
    else:
        middle = (low + high) / 2
        value = math.exp(middle) if is_log else middle
        ticks = [
            (begin, _number(present[0])),
            (height(middle), _number(float(f"{value:.2g}"))),
            (1.0, _number(present[-1])),
        ]
    return _Axis(name, [height(place) for place in places], [*([(0.0, "\u2013")] if begin else []), *ticks])


def _number(value: float) -> str:
    return f"{value:,.0f}" if 1_000 <= abs(value) < 10_000_000 else f"{value:.3g}"


def _metric(rows: Sequence[LeaderboardRow], board: Leaderboard) -> _Axis:
    """The axis of the metric, whose upper end is the better one."""
    values = [math.nan if row.metric is None else row.metric for row in rows]
    present = [value for value in values if not math.isnan(value)] or [0.0]
    worst, best = (min(present), max(present)) if board.higher_is_better else (max(present), min(present))
    span = (best - worst) or 1.0
    heights = [0.0 if math.isnan(value) else (value - worst) / span for value in values]
    return _Axis(board.metric_title, heights, [(0.0, metric_text(worst)), (1.0, metric_text(best))])
