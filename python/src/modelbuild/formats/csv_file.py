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
    """A file: the names of its columns, and its rows, in which a cell that is not there is empty."""

    columns: tuple[str, ...]
    rows: list[dict[str, str]]


def read(path: Path, wanted: Collection[str] | None = None) -> CsvFile:
    """The columns and rows of a file.

    Args:
        path: the file.
        wanted: the columns that rows have, as far as the file has them; None for all.

    Raises:
        CsvError: the file is not there, is not UTF-8, or is no CSV.
    """
    try:
        # utf-8-sig, because spreadsheets begin their files with a byte order mark.
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            columns = tuple(reader.fieldnames or ())
            kept = [name for name in columns if wanted is None or name in wanted]
            return CsvFile(columns, [{name: row[name] or "" for name in kept} for row in reader])
    except OSError as error:
        raise CsvError(error.strerror) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise CsvError(str(error)) from error
