from __future__ import annotations

from pathlib import Path

import pytest

from modelbuild.formats import csv_file


def read(folder: Path, text: str) -> list[dict[str, str]]:
    """The rows of a file with this text."""
    path = folder / "data.csv"
    path.write_text(text, encoding="utf-8")
    return csv_file.read(path).rows


def test_each_row_has_a_cell_for_each_column(tmp_path: Path) -> None:
    """Cells may be empty or quoted, and lines without any cell are no rows."""
    found = read(tmp_path, 'text,label\n"Hello, world",good\n,\n\n   \n"two\nlines",\n')
    assert [(row["text"], row["label"]) for row in found] == [
        ("Hello, world", "good"),
        ("", ""),
        ("two\nlines", ""),
    ]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (
            "Hello, world,good",
            r"line 4 has 3 cells, but the first line names 2 columns: put texts with commas",
        ),
        ("Hello", r"line 4 has 1 cell, but the first line names 2 columns: give it a cell for each"),
    ],
)
def test_a_row_with_other_cells_than_columns_is_refused(tmp_path: Path, row: str, reason: str) -> None:
    """A comma without quotes would make a part of the text the label, and a model would learn it."""
    with pytest.raises(csv_file.CsvError, match=reason):
        read(tmp_path, f'text,label\n"two\nlines",good\n{row}\n')
