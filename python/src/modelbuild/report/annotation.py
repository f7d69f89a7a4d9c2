"""The report as the annotation of the build page, which has at most one MiB."""

from __future__ import annotations

from collections.abc import Collection

from markupsafe import Markup

from modelbuild.annotation import LIMIT_BYTES
from modelbuild.contract import Report
from modelbuild.report.build import HeadJob, artifact_path
from modelbuild.report.sections import Page, fitting, render_sections

_IMPORTANCE = (
    *("headline", "comparison", "candidates", "gates", "warnings", "slices"),
    *("changes", "pictures", "details", "confusion", "examples"),
)

# The note about omitted sections, and what the agent's redaction may add, have room beside the sections.
_BUDGET_BYTES = LIMIT_BYTES - 16_384

_SHADES = "Yellow: at least 15 % of the true class's rows have this wrong prediction; orange: at least 35 %."


def render_annotation(report: Report, job: HeadJob, artifacts: Collection[str]) -> str:
    """The annotation of a successful training: at most ``LIMIT_BYTES``, without a blank line.

    If not everything fits, the least important sections are left out, and the page names them.

    Args:
        report: what the page shows.
        job: the Batch job of the training.
        artifacts: the names of the report's files that are among the artifacts of the build.
    """
    sections = dict(render_sections(report, job, _page(report, artifacts)))
    return fitting(sections, _IMPORTANCE, _BUDGET_BYTES, lambda html: len(html.encode()))


def _page(report: Report, artifacts: Collection[str]) -> Page:
    def address(name: str) -> Markup:
        return Markup(f"artifact://{artifact_path(report, name)}" if name in artifacts else "")

    return Page(
        address=address,
        shade=_shade,
        shades=_SHADES,
        rest="the whole report",
        open_rows=10,
        open_examples=5,
        rows=50,
        columns=4,
        labels=12,
        cell=200,
        text=20_000,
    )


def _shade(level: int, right: bool) -> str:
    """Buildkite takes no color but those of its classes, which have no lighter shades."""
    if right:
        return "px1 rounded bg-silver black"
    return ("px1", "px1", "px1 rounded bg-yellow black", "px1 rounded bg-orange black")[min(level, 3)]
