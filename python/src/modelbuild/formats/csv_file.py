"""Reads CSV files of users: UTF-8, with a first line that names the columns."""

from __future__ import annotations

import csv
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

_LONGEST = 2**31 - 1
# How files of other formats begin that data often come in; no CSV begins so.
_OTHERS = {
    b"PK\x03\x04": "a zip archive, as workbooks of spreadsheets are",
    b"\xd0\xcf\x11\xe0": "a workbook of a spreadsheet",
    b"PAR1\x15": "a Parquet file",
    b"\x1f\x8b": "compressed by gzip",
}


class CsvError(Exception):
    """A file cannot be read as CSV; the text says why."""


@dataclass(frozen=True)
class CsvFile:
    """A file: the names of its columns, and its rows."""

    columns: tuple[str, ...]
    rows: list[dict[str, str]]


def read(path: Path, wanted: Collection[str] | None = None) -> CsvFile:
    """The columns and rows of a file.

    Args:
        path: the file.
        wanted: the columns that rows have, as far as the file has them; None for all.

    Raises:
        CsvError: the file is not there, is not UTF-8, or is no CSV; a row has more or fewer cells than there
            are columns; or two of the wanted columns have one name.
    """
    # A text may be of any length: what is too long for a model is left out later.
    csv.field_size_limit(_LONGEST)
    begin = 1
    try:
        with path.open("rb") as binary:
            beginning = binary.read(5)
        if other := next((what for begins, what in _OTHERS.items() if beginning.startswith(begins)), None):
            raise CsvError(f"it is {other}: export its rows as CSV")
        # utf-8-sig, because spreadsheets begin their files with a byte order mark.
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            columns = tuple(next(filter(None, reader), ()))
            kept = [(place, name) for place, name in enumerate(columns) if wanted is None or name in wanted]
            if wanted is not None and len(kept) > len({name for _, name in kept}):
                raise CsvError(several(columns, wanted))
            rows = []
            begin = reader.line_num + 1
            for cells in reader:
                if any(cell.strip() for cell in cells) or len(cells) >= len(columns):
                    if len(cells) != len(columns):
                        raise CsvError(_other_cells(reader.line_num, cells, columns))
                    rows.append({name: cells[place] for place, name in kept})
                begin = reader.line_num + 1
            return CsvFile(columns, rows)
    except OSError as error:
        raise CsvError(f"{error.strerror}: name a file that can be read") from error
    except UnicodeDecodeError as error:
        raise CsvError(f"{error}: save it in UTF-8") from error
    except csv.Error as error:
        raise CsvError(
            f"{error}, in the row that begins at line {begin}: close each double quote, and double those "
            "within a text"
        ) from error


def several(columns: Sequence[str], wanted: Collection[str]) -> str:
    """What is wrong where several columns have the name of a wanted one; empty if none have."""
    twice = next((name for name in wanted if columns.count(name) > 1), None)
    if twice is None:
        return ""
    return f"{columns.count(twice)} columns have the name {twice!r}: give each a name of its own"


def _other_cells(line: int, cells: Sequence[str], columns: Sequence[str]) -> str:
    row = f"the row that ends at line {line} has {len(cells)} cell{'' if len(cells) == 1 else 's'}"
    if len(columns) == 1:
        return (
            f"{row}, but the first line names one column, {columns[0][:80]!r}: put commas between the "
            "columns, and texts with commas into double quotes"
        )
    file = f"the first line names {len(columns)} columns"
    if len(cells) > len(columns):
        return f"{row}, but {file}: put texts with commas into double quotes"
    return f"{row}, but {file}: give it a cell for each, which may be empty"
