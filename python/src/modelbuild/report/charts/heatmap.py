"""A confusion matrix of too many labels for a table."""

from __future__ import annotations

from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from modelbuild.contract import Report
from modelbuild.report.charts.canvas import BAD, OWN, add_axes, add_title, inches, label, svg

_MOST_CELLS = 2_500
_MOST_NAMES = 30


def heatmap(report: Report, title: str) -> bytes:
    """A cell for each pair of labels: the more of the true label's rows, the stronger its color."""
    assert report.confusion is not None
    labels, counts = report.confusion.labels, report.confusion.counts
    cells = sorted(
        (
            (count / sum(row), truth, guess)
            for truth, row in enumerate(counts)
            for guess, count in enumerate(row)
            if count
        ),
        reverse=True,
    )[:_MOST_CELLS]
    names = [label(name) for name in labels] if len(labels) <= _MOST_NAMES else []

    def draw(figure: Figure) -> None:
        add_title(figure, f"{title}, {len(labels)} classes")
        plot = add_axes(figure, left=max(inches(names), 0.2) + 0.25, bottom=0.35)
        patches = [Rectangle((guess, truth), 1, 1) for _, truth, guess in cells]
        # Rare confusions are visible, too.
        strength = [0.15 + 0.85 * share for share, _, _ in cells]
        plot.add_collection(
            PatchCollection(
                patches,
                facecolors=[OWN if truth == guess else BAD for _, truth, guess in cells],
                alpha=strength,
                linewidths=0,
            )
        )
        plot.set_xlim(0, len(labels))
        plot.set_ylim(len(labels), 0)
        plot.grid(visible=False)
        plot.set_xlabel("predicted class, in the same order")
        if names:
            plot.set_yticks([place + 0.5 for place in range(len(names))], names)
        else:
            plot.set_ylabel("true class")
        plot.set_xticks([])

    return svg(draw, 4.2)
