"""The predictions of a model for its evaluation rows, and which rows two models share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from modelbuild.comparison import memory
from modelbuild.errors import VerificationFailed

Codes = npt.NDArray[np.int64]
"""The number of a label for each row."""

_LEAST_BYTES = 4 << 30
_TIMES_COMPRESSED = 50
"""How many times its size a file may take as a table; a small file may take :data:`_LEAST_BYTES`. Without a
limit, a file of 100 kB can describe terabytes."""


@dataclass(frozen=True)
class PredictionTable:
    """The columns of :class:`modelbuild.contract.PredictionsFile`, sorted by id."""

    table: pa.Table

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def column(self, name: str) -> pa.ChunkedArray:
        """A column by its name."""
        return self.table.column(name)

    def names(self, prefix: str) -> list[str]:
        """The names, without the prefix, of the columns whose names begin with ``prefix``."""
        return [name.removeprefix(prefix) for name in self.table.column_names if name.startswith(prefix)]

    def row_metrics(self, baseline: str = "") -> dict[str, npt.NDArray[np.float64]]:
        """The values of metrics that are means over the rows, by the metric's name: of the model, or of a
        baseline.
        """
        found = {}
        for column in self.names("metric:"):
            name, _, of = column.partition(":")
            if of == baseline:
                found[name] = np.asarray(self.column(f"metric:{column}").to_numpy(), dtype=float)
        return found

    def has_inputs(self) -> bool:
        """Whether the file holds the inputs."""
        return "input" in self.table.column_names

    def take(self, rows: Codes) -> PredictionTable:
        """Some of the rows, by their positions."""
        return PredictionTable(self.table.take(pa.array(rows)))

    def records(self, rows: Codes, columns: Sequence[str]) -> list[dict[str, Any]]:
        """Some rows as mappings from the names of columns to values; an absent column is left out."""
        present = [name for name in columns if name in self.table.column_names]
        return list(self.table.select(present).take(pa.array(rows)).to_pylist())


def read(content: bytes, uri: str, columns: Sequence[str] | None = None) -> PredictionTable:
    """The predictions in a Parquet file.

    Args:
        content: the bytes of the file.
        uri: where it lies, for the error.
        columns: the names of the columns to read, if the file has them; by default all.

    Raises:
        VerificationFailed: it is no such file, or takes too much memory as a table.
    """
    limit = max(_LEAST_BYTES, _TIMES_COMPRESSED * len(content))
    try:
        with memory.limited(limit):
            # The stacks of many threads would count as memory of the table.
            table = pq.ParquetFile(pa.BufferReader(content)).read(columns, use_threads=False)
            return PredictionTable(_verified(table))
    except MemoryError as error:
        raise VerificationFailed(
            f"{uri} has {len(content):,} bytes and takes more than {limit:,} as a table, or more than this "
            "machine has: keep fewer or shorter evaluation rows, or give the agent more memory"
        ) from error
    # pyarrow raises OSError for broken pages, and ValueError for names that are no Unicode.
    except (pa.ArrowException, OSError, ValueError, _Malformed) as error:
        reason = str(error) if isinstance(error, _Malformed) else type(error).__name__
        raise VerificationFailed(
            f"{uri} holds no predictions of this version of modelbuild ({reason}): start a new build, whose "
            "programs all have one version"
        ) from error


class _Malformed(Exception):
    """A table holds no predictions; the message is why."""


def _verified(table: pa.Table) -> pa.Table:
    """A table that a flow wrote, sorted by id, as the rest of this package expects it."""
    # Without this, arrow believes what the file says about its texts.
    table.validate(full=True)
    names = table.column_names
    if len(set(names)) < len(names):
        raise _Malformed("two columns have one name")
    for name in ("id", "truth", "prediction"):
        if name not in names:
            raise _Malformed(f"it has no column {name}")
    for name in names:
        column = table.column(name)
        if column.null_count:
            raise _Malformed(f"column {name} lacks values")
        if not _has_expected_type(name, column):
            raise _Malformed(f"column {name} is of type {column.type}")
        if name in ("truth", "prediction") and not _is_finite(column):
            raise _Malformed(f"column {name} has numbers that are not finite")
    truth, prediction = table.column("truth").type, table.column("prediction").type
    if truth != prediction and not (_is_number(truth) and _is_number(prediction)):
        raise _Malformed(f"column truth is of type {truth}, and column prediction of type {prediction}")
    return _sorted_by_id(table)


def _has_expected_type(name: str, column: pa.ChunkedArray) -> bool:
    is_text = bool(pa.types.is_string(column.type))
    if name in ("id", "input") or name.startswith("slice:"):
        return is_text
    if name.startswith(("score:", "metric:")):
        return _is_number(column.type)
    return is_text or _is_number(column.type) or bool(pa.types.is_boolean(column.type))


def _is_finite(column: pa.ChunkedArray) -> bool:
    return not pa.types.is_floating(column.type) or bool(pc.all(pc.is_finite(column), min_count=0).as_py())


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _sorted_by_id(table: pa.Table) -> pa.Table:
    # Flows write the rows sorted, and a copy of them takes as much memory again.
    if _ascends(table):
        return table
    found = table.sort_by("id")
    if not _ascends(found):
        raise _Malformed("two rows have one id")
    return found


def _ascends(table: pa.Table) -> bool:
    ids = table.column("id")
    return bool(pc.all(pc.less(ids[:-1], ids[1:]), min_count=0).as_py())


def same_rows(first: PredictionTable, second: PredictionTable) -> bool:
    """Whether two tables have the same ids, so that they can be compared row by row."""
    return bool(first.column("id").equals(second.column("id")))


def shared_rows(first: PredictionTable, second: PredictionTable) -> tuple[Codes, Codes]:
    """The positions, in each of two tables, of the rows that both have: with the same id, input and truth.

    1 and 1.0 are the same truth, because one number with a fraction makes all of a column floats.
    """
    keys = ["id", "input", "truth"]
    if not (first.has_inputs() and second.has_inputs()):
        return np.array([], dtype=np.int64), np.array([], dtype=np.int64)
    truths = [table.column("truth") for table in (first, second)]
    if truths[0].type != truths[1].type:
        if not all(_is_number(truth.type) for truth in truths):
            return np.array([], dtype=np.int64), np.array([], dtype=np.int64)
        truths = [truth.cast(pa.float64(), safe=False) for truth in truths]
    numbered = [
        pa.table([table.column("id"), table.column("input"), truth, np.arange(len(table))], [*keys, name])
        for name, table, truth in zip(("first", "second"), (first, second), truths, strict=True)
    ]
    joined = numbered[0].join(numbered[1], keys, join_type="inner").sort_by("first")
    return np.asarray(joined.column("first").to_numpy()), np.asarray(joined.column("second").to_numpy())


def are_alike(columns: Sequence[pa.ChunkedArray]) -> bool:
    """Whether the values of some columns can be equal: they have one type, or all are numbers."""
    kinds = [column.type for column in columns]
    return len({*kinds}) == 1 or all(map(_is_number, kinds))


def label_codes(columns: Iterable[pa.ChunkedArray]) -> tuple[list[Any], list[Codes]]:
    """Numbers for the labels in some columns, which are alike; 1 and 1.0 are the same label.

    Returns:
        The labels, sorted, and the numbers of each column.
    """
    found = list(columns)
    if len({column.type for column in found}) > 1:
        found = [column.cast(pa.float64(), safe=False) for column in found]
    labels = sorted({label for column in found for label in pc.unique(column).to_pylist()}, key=str)
    values = pa.array(labels, found[0].type)
    return labels, [np.asarray(pc.index_in(column, values).to_numpy(), dtype=np.int64) for column in found]
