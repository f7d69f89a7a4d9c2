"""The pictures of a report: SVG files that are readable on a light page and on a dark one."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from modelbuild import log
from modelbuild.contract import Report
from modelbuild.errors import describe
from modelbuild.report.candidates import varying
from modelbuild.report.matrix import MOST_LABELS
from modelbuild.report.slices import slice_tables

_CLASSES, _CONFUSION, _TREND = "classes.svg", "confusion.svg", "trend.svg"
_CALIBRATION, _CURVE, _CANDIDATES = "calibration.svg", "curve.svg", "candidates.svg"


@dataclass(frozen=True)
class Picture:
    """A picture of a report: the name of its file, and what it shows in words."""

    file: str
    title: str


def expected_pictures(report: Report) -> list[Picture]:
    """The pictures of what the report has, in the order of the page."""
    evaluation, training = report.manifest.evaluation, report.manifest.training
    slices, matrix = slice_tables(report), report.confusion
    found = []
    if report.leaderboard and len(report.leaderboard.ranked) > 1 and varying(report.leaderboard):
        found.append(Picture(_CANDIDATES, f"Candidates by {report.leaderboard.metric_title}"))
    if slices and slices[0].metrics:
        found.append(Picture(_CLASSES, f"{slices[0].metrics[0].title} by {slices[0].column}"))
    if matrix and len(matrix.labels) > MOST_LABELS and any(map(any, matrix.counts)):
        found.append(Picture(_CONFUSION, "Confusion matrix"))
    if len(report.trend) > 1:
        found.append(Picture(_TREND, f"{evaluation.metric(evaluation.primary).title} of the newest models"))
    if report.calibration:
        found.append(Picture(_CALIBRATION, "Calibration of the scores"))
    if training and sum(bool(point.values) for point in training.curve) > 1:
        found.append(Picture(_CURVE, "Training curve"))
    return found


def draw_pictures(report: Report) -> dict[str, bytes]:
    """The pictures that could be drawn, by the names of their files; the log has what failed."""
    drawn = {}
    for picture in expected_pictures(report):
        try:
            drawn[picture.file] = _draw(picture, report)
        except Exception as error:  # noqa: BLE001 - whatever matplotlib raises, the page is worth more
            log.warn(f"a picture of the report could not be drawn ({picture.file}: {describe(error)})")
    return drawn


def _draw(picture: Picture, report: Report) -> bytes:
    # matplotlib takes half a second to import, and may be missing.
    with _outside_the_checkout():
        from modelbuild.report import charts

    draw = {
        _CLASSES: charts.bars,
        _CONFUSION: charts.heatmap,
        _TREND: charts.trend,
        _CALIBRATION: charts.calibration,
        _CURVE: charts.curve,
        _CANDIDATES: charts.parallel,
    }
    return draw[picture.file](report, picture.title)


@contextmanager
def _outside_the_checkout() -> Iterator[None]:
    """Work in an empty folder, because matplotlib reads a file with settings in the working folder."""
    # Its messages are about fonts, and about the cache folder: a temporary one without a writable home.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    before = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)
