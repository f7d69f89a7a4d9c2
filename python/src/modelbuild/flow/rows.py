"""Rows of a file that lies beside a flow, and which of them are held out of the training."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from modelbuild import csv_file, log
from modelbuild.errors import ConfigurationError
from modelbuild.serving.limits import MAX_CHARACTERS
from modelbuild.serving.text import has_tokens

Row = TypeVar("Row")


def read_csv(path: Path, columns: Iterable[str]) -> list[dict[str, str]]:
    """The rows of a CSV file whose first line names its columns, each with the columns that are asked for.

    Raises:
        ConfigurationError: the file is not there, is not UTF-8 or no CSV, has no rows, or lacks a column.
    """
    required = list(columns)
    try:
        found = csv_file.read(path, required)
    except csv_file.CsvError as error:
        raise ConfigurationError(f"{path} cannot be read as CSV in UTF-8: {error}") from error
    missing = [name for name in required if name not in found.columns]
    if missing:
        raise ConfigurationError(
            f"{path.name} has no column {missing[0]!r}: its columns are {', '.join(found.columns) or 'none'}"
        )
    if not found.rows:
        raise ConfigurationError(f"{path.name} has no rows below its first line, which names the columns")
    return found.rows


def read_labelled_texts(path: Path, text: str, label: str) -> list[tuple[str, str]]:
    """The texts of a CSV file with their labels, each text once.

    Leaves out rows without a label, texts that the server refuses because they have no token or are too long,
    and texts with contradictory labels.

    Args:
        path: the file.
        text: the column with the texts.
        label: the column with the labels.

    Raises:
        ConfigurationError: the file cannot be read, or fewer than two labels are left.
    """
    labels: dict[str, set[str]] = {}
    rows = read_csv(path, (text, label))
    for row in rows:
        served = len(row[text]) <= MAX_CHARACTERS and has_tokens(row[text])
        if served and row[label].strip():
            labels.setdefault(row[text], set()).add(row[label].strip())
    kept = [(one, next(iter(found))) for one, found in labels.items() if len(found) == 1]
    if len({found for _, found in kept}) < 2:
        raise ConfigurationError(
            f"column {label!r} of {path.name} has fewer than two labels for texts of column {text!r}: a "
            "classifier needs two"
        )
    log.say(f"{path.name}: {len(rows):,} rows, of which {len(kept):,} texts with one label each.")
    return kept


def split(
    rows: Iterable[Row], key: Callable[[Row], str], *, test_percent: int, seed: int
) -> tuple[list[Row], list[Row]]:
    """The rows to train on and the rows held out; rows with the same key are on the same side.

    A row's side depends on its key and the seed alone, so that more rows leave the others where they are.

    Raises:
        ConfigurationError: one side has no rows.
    """
    train: list[Row] = []
    test: list[Row] = []
    for row in rows:
        (test if _percentile(key(row), seed) < test_percent else train).append(row)
    if not train or not test:
        raise ConfigurationError(
            f"the parameter test_percent is {test_percent}: that leaves {len(train)} rows to train on and "
            f"{len(test)} to evaluate with: change it, or the seed, or add rows"
        )
    return train, test


def _percentile(key: str, seed: int) -> int:
    digest = hashlib.sha256(f"{seed}:{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % 100
