"""Figures that become SVG files: their colors in light and dark, their text, and their bytes.

The bytes depend on the report and on the version of matplotlib alone: not on settings of the host or of the
checkout, nor on the time. Text stays text, which the viewer's fonts show in any language.
"""

from __future__ import annotations

import io
import unicodedata
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from modelbuild.annotation import plain
from modelbuild.text import named

PAPER, INK, SOFT, LINE = "#fdfdfe", "#1f2328", "#57606a", "#d8dce1"
OWN, OTHER, GOOD, BAD = "#0b62c4", "#9aa3ad", "#1a7f37", "#c4302b"
"""The colors on a light page: of paper and text, of this model and another one, of what is right or wrong."""

_DARK = {
    PAPER: "#1d2126",
    INK: "#e6e9ec",
    SOFT: "#a3acb5",
    LINE: "#363c44",
    OWN: "#74a9f5",
    OTHER: "#6d7782",
    GOOD: "#4cc07f",
    BAD: "#f27d77",
}

_POINTS = 9.0
_POINTS_PER_INCH = 72.0

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "modelbuild",
    # Dollar signs in a foreign name begin no formula.
    "text.parse_math": False,
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": _POINTS,
    "text.color": INK,
    "axes.facecolor": PAPER,
    "axes.edgecolor": LINE,
    "axes.labelcolor": SOFT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "legend.frameon": False,
    "legend.labelcolor": SOFT,
}

_FONTS = (b"'DejaVu Sans', sans-serif", b"system-ui, 'DejaVu Sans', sans-serif")

_INCHES_WIDE = 4.4


def svg(draw: Callable[[Figure], None], inches_high: float = 2.75) -> bytes:
    """The SVG file of a figure that ``draw`` fills; two of them fit side by side on a build page."""
    with warnings.catch_warnings(), matplotlib.rc_context():
        # matplotlib warns of letters that the fonts of this host lack.
        warnings.simplefilter("ignore")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        figure = Figure(figsize=(_INCHES_WIDE, inches_high), facecolor=PAPER)
        draw(figure)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    return _in_both_themes(buffer.getvalue()).replace(*_FONTS)


def add_title(figure: Figure, text: str) -> None:
    """A title above everything of a figure."""
    wide, high = figure.get_size_inches()
    figure.text(0.12 / wide, 1 - 0.24 / high, label(text, 50), fontsize=10.0, fontweight="bold")


def add_axes(
    figure: Figure, *, left: float = 0.7, right: float = 0.25, bottom: float = 0.5, top: float = 0.45
) -> Axes:
    """Axes that fill a figure except for margins in inches."""
    wide, high = figure.get_size_inches()
    plot = figure.add_axes(
        (left / wide, bottom / high, (wide - left - right) / wide, (high - bottom - top) / high)
    )
    plot.tick_params(length=0)
    return plot


def add_legend(figure: Figure, handles: Sequence[Artist], labels: Sequence[str], lines: int = 1) -> None:
    """A legend below the title of a figure, whose axes have a margin of ``LEGEND_TOP`` then, and of
    ``LEGEND_LINE`` for each further line.
    """
    wide, high = figure.get_size_inches()
    figure.legend(
        handles,
        labels,
        loc="upper left",
        bbox_to_anchor=(0.05 / wide, 1 - 0.3 / high),
        ncols=-(-len(handles) // lines),
        borderpad=0.2,
        handlelength=1.0,
        handletextpad=0.4,
        columnspacing=1.0,
    )


LEGEND_TOP, LEGEND_LINE = 0.7, 0.2


def label(text: str, characters: int = 22) -> str:
    """A text from outside on one line of a picture."""
    line = named(" ".join(plain(text, 1_000).split()))
    return line if len(line) <= characters else f"{line[: characters - 1]}…"


def inches(texts: list[str]) -> float:
    """How much room the longest of some labels takes; matplotlib cannot measure letters that it lacks."""

    def ems(text: str) -> float:
        return sum(1.0 if unicodedata.east_asian_width(letter) in "WF" else 0.62 for letter in text)

    return max(map(ems, texts), default=0.0) * _POINTS / _POINTS_PER_INCH


def _in_both_themes(image: bytes) -> bytes:
    """The image with the dark colors where the viewer prefers them; its own paper keeps it readable."""
    rules = "".join(
        f'[style*="{name}: {light}"]{{{name}:{dark}!important}}'
        for light, dark in _DARK.items()
        for name in ("fill", "stroke")
    )
    style = f"<style>@media (prefers-color-scheme: dark){{{rules}}}</style></svg>"
    head, _, _ = image.rpartition(b"</svg>")
    return head + style.encode() + b"\n"
