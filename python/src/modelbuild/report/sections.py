"""The sections of the report as HTML, which the annotation and the document share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from modelbuild.annotation import render
from modelbuild.aws.console import object_url
from modelbuild.contract import MANIFEST_FILE, Report, figure
from modelbuild.contract.report import Changes
from modelbuild.formats import agent_yaml
from modelbuild.report.build import HeadJob
from modelbuild.report.candidates import candidates_table
from modelbuild.report.comparisons import model_rows, shown_metrics
from modelbuild.report.examples import shown_examples
from modelbuild.report.headline import title
from modelbuild.report.matrix import matrix_rows, most_confused
from modelbuild.report.pictures import expected_pictures
from modelbuild.report.slices import slice_tables
from modelbuild.text import counted, named

SECTIONS: Mapping[str, str] = {
    "headline": "verdict",
    "comparison": "other models",
    "candidates": "candidates",
    "slices": "slices",
    "changes": "changes",
    "gates": "gates",
    "pictures": "pictures",
    "confusion": "confusion matrix",
    "examples": "examples",
    "warnings": "warnings",
    "details": "details",
}
"""The sections in the order of the page, with their names for people."""


@dataclass(frozen=True)
class Page:
    """How a page shows a report.

    Attributes:
        address: the address of a file of the report by its name; empty for a file that is not there.
        shade: the classes of a cell of the confusion matrix, by its level and whether the prediction is
            right.
        shades: a sentence about these shades.
        rest: the name of the file that has what the page leaves out.
        open_rows: how many rows of a table are open; the others are folded.
        open_examples: the same for the table of mistakes.
        rows: how many rows a table has at most.
        columns: how many metrics of all rows, and how many slicing columns, there are at most.
        labels: how many labels a confusion matrix may have to be shown as a table.
        cell: how many characters of a value in a table are shown.
        text: how many characters of a long text, such as a query, are shown.
    """

    address: Callable[[str], Markup]
    shade: Callable[[int, bool], str]
    shades: str
    rest: str
    open_rows: int
    open_examples: int
    rows: int
    columns: int
    labels: int
    cell: int
    text: int


def render_sections(report: Report, job: HeadJob, page: Page) -> Iterator[tuple[str, str]]:
    """The name and the HTML of each section that the report has something for, in the order of the page."""
    values = _values(report, page)
    for name in SECTIONS:
        html = render("modelbuild.report", f"{name}.html.j2", report=report, job=job, page=page, **values)
        if html.strip():
            yield name, html


def _values(report: Report, page: Page) -> dict[str, Any]:
    manifest = report.manifest
    request, matrix, examples = manifest.request, report.confusion, report.examples
    metrics = shown_metrics(report)[: page.columns]
    manifest_path = f"{request.artifacts}/{MANIFEST_FILE}"
    small = matrix is not None and len(matrix.labels) <= page.labels
    return {
        "figure": figure,
        "counted": counted,
        "named": named,
        "title": title(report),
        # What failed is never among the folded rows.
        "gates": sorted(report.gates, key=lambda gate: gate.passed),
        "candidates": candidates_table(report, page.columns),
        "metrics": metrics,
        "models": model_rows(report, metrics),
        "slices": slice_tables(report),
        "pictures": expected_pictures(report),
        "matrix": matrix_rows(matrix) if matrix and small else [],
        "confused": most_confused(matrix) if matrix and not small else [],
        "mistakes": shown_examples(examples.mistakes) if examples else [],
        "differences": shown_examples(examples.differences) if examples else [],
        "parameters": agent_yaml.dump(request.parameters, allow_unicode=True).rstrip(),
        "unchanged": _unchanged(report.changes) if report.changes else [],
        "total_cost": _total_cost(report),
        "manifest_path": manifest_path,
        "urls": {
            "model": object_url(manifest.artifact.path),
            "manifest": object_url(manifest_path),
            "predictions": object_url(manifest.predictions.path),
        },
        "root": request.artifacts.rsplit("/", 2)[0],
    }


def _total_cost(report: Report) -> str:
    prices = [line.price for line in report.cost if line.price is not None]
    if not prices:
        return ""
    at_least = "" if len(prices) == len(report.cost) else "at least "
    return f"{at_least}{sum(prices):.2f} {report.currency}"


def _unchanged(changes: Changes) -> list[str]:
    kinds = ("parameters", "data", "images", "packages")
    return [kind for kind in kinds if not getattr(changes, kind)]


def fitting(
    sections: Mapping[str, str], importance: Sequence[str], limit: int, size: Callable[[str], int]
) -> str:
    """Those sections that fit into a page, in their order, and a note that names the others.

    The least important ones are left out until the rest fits; then what still fits of them is taken back.

    Args:
        sections: the HTML of each section by its name.
        importance: the names of the sections, the most important one first.
        limit: how large the page may be, beside the note.
        size: the size of HTML as the page counts it.
    """
    sizes = {name: size(sections[name]) for name in importance if name in sections}
    kept = list(sizes)
    while sum(sizes[name] for name in kept) > limit:
        kept.pop()
    for name in sizes:
        if name not in kept and sum(sizes[one] for one in [*kept, name]) <= limit:
            kept.append(name)
    omitted = [title for name, title in SECTIONS.items() if name in sizes and name not in kept]
    note = render("modelbuild.report", "omitted.html.j2", omitted=omitted) if omitted else ""
    return "".join(html for name, html in sections.items() if name in kept) + note
