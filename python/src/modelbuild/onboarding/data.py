"""The user's own rows, with which ``modelbuild init`` begins."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from modelbuild.errors import ConfigurationError
from modelbuild.formats import csv_file


@dataclass(frozen=True)
class DataFile:
    """A CSV file in UTF-8 whose first line names its columns, as bytes, and which columns are used."""

    content: bytes
    text: str
    label: str
    rows: int
    labels: int
    single: int
    """How many of the labels occur in one row only."""


EXAMPLE = Path(__file__).parent / "templates" / "data.csv"
"""What ``init`` writes where the user gives no rows."""


def read(path: Path, text: str | None, label: str | None) -> DataFile:
    """A file of the user, with the columns of its texts and labels.

    Args:
        path: the file.
        text: the column with the texts; None for the column ``text``, else the one of two columns that has no
            labels.
        label: the column with the labels; None for the column ``label``, else the one of two columns that has
            no texts. If neither column is known, labels are those with fewer values.

    Raises:
        ConfigurationError: the file cannot be read, or it is not known which columns are meant.
    """
    try:
        file = csv_file.read(path)
    except csv_file.CsvError as error:
        raise ConfigurationError(
            f"--data is {path}, which cannot be read as CSV in UTF-8: {error}"
        ) from error
    rows, names = file.rows, file.columns
    shown = ", ".join(names) or "none"
    if len(names) < 2:
        raise ConfigurationError(
            f"the columns of {path} are {shown}: give it a first line with the names of a column of texts "
            "and one of labels, with a comma between them"
        )
    for option, name in (("--text", text), ("--label", label)):
        if name is not None and name not in names:
            raise ConfigurationError(f"{option} is {name!r}, but the columns of {path} are {shown}")
    text, label = _columns(names, rows, text, label)
    chosen = [name for name in (text, label) if name is not None]
    if problem := csv_file.several(names, chosen or (names if len(names) == 2 else ())):
        raise ConfigurationError(f"in {path} {problem}")
    if not text or not label or text == label:
        raise ConfigurationError(
            f"the columns of {path} are {shown}: say with --text and --label which of them have the texts "
            "and their labels"
        )
    labels = Counter(row[label].strip() for row in rows)
    del labels[""]
    if len(labels) < 2:
        raise ConfigurationError(
            f"column {label!r} of {path} has fewer than two labels, and a classifier needs two: say with "
            "--label which column has them"
        )
    single = sum(times == 1 for times in labels.values())
    return DataFile(path.read_bytes(), text, label, len(rows), len(labels), single)


def _columns(
    names: Sequence[str], rows: Sequence[Mapping[str, str]], text: str | None, label: str | None
) -> tuple[str | None, str | None]:
    """The columns of the texts and of the labels; None for one that is not known."""
    if text is None and "text" in names and label != "text":
        text = "text"
    if label is None and "label" in names and text != "label":
        label = "label"
    if len(names) != 2:
        return text, label
    first, second = names
    if text is None and label is None:
        values = {name: len({row[name] for row in rows}) for name in names}
        if values[first] == values[second]:
            return None, None
        label = min(names, key=lambda name: values[name])
    if text is None:
        text = second if label == first else first
    if label is None:
        label = second if text == first else first
    return text, label
