"""How often predictions of each score are right."""

from __future__ import annotations

from matplotlib.figure import Figure

from modelbuild.contract import Report
from modelbuild.report.charts.canvas import OWN, SOFT, add_axes, add_title, svg


def calibration(report: Report, title: str) -> bytes:
    """A point for each bin of scores, sized by its part of the rows; calibrated ones are on the diagonal."""
    bins = sorted(report.calibration, key=lambda one: one.mean_score)
    most = max(max(one.rows for one in bins), 1)

    def draw(figure: Figure) -> None:
        add_title(figure, title)
        plot = add_axes(figure)
        plot.plot([0, 1], [0, 1], color=SOFT, linewidth=1, linestyle="dashed")
        scores, right = [one.mean_score for one in bins], [one.accuracy for one in bins]
        plot.plot(scores, right, color=OWN, linewidth=1.5)
        plot.scatter(scores, right, [12 + 90 * one.rows / most for one in bins], color=OWN, linewidths=0)
        plot.set_xlim(min(scores[0], 0.5) - 0.03, 1.03)
        plot.set_ylim(min(*right, 0.5) - 0.03, 1.03)
        plot.set_xlabel("mean score of the predictions")
        plot.set_ylabel("part that is right")

    return svg(draw)
