"""What a training measured after its steps."""

from __future__ import annotations

import re
from collections import Counter

from matplotlib.figure import Figure

from modelbuild.contract import Report
from modelbuild.report.charts.canvas import GOOD, OWN, add_axes, add_title, label, svg

_MOST = 2
_COLORS = (OWN, GOOD)
_PART = re.compile(r"^(train|training|validation|valid|val|eval|test)[_ /-]")


def curve(report: Report, title: str) -> bytes:
    """A plot for each of the two measures with most curves, which are those of several kinds of rows."""
    points = report.manifest.training.curve if report.manifest.training else ()
    names = list(dict.fromkeys(name for point in points for name in point.values))
    parts = Counter(map(_measure, names))
    # A measure on both training and validation rows shows most.
    measures = sorted(parts, key=lambda measure: -parts[measure])[:_MOST]

    def draw(figure: Figure) -> None:
        add_title(figure, title)
        wide = figure.get_size_inches()[0] / len(measures)
        for place, measure in enumerate(measures):
            behind = len(measures) - 1 - place
            plot = add_axes(figure, left=0.65 + place * wide, right=0.15 + behind * wide, top=0.85)
            own = [name for name in names if _measure(name) == measure][: len(_COLORS)]
            for name, color in zip(own, _COLORS, strict=False):
                found = [(point.step, point.values[name]) for point in points if name in point.values]
                steps, values = zip(*found, strict=True)
                plot.plot(steps, values, color=color, linewidth=1.5, label=label(name))
            plot.legend(loc="lower left", bbox_to_anchor=(-0.02, 1), borderpad=0.2, handlelength=1.0)
            plot.locator_params(axis="x", nbins=4)
            plot.set_xlabel("step")

    return svg(draw)


def _measure(name: str) -> str:
    """``loss`` of ``validation_loss``."""
    return _PART.sub("", name)
