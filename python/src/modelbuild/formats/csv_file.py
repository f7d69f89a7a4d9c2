"""Reads CSV files of users: UTF-8, with a first line that names the columns."""

from __future__ import annotations

import csv
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path


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
        CsvError: the file is not there, is not UTF-8, or is no CSV, or a row has more or fewer cells than
            there are columns.
    """
    try:
        # utf-8-sig, because spreadsheets begin their files with a byte order mark.
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            columns = tuple(next(reader, ()))
            kept = [(place, name) for place, name in enumerate(columns) if wanted is None or name in wanted]
            rows = []
            for cells in reader:
                if not any(cell.strip() for cell in cells) and len(cells) < len(columns):
                    continue
                if len(cells) != len(columns):
                    raise CsvError(_other_cells(reader.line_num, len(cells), len(columns)))
                rows.append({name: cells[place] for place, name in kept})
            return CsvFile(columns, rows)
    except OSError as error:
        raise CsvError(error.strerror) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise CsvError(str(error)) from error


def _other_cells(line: int, cells: int, columns: int) -> str:
    row = f"the row that ends at line {line} has {cells} cell{'' if cells == 1 else 's'}"
    file = f"the first line names {columns} column{'' if columns == 1 else 's'}"
    if cells > columns:
        return f"{row}, but {file}: put texts with commas into double quotes"
    return f"{row}, but {file}: give it a cell for each, which may be empty"
