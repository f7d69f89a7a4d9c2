"""What a training measured after its steps."""

from __future__ import annotations

import re

from matplotlib.figure import Figure

from modelbuild.contract import Report
from modelbuild.report.charts.canvas import GOOD, OTHER, OWN, axes, label, svg

_MOST = 3
_COLORS = (OWN, GOOD, OTHER)
_PART = re.compile(r"^(train|training|validation|valid|val|eval|test)[_ /-]")


def curve(report: Report, title: str) -> bytes:
    """A plot for each of the first measures; a measure of training and validation rows is one plot."""
    points = report.manifest.training.curve if report.manifest.training else ()
    names = list(dict.fromkeys(name for point in points for name in point.values))
    measures = list(dict.fromkeys(_measure(name) for name in names))[:_MOST]
    height = 1.75

    def draw(figure: Figure) -> None:
        high = figure.get_size_inches()[1]
        for place, measure in enumerate(measures):
            plot = axes(
                figure,
                title if len(measures) == 1 else f"{title}: {measure}",
                left=0.75,
                bottom=0.45 + (len(measures) - 1 - place) * height,
                top=0.42 + place * height,
            )
            own = [name for name in names if _measure(name) == measure][: len(_COLORS)]
            for name, color in zip(own, _COLORS, strict=False):
                found = [(point.step, point.values[name]) for point in points if name in point.values]
                plot.plot(*zip(*found, strict=True), color=color, linewidth=1.5, label=label(name))
            if len(own) > 1:
                plot.legend(loc="best")
        plot.set_xlabel("step")
        assert high > 0

    return svg(draw, 0.35 + height * len(measures))


def _measure(name: str) -> str:
    """``loss`` of ``validation_loss``."""
    return _PART.sub("", name)
