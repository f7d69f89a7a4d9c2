from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pytest

from modelbuild.formats import csv_file


def read(folder: Path, text: str, wanted: Collection[str] | None = None) -> list[dict[str, str]]:
    """The rows of a file with this text."""
    path = folder / "data.csv"
    path.write_text(text, encoding="utf-8")
    return csv_file.read(path, wanted).rows


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


@pytest.mark.parametrize("header", ["text;label", "text\tlabel"])
def test_columns_without_commas_between_them_are_named(header: str, tmp_path: Path) -> None:
    """A spreadsheet may write semicolons or tabs, and texts have commas: quotes around these are no help."""
    with pytest.raises(csv_file.CsvError, match=r"names one column, .*: put commas between the columns"):
        read(tmp_path, f"{header}\nHello, world{header[4]}good\n")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"PK\x03\x04\x14\0", "a zip archive, as workbooks of spreadsheets are"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "a workbook of a spreadsheet"),
        (b"PAR1\x15\xff", "a Parquet file"),
        (b"\x1f\x8b\x08\0", "compressed by gzip"),
    ],
)
def test_a_file_of_another_format_is_named(content: bytes, what: str, tmp_path: Path) -> None:
    """Another encoding or other separators would not make it CSV."""
    (tmp_path / "data.csv").write_bytes(content)
    with pytest.raises(csv_file.CsvError, match=f"^it is {what}: export its rows as CSV$"):
        csv_file.read(tmp_path / "data.csv")


def test_a_column_may_be_named_as_parquet_begins(tmp_path: Path) -> None:
    """PAR1 is also the name of a gene."""
    assert read(tmp_path, "PAR1,label\na,b\n") == [{"PAR1": "a", "label": "b"}]


def test_a_text_may_be_long(tmp_path: Path) -> None:
    """One mail with an attachment does not keep all others from being read."""
    long = "a " * 100_000
    assert read(tmp_path, f'text,label\n"{long}",good\n') == [{"text": long, "label": "good"}]


@pytest.mark.parametrize(
    "rows", ['x,good\n"two\nlines",good\n"x,good\n' + "y,bad\n" * 50_000, 'x,y\n\n\n"a" b,x\n']
)
def test_a_quote_is_found(rows: str, tmp_path: Path) -> None:
    """A quote that is not closed takes in the rest of the file: the sentence has the line of its row."""
    with pytest.raises(csv_file.CsvError, match=r"in the row that begins at line 5: close each double quote"):
        read(tmp_path, f"text,label\n{rows}")


def test_a_name_of_two_columns_is_refused_where_it_is_wanted(tmp_path: Path) -> None:
    """Nobody could know which of them is meant; other columns may be called as they like."""
    with pytest.raises(csv_file.CsvError, match="2 columns have the name 'label'"):
        read(tmp_path, "text,label,label\na,b,c\n", ("text", "label"))
    assert read(tmp_path, "text,,\na,b,c\n", ("text",)) == [{"text": "a"}]


def test_empty_lines_may_come_first(tmp_path: Path) -> None:
    """The first line with anything in it names the columns."""
    assert read(tmp_path, "\n\ntext\na\n") == [{"text": "a"}]
