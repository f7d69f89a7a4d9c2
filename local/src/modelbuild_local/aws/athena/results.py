"""The results of a query in Athena's formats: columns with Trino's types, text, CSV and Parquet."""

from __future__ import annotations

import datetime
import decimal
import io
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from modelbuild_local.aws.athena.statement import QueryFailed

# Arrow type → Trino type, precision. Athena tells the precision of every type, also where it means nothing.
_SIMPLE: dict[Any, tuple[str, int]] = {
    pa.bool_(): ("boolean", 0),
    pa.int8(): ("tinyint", 3),
    pa.int16(): ("smallint", 5),
    pa.int32(): ("integer", 10),
    pa.int64(): ("bigint", 19),
    pa.float32(): ("float", 17),
    pa.float64(): ("double", 17),
    pa.date32(): ("date", 0),
    pa.binary(): ("varbinary", 0),
    pa.string(): ("varchar", 2147483647),
}


def normalized(table: pa.Table) -> pa.Table:
    """The table with Trino's types, whose integers have at most 64 bits.

    Raises:
        QueryFailed: a number does not fit.
    """
    fields = []
    for field in table.schema:
        kind = field.type
        if pa.types.is_decimal(kind) and (kind.precision, kind.scale) == (38, 0):
            kind = pa.int64()  # DuckDB's HUGEINT, such as the sum of integers
        elif pa.types.is_uint64(kind) or pa.types.is_uint32(kind):
            kind = pa.int64()
        elif pa.types.is_null(kind):
            kind = pa.string()
        fields.append(pa.field(field.name, kind))
    try:
        return table.cast(pa.schema(fields))
    except pa.ArrowInvalid as error:
        raise QueryFailed(f"NUMERIC_VALUE_OUT_OF_RANGE: bigint: {error}") from None


def columns(table: pa.Table) -> list[dict[str, Any]]:
    """ColumnInfo of every column."""
    infos = []
    for field in table.schema:
        kind, precision, scale = _trino(field.type)
        infos.append(
            {
                "CatalogName": "hive",
                "SchemaName": "",
                "TableName": "",
                "Name": field.name,
                "Label": field.name,
                "Type": kind,
                "Precision": precision,
                "Scale": scale,
                "Nullable": "UNKNOWN",
                "CaseSensitive": kind in ("varchar", "char"),
            }
        )
    return infos


def rows(table: pa.Table) -> list[list[str | None]]:
    """Every row, with each value as Athena's text; None for NULL."""
    listed: list[Any] = [column.to_pylist() for column in table.columns]
    records: Iterable[tuple[Any, ...]] = zip(*listed, strict=True)
    return [[None if value is None else text(value) for value in record] for record in records]


def csv(names: list[str], values: list[list[str | None]]) -> bytes:
    """The result file: all values in quotes, except NULL, which is empty."""
    lines: list[Sequence[str | None]] = [names, *values]
    return "".join(
        ",".join("" if value is None else '"' + value.replace('"', '""') + '"' for value in line) + "\n"
        for line in lines
    ).encode()


def parquet(table: pa.Table, compression: str) -> bytes:
    """The table as one Parquet file."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression=compression)
    return buffer.getvalue()


def text(value: Any) -> str:
    """One value as Athena's text, for example ``1.0E10``, ``[a, b]`` and ``{k=v}``."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _java_double(value)
    if isinstance(value, decimal.Decimal):
        return f"{value:f}"
    if isinstance(value, datetime.datetime):
        shown = f"{value:%Y-%m-%d %H:%M:%S}.{value.microsecond // 1000:03d}"
        return f"{shown} UTC" if value.tzinfo else shown
    if isinstance(value, (bytes, bytearray)):
        return value.hex(" ")
    if isinstance(value, list):
        if value and all(isinstance(item, tuple) for item in value):  # a map, as Arrow gives it
            return "{" + ", ".join(f"{text(key)}={text(item)}" for key, item in value) + "}"
        return "[" + ", ".join(text(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}={text(item)}" for key, item in value.items()) + "}"
    return str(value)


def _trino(kind: pa.DataType) -> tuple[str, int, int]:
    if kind in _SIMPLE:
        name, precision = _SIMPLE[kind]
        return name, precision, 0
    if pa.types.is_decimal(kind):
        return "decimal", kind.precision, kind.scale
    if pa.types.is_timestamp(kind):
        return ("timestamp with time zone" if kind.tz else "timestamp"), 3, 0
    if pa.types.is_map(kind):
        return "map", 0, 0
    if pa.types.is_list(kind):
        return "array", 0, 0
    if pa.types.is_struct(kind):
        return "row", 0, 0
    return "varchar", 2147483647, 0


def _java_double(value: float) -> str:
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "Infinity" if value > 0 else "-Infinity"
    if value == 0 or 1e-3 <= abs(value) < 1e7:
        return repr(value)
    sign, digits, exponent = decimal.Decimal(repr(value)).normalize().as_tuple()
    first, rest = str(digits[0]), "".join(map(str, digits[1:])) or "0"
    return f"{'-' if sign else ''}{first}.{rest}E{int(exponent) + len(digits) - 1}"
