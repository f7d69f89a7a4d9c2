"""The report as a page of its own, ``report.html``: with all it needs in one file, and without a script."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from importlib import resources

from markupsafe import Markup

from modelbuild.annotation import render
from modelbuild.contract import Report
from modelbuild.report.build import HeadJob
from modelbuild.report.headline import title
from modelbuild.report.sections import SECTIONS, Page, render_sections

STYLES = resources.files("modelbuild.report").joinpath("templates/document.css").read_text("utf-8")
"""The styles of the document, for pages that look like it."""


def render_document(report: Report, job: HeadJob, pictures: Mapping[str, bytes]) -> str:
    """The document of a successful training.

    Args:
        report: what the document shows.
        job: the Batch job of the training.
        pictures: the SVG files of the pictures by their names, which become a part of the document.
    """
    return render(
        "modelbuild.report",
        "document.html.j2",
        report=report,
        title=title(report),
        names=SECTIONS,
        sections={name: Markup(html) for name, html in render_sections(report, job, _page(pictures))},
    )


def _page(pictures: Mapping[str, bytes]) -> Page:
    def address(name: str) -> Markup:
        encoded = base64.b64encode(pictures.get(name, b"")).decode()
        return Markup(f"data:image/svg+xml;base64,{encoded}" if encoded else "")

    return Page(
        address=address,
        shade=lambda level, right: f"level-{level}{' right' if right else ''}",
        shades="The stronger the color of a cell, the larger its part of the true class's rows.",
        rest="report.json",
        open_rows=25,
        open_examples=25,
        rows=1_000,
        columns=50,
        labels=40,
        cell=2_000,
        text=200_000,
    )
