"""Loads the tables that a query reads into DuckDB: Glue's descriptions, and objects of Parquet or JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
from moto.glue.models import glue_backends
from sqlglot import exp

from modelbuild_local.aws.athena.statement import QueryFailed, position
from modelbuild_local.aws.objects import NoSuchObject, Objects, split

CATALOG = "awsdatacatalog"
# By a word in the description of their format.
_READERS = {
    "parquet": "read_parquet({path})",
    "jsonserde": "read_json({path}, format = 'newline_delimited', columns = {columns})",
}


class Lake:
    """The tables of one account's Glue catalogue in one region."""

    def __init__(self, account: str, region: str) -> None:
        self._databases: Mapping[str, Any] = glue_backends[account][region].databases
        self._objects = Objects(account)

    def load(
        self, query: exp.Expr, database: str, connection: duckdb.DuckDBPyConnection, folder: Path
    ) -> int:
        """Load every table that ``query`` names into DuckDB, and rename it in the query.

        Args:
            query: The SELECT; its tables' names are changed to ``database.table``.
            database: The database of tables whose name has none.
            connection: Where the tables are created.
            folder: The folder of objects while they are read.

        Returns:
            The bytes of all objects read.

        Raises:
            QueryFailed: a table is not there, or cannot be read.
        """
        loaded: dict[tuple[str, str], int] = {}
        local = {cte.alias.lower() for cte in query.find_all(exp.CTE)}
        for node in list(query.find_all(exp.Table)):
            if not isinstance(node.this, exp.Identifier):
                name = node.this.name or node.this.sql()
                raise QueryFailed(f"FUNCTION_NOT_FOUND: line 1:1: Table function '{name}' not registered")
            name, schema = node.name.lower(), (node.db or database).lower()
            if not node.db and name in local:
                continue
            table = self._find(node, schema, name)
            node.set("catalog", None)
            node.set("db", exp.to_identifier(schema, quoted=True))
            if (schema, name) not in loaded:
                connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(schema)}")
                target = f"{quoted(schema)}.{quoted(name)}"
                loaded[schema, name] = self._create(target, table, connection, folder)
        return sum(loaded.values())

    def _find(self, node: exp.Table, database: str, name: str) -> Any:
        where = position(node.args.get("catalog") or node.args.get("db") or node.this)
        if node.catalog and node.catalog.lower() != CATALOG:
            raise QueryFailed(f"CATALOG_NOT_FOUND: {where}: Catalog '{node.catalog}' does not exist")
        if database not in self._databases:
            raise QueryFailed(f"SCHEMA_NOT_FOUND: {where}: Schema '{database}' does not exist")
        table = self._databases[database].tables.get(name)
        if table is None:
            raise QueryFailed(f"TABLE_NOT_FOUND: {where}: Table '{CATALOG}.{database}.{name}' does not exist")
        return table

    def _create(self, target: str, table: Any, connection: duckdb.DuckDBPyConnection, folder: Path) -> int:
        description = table.as_dict()
        storage = description.get("StorageDescriptor") or {}
        formats = f"{storage.get('InputFormat')} {storage.get('SerdeInfo')}"
        reader = next((reader for name, reader in _READERS.items() if name in formats.lower()), None)
        if reader is None:
            raise QueryFailed(
                f"NOT_SUPPORTED: the laptop's Athena reads tables of Parquet and of JSON, and {target} is "
                f"described as {storage.get('InputFormat') or 'nothing'}"
            )
        columns = {item["Name"].lower(): _type(item["Type"]) for item in storage.get("Columns") or []}
        keys = {item["Name"].lower(): _type(item["Type"]) for item in description.get("PartitionKeys") or []}
        listed = ", ".join(f"{quoted(name)} {kind}" for name, kind in {**columns, **keys}.items())
        connection.execute(f"CREATE TABLE {target} ({listed})")
        size = 0
        for location, values in _locations(table, storage, keys):
            for uri, count in self._list(location):
                size += count
                path = folder / f"{len(list(folder.iterdir()))}.object"
                path.write_bytes(self._objects.read(uri))
                fixed = dict(zip(keys, values, strict=False))
                _insert(target, path, uri, reader, columns, fixed, connection)
                path.unlink()
        return size

    def _list(self, location: str) -> list[tuple[str, int]]:
        try:
            found = self._objects.list(location if location.endswith("/") else f"{location}/")
            return [(uri, size) for uri, size in found if size and not _is_hidden(uri)]
        except NoSuchObject as error:
            raise QueryFailed(f"HIVE_METASTORE_ERROR: {location}: {error}") from None
        except ValueError as error:
            raise QueryFailed(f"HIVE_METASTORE_ERROR: {error}") from None


def quoted(name: str) -> str:
    """``name`` as an SQL name."""
    return '"' + name.replace('"', '""') + '"'


def _type(hive: str) -> str:
    return exp.DataType.build(hive, dialect="hive").sql("duckdb")


def _locations(
    table: Any, storage: Mapping[str, Any], keys: Mapping[str, str]
) -> list[tuple[str, Sequence[str]]]:
    """The locations of the rows, each with its values of the partition keys; a table without keys has one
    location.
    """
    if not keys:
        return [(storage["Location"], ())]
    partitions = [partition.as_dict() for partition in table.partitions.values()]
    return [(item["StorageDescriptor"]["Location"], item["Values"]) for item in partitions]


def _is_hidden(uri: str) -> bool:
    """Athena skips objects whose name starts with an underscore or a dot."""
    return split(uri)[1].rsplit("/", 1)[-1].startswith(("_", "."))


def _insert(
    target: str,
    path: Path,
    uri: str,
    reader: str,
    columns: Mapping[str, str],
    values: Mapping[str, str],
    connection: duckdb.DuckDBPyConnection,
) -> None:
    kinds = ", ".join(f"{_literal(name)}: {_literal(kind)}" for name, kind in columns.items())
    source = reader.format(path=_literal(str(path)), columns=f"{{{kinds}}}")
    try:
        described = connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()
        there = {str(row[0]).lower(): str(row[0]) for row in described}
        read = [f"{quoted(there[name])} AS {quoted(name)}" for name in columns if name in there]
        fixed = [f"{_literal(value)} AS {quoted(name)}" for name, value in values.items()]
        selected = ", ".join([*read, *fixed])
        if selected:
            connection.execute(f"INSERT INTO {target} BY NAME SELECT {selected} FROM {source}")
    except duckdb.Error as error:
        reason = str(error).splitlines()[0].replace(str(path), uri)
        raise QueryFailed(f"HIVE_BAD_DATA: {uri} does not hold what {target} describes: {reason}") from None


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
