"""A query execution: its states, and its run in its own DuckDB."""

from __future__ import annotations

import logging
import re
import tempfile
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from sqlglot import exp

from modelbuild_local.aws.athena import results
from modelbuild_local.aws.athena import statement as athena_statement
from modelbuild_local.aws.athena.statement import QueryFailed, Statement, position
from modelbuild_local.aws.athena.tables import CATALOG, Lake
from modelbuild_local.aws.objects import NoSuchObject, Objects

_INTERRUPTED_AGAIN_SECONDS = 0.05
_ENDED = ("SUCCEEDED", "FAILED", "CANCELLED")

# A query can read its tables, but no files, network or Python variables of this machine.
_ISOLATED: Mapping[str, Any] = {
    "python_enable_replacements": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}


@dataclass
class Query:
    """A query execution; moto keeps it and lists it by its ``workgroup``.

    Attributes:
        text: The statement as it was sent.
        account: The account whose catalogue and buckets it reads.
        region: Of the catalogue.
        workgroup: moto's workgroup.
        context: QueryExecutionContext.
        output: The prefix of the result, ending in ``/``.
        parameters: Literals for the question marks, or None.
        token: ClientRequestToken.
    """

    text: str
    account: str
    region: str
    workgroup: Any
    context: Mapping[str, str]
    output: str
    parameters: list[str] | None
    token: str | None
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    state: str = "QUEUED"
    reason: str | None = None
    submitted: float = field(default_factory=time.time)
    completed: float | None = None
    scanned: int = 0
    engine_seconds: float = 0.0
    manifest: str | None = None
    written_rows: int = 0
    columns: list[dict[str, Any]] = field(default_factory=list)
    rows: list[list[str | None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._at_rest = threading.Event()
        self._at_rest.set()
        self._objects = Objects(self.account)
        self.is_unload = athena_statement.parse(self.text).location is not None

    @property
    def result(self) -> str:
        """The URI of the result: a CSV file for a SELECT, the prefix of the manifest for UNLOAD."""
        return f"{self.output}{self.id}{'' if self.is_unload else '.csv'}"

    @property
    def has_ended(self) -> bool:
        """Whether the state does not change any more."""
        return self.state in _ENDED

    def start(self) -> None:
        """Run in the background."""
        threading.Thread(target=self._run, name=f"query {self.id}", daemon=True).start()

    def cancel(self) -> None:
        """End the query as CANCELLED, unless it has ended; DuckDB has stopped when this returns."""
        self._end("CANCELLED", "Query cancelled by user")
        # DuckDB ignores an interruption before it has begun.
        while True:
            with self._lock:
                if self._connection is not None:
                    self._connection.interrupt()
            if self._at_rest.wait(_INTERRUPTED_AGAIN_SECONDS):
                return

    def _run(self) -> None:
        with self._lock:
            if self.has_ended:
                return
            self.state = "RUNNING"
        started = time.monotonic()
        try:
            statement = athena_statement.parse(self._bound())
            table = self._execute(statement)
            self.engine_seconds = time.monotonic() - started
            if self.has_ended:
                return
            self._write(statement, table)
        except QueryFailed as failure:
            self._end("FAILED", str(failure))
        except NoSuchObject as failure:
            self._end("FAILED", f"HIVE_CURSOR_ERROR: {failure}")
        except Exception as error:
            logging.exception("Athena query %s failed unexpectedly", self.id)
            self._end("FAILED", f"GENERIC_INTERNAL_ERROR: {type(error).__name__}: {error}")
        else:
            self._end("SUCCEEDED", None)

    def _bound(self) -> str:
        return athena_statement.bind(self.text, self.parameters or [])

    def _execute(self, statement: Statement) -> pa.Table:
        with duckdb.connect(config=dict(_ISOLATED)) as connection, tempfile.TemporaryDirectory() as folder:
            connection.execute("SET integer_division = true")  # as Trino divides
            connection.execute("SET temp_directory = ?", [folder])
            lake = Lake(self.account, self.region)
            database = self.context.get("Database") or "default"
            self.scanned = lake.load(statement.query, database, connection, Path(folder))
            connection.execute("SET enable_external_access = false")
            connection.execute("SET lock_configuration = true")
            with self._lock:
                if self.has_ended:
                    raise QueryFailed(self.reason)
                self._connection = connection
                self._at_rest.clear()
            try:
                sql = athena_statement.for_duckdb(statement.query)
                return results.normalized(connection.sql(sql).to_arrow_table())
            except duckdb.Error as error:
                raise QueryFailed(_reason(error, statement.query)) from None
            finally:
                with self._lock:
                    self._connection = None
                self._at_rest.set()

    def _write(self, statement: Statement, table: pa.Table) -> None:
        self.written_rows = table.num_rows
        if statement.location is None:
            self.columns = results.columns(table)
            self.rows = results.rows(table)
            self._objects.write(self.result, results.csv(table.column_names, self.rows))
            return
        if any(True for _ in self._objects.list(statement.location)):
            raise QueryFailed(
                f"HIVE_PATH_ALREADY_EXISTS: Target directory for table '{CATALOG}.temp.{self.id}' already "
                f"exists: {statement.location}. You may need to manually clean the data at location "
                f"'{self.output}' before retrying. Athena will not delete data in your account."
            )
        written = []
        if table.num_rows:  # Athena writes no object if there are no rows
            written.append(f"{statement.location}{self.id.replace('-', '_')}_{uuid.uuid4()}")
            self._objects.write(written[0], results.parquet(table, statement.compression))
        self.manifest = f"{self.result}-manifest.csv"
        self._objects.write(self.manifest, "".join(f"{uri}\n" for uri in written).encode())

    def _end(self, state: str, reason: str | None) -> None:
        with self._lock:
            if not self.has_ended:
                self.reason, self.completed, self.state = reason, time.time(), state


_REASONS: Sequence[tuple[str, str, str]] = (
    (
        r'Referenced column "([^"]+)" not found|does not have a column named "([^"]+)"',
        "COLUMN_NOT_FOUND",
        "Column '{}' cannot be resolved or requester is not authorized to access requested resources",
    ),
    (
        r"Function with name \"?([\w.]+)\"? does not exist",
        "FUNCTION_NOT_FOUND",
        "Function '{}' not registered",
    ),
)


def _reason(error: duckdb.Error, query: exp.Expr) -> str:
    """DuckDB's message with Athena's error name, and the position in the statement if it is known."""
    message = str(error).splitlines()[0].partition(": ")[2] or str(error)
    for pattern, name, template in _REASONS:
        if found := re.search(pattern, message):
            culprit = next(group for group in found.groups() if group)
            same = (node for node in query.find_all(exp.Identifier) if node.name.lower() == culprit.lower())
            return f"{name}: {position(next(same, None))}: {template.format(culprit)}"
    if isinstance(error, duckdb.ParserException):
        return f"SYNTAX_ERROR: line 1:1: {message}"
    if isinstance(error, duckdb.BinderException):
        return f"TYPE_MISMATCH: line 1:1: {message}"
    if isinstance(error, duckdb.ConversionException):
        return f"INVALID_CAST_ARGUMENT: {message}"
    return f"GENERIC_USER_ERROR: {message}"
