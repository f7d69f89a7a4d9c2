"""Rows of a file that lies beside a flow, and which of them are held out of the training."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from typing import TypeVar

from modelbuild import log
from modelbuild.errors import ConfigurationError
from modelbuild.flow.parameters import HeldOut
from modelbuild.formats import csv_file
from modelbuild.serving.limits import MAX_CHARACTERS
from modelbuild.serving.text import has_tokens, normalize

Row = TypeVar("Row")

SAME_TEXT = "the same text as another row"
CONTRADICTORY_LABELS = "the same text with another label"
REFUSED_TEXT = f"a text without a word, or of more than {MAX_CHARACTERS:,} characters"
NO_LABEL = "no label"


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
    """The texts of a CSV file with their labels, without rows that have no label, see :func:`distinct`.

    Args:
        path: the file.
        text: the column with the texts.
        label: the column with the labels.

    Raises:
        ConfigurationError: the file cannot be read, or fewer than two labels are left.
    """
    rows = read_csv(path, (text, label))
    labelled = [(row[text], row[label].strip()) for row in rows if row[label].strip()]
    dropped = {NO_LABEL: len(rows) - len(labelled)}
    kept = distinct(labelled, text=lambda row: row[0], label=lambda row: row[1], dropped=dropped)
    left_out = "".join(f", {count:,} left out ({reason})" for reason, count in dropped.items() if count)
    if len({found for _, found in kept}) < 2:
        raise ConfigurationError(
            f"column {label!r} of {path.name} has fewer than two labels for texts of column {text!r}: a "
            f"classifier needs two, and of {len(rows):,} rows {len(kept):,} are left{left_out}"
        )
    log.info(f"{path.name}: {len(rows):,} rows, of which {len(kept):,} texts with one label each{left_out}.")
    return kept


def distinct(
    rows: Iterable[Row],
    *,
    text: Callable[[Row], str],
    label: Callable[[Row], Hashable],
    dropped: dict[str, int] | None = None,
) -> list[Row]:
    """Each text once: of rows with the same text the first one, in the order of the rows.

    Texts are the same if they differ only in case, spaces or what else
    :func:`~modelbuild.serving.text.normalize` makes equal. Leaves out texts with contradictory labels, and
    texts that the server refuses because they have no token or are too long.

    Args:
        rows: the rows.
        text: what the model is given of a row.
        label: what it has to predict.
        dropped: gets the number of rows that are left out, by reason.
    """
    same_text: dict[str, list[Row]] = {}
    refused = 0
    for row in rows:
        if len(text(row)) <= MAX_CHARACTERS and has_tokens(text(row)):
            same_text.setdefault(" ".join(normalize(text(row)).split()), []).append(row)
        else:
            refused += 1
    return one_of_each(same_text.values(), label=label, dropped=dropped, refused=refused)


def one_of_each(
    groups: Iterable[list[Row]],
    *,
    label: Callable[[Row], Hashable],
    dropped: dict[str, int] | None = None,
    refused: int = 0,
) -> list[Row]:
    """The first row of each group of rows with the same text, without groups of contradictory labels.

    Args:
        groups: the rows, as groups of at least one.
        label: what the model has to predict.
        dropped: gets the number of rows that are left out, by reason.
        refused: how many rows are in no group, because the server refuses their texts.
    """
    kept, same, contradictory = [], 0, 0
    for group in groups:
        if len({label(row) for row in group}) == 1:
            kept.append(group[0])
            same += len(group) - 1
        else:
            contradictory += len(group)
    if dropped is not None:
        dropped.update({SAME_TEXT: same, CONTRADICTORY_LABELS: contradictory, REFUSED_TEXT: refused})
    return kept


def split(
    rows: Iterable[Row], key: Callable[[Row], str], *, test_percent: int, seed: int
) -> tuple[list[Row], list[Row]]:
    """The rows to train on and the rows held out; rows with the same key are on the same side.

    A row's side depends on its key and the seed alone, so added rows do not move the others.

    Raises:
        ConfigurationError: one side has no rows.
    """
    return _divided(
        rows,
        lambda row: _percentile(key(row), seed) < test_percent,
        f"{test_percent} percent are held out",
        "change this number, or the seed, or add rows",
    )


def hold_out(
    rows: Iterable[Row], key: Callable[[Row], str], held_out: HeldOut, seed: int
) -> tuple[list[Row], list[Row]]:
    """The rows to train on and the rows held out, by a parameter that says what is held out.

    Args:
        rows: the rows.
        key: what the rows have in common that must be on one side.
        held_out: a number is the ``test_percent`` of :func:`split`; a text is what the keys that are held out
            begin with, for rows that come with a split of their own.
        seed: decides together with the key, where ``held_out`` is a number.

    Raises:
        ConfigurationError: one side has no rows.
    """
    if isinstance(held_out, int):
        return split(rows, key, test_percent=held_out, seed=seed)
    rule = f"what begins with {held_out!r} is held out"
    return _divided(rows, lambda row: key(row).startswith(held_out), rule, "change this text, or add rows")


def _divided(
    rows: Iterable[Row], is_held_out: Callable[[Row], bool], rule: str, fix: str
) -> tuple[list[Row], list[Row]]:
    train: list[Row] = []
    test: list[Row] = []
    for row in rows:
        (test if is_held_out(row) else train).append(row)
    if not train or not test:
        raise ConfigurationError(
            f"{rule}: that leaves {len(train)} rows to train on and {len(test)} to evaluate with: {fix}"
        )
    return train, test


def _percentile(key: str, seed: int) -> int:
    digest = hashlib.sha256(f"{seed}:{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % 100
