"""What a run logged beside numbers: tables, confusion matrices and precision-recall curves.

The SDK uploads each as a table in a JSON file, and names its chart in the configuration of the run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelbuild_local.wandb.charts import HEIGHT, WIDTH, is_number, scaled
from modelbuild_local.wandb.errors import MALFORMED
from modelbuild_local.wandb.files import Files
from modelbuild_local.wandb.query import walk
from modelbuild_local.wandb.state import Run

SHOWN_ROWS = 100
"""How many rows of a table the page shows."""

_LARGEST_TABLE = 16 * 1024 * 1024
_CONFUSION = "wandb/confusion_matrix/"
_CURVES = "wandb/area-under-curve/"
_SHADES = 9


@dataclass(frozen=True)
class Table:
    """A table that a run logged; ``total`` is the number of its rows, of which ``rows`` are the first."""

    name: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    total: int


@dataclass(frozen=True)
class Confusion:
    """How often each true label (row) got each predicted label (column).

    Each cell has its count, and its share of the row as a shade from 0 to 9.
    """

    title: str
    labels: Sequence[str]
    rows: Sequence[tuple[str, Sequence[tuple[float, int]]]]


@dataclass(frozen=True)
class Curves:
    """Curves in a square from 0 to 1: the label and the points of each, in SVG's format."""

    title: str
    x: str
    y: str
    lines: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Media:
    """All that a page shows of a run beside numbers."""

    tables: list[Table]
    confusions: list[Confusion]
    curves: list[Curves]


def media(run: Run, files: Files) -> Media:
    """The media of a run, by name; a file that is no table is left out."""
    found = Media([], [], [])
    for name, content in sorted(_logged_tables(run, files), key=lambda item: item[0]):
        chart = ("_wandb", "value", "visualize", name.removesuffix("_table"), "panel_config")
        try:
            _add(found, name, content, walk(run.config, chart) or {})
        except MALFORMED:
            continue
    return found


def _add(found: Media, name: str, content: Mapping[str, Any], chart: Mapping[str, Any]) -> None:
    columns, rows = [*map(str, content["columns"])], [list(row) for row in content["data"]]
    kind, fields = str(chart.get("panelDefId", "")), chart.get("fieldSettings", {})
    title = str(chart.get("stringSettings", {}).get("title") or name)
    records = (dict(zip(columns, row, strict=True)) for row in rows)
    if kind.startswith(_CONFUSION):
        found.confusions.append(_confusion(title, records, fields))
    elif kind.startswith(_CURVES):
        found.curves.append(_curves(title, records, fields))
    else:
        found.tables.append(Table(name, columns, rows[:SHOWN_ROWS], len(rows)))


def _logged_tables(run: Run, files: Files) -> Iterator[tuple[str, Any]]:
    for name, value in run.summary.items():
        if not isinstance(value, dict) or value.get("_type") != "table-file":
            continue
        id = run.files.get(str(value.get("path")))
        if id is None or not files.exists(id) or files.size(id) > _LARGEST_TABLE:
            continue
        try:
            yield name, json.loads(files.path(id).read_bytes(), parse_constant=str)
        except MALFORMED:
            continue


def _confusion(title: str, records: Iterator[Mapping[str, Any]], fields: Mapping[str, str]) -> Confusion:
    counts = {
        (str(row[fields["Actual"]]), str(row[fields["Predicted"]])): float(row[fields["nPredictions"]])
        for row in records
    }
    labels = list(dict.fromkeys(actual for actual, _ in counts))
    rows = []
    for actual in labels:
        numbers = [counts.get((actual, predicted), 0.0) for predicted in labels]
        total = sum(numbers) or 1.0
        rows.append((actual, [(number, round(_SHADES * number / total)) for number in numbers]))
    return Confusion(title, labels, rows)


def _curves(title: str, records: Iterator[Mapping[str, Any]], fields: Mapping[str, str]) -> Curves:
    points: dict[str, list[str]] = {}
    for row in records:
        x, y = row[fields["x"]], row[fields["y"]]
        if is_number(x) and is_number(y):
            at = f"{scaled(x, 0, 1, WIDTH)},{round(HEIGHT - scaled(y, 0, 1, HEIGHT), 2)}"
            points.setdefault(str(row[fields["class"]]), []).append(at)
    lines = [(label, " ".join(line)) for label, line in points.items()]
    return Curves(title, fields["x"], fields["y"], lines)
