"""The report as the annotation of the build page, which has at most one MiB."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from markupsafe import Markup

from modelbuild.annotation import LIMIT_BYTES, render
from modelbuild.contract import Report
from modelbuild.report.build import HeadJob, artifact_path
from modelbuild.report.sections import SECTIONS, Page, render_sections

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
    sizes = {name: len(sections[name].encode()) for name in _IMPORTANCE if name in sections}
    kept = _fitting(sizes)
    omitted = [title for name, title in SECTIONS.items() if name in sizes.keys() - kept]
    note = render("modelbuild.report", "omitted.html.j2", omitted=omitted) if omitted else ""
    return "".join(html for name, html in sections.items() if name in kept) + note


def _fitting(sizes: Mapping[str, int]) -> set[str]:
    """The sections that fit into an annotation, by their sizes in bytes in the order of importance.

    The least important ones are left out until the rest fits; then what still fits of them is taken back.
    """
    kept = list(sizes)
    while sum(sizes[name] for name in kept) > _BUDGET_BYTES:
        kept.pop()
    for name in sizes:
        if name not in kept and sum(sizes[one] for one in [*kept, name]) <= _BUDGET_BYTES:
            kept.append(name)
    return set(kept)


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
