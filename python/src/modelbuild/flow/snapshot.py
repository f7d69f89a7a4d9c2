"""Snapshots: the rows that a model is trained on, frozen in S3 and identified by their hash."""

from __future__ import annotations

import hashlib
import io
import json
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from modelbuild.aws.athena import Athena
from modelbuild.contract import DataSnapshot, SnapshotObject, document
from modelbuild.errors import ConfigurationError, VerificationFailed
from modelbuild.store.model import ModelStore
from modelbuild.store.objects import Objects

if TYPE_CHECKING:
    import pyarrow as pa


def take(athena: Athena, store: ModelStore, query: str) -> DataSnapshot:
    """Run a query and store its rows with the model's files; each training has one snapshot.

    Each attempt writes below a prefix of its own, and ``data/snapshot.json`` is written once: a step that
    runs again, after a failure or at the same time, gets the same snapshot. The SHA-256 is that of the sorted
    rows, and does not depend on how Athena divides them into files.

    Raises:
        AwsError: the query failed.
        ConfigurationError: the query found no rows, or has a nested column.
    """
    earlier = store.snapshot()
    if earlier is not None:
        return earlier
    destination = f"{store.data}{uuid.uuid4().hex}/"
    execution_id = athena.unload(query, destination)
    objects = store.objects
    contents = {uri: objects.read(uri) for uri, size in objects.list(destination) if size}
    table = _table(contents)
    if table is None or not table.num_rows:
        raise ConfigurationError(f"No rows of the lake match the parameters; the query was: {query}")
    snapshot = DataSnapshot(
        source=query,
        athena_execution_id=execution_id,
        objects=tuple(
            SnapshotObject(path=uri, bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
            for uri, content in contents.items()
        ),
        rows=table.num_rows,
        sha256=_sha256(table),
    )
    return store.write_snapshot_once(snapshot)


def keep(store: ModelStore | None, rows: Sequence[Any], source: str) -> DataSnapshot:
    """Write rows that a flow read itself, from a file, with the model's files, once.

    Args:
        store: the model's files; without one, the rows are only hashed.
        rows: the rows, each as JSON.
        source: a description of their source for people.

    Raises:
        ConfigurationError: the rows are no JSON.
        VerificationFailed: other rows were kept before.
    """
    try:
        # JSON turns tuples into lists.
        content = document(json.loads(json.dumps(list(rows), allow_nan=False))).encode()
    except (TypeError, ValueError) as error:
        raise ConfigurationError(
            f"the rows of {source} cannot be kept as JSON ({error}): use texts, finite numbers, lists and "
            "maps"
        ) from error
    digest = hashlib.sha256(content).hexdigest()
    kept: tuple[SnapshotObject, ...] = ()
    if store is not None:
        path = store.write_rows_once(content)
        kept = (SnapshotObject(path=path, bytes=len(content), sha256=digest),)
    return DataSnapshot(source=source, objects=kept, rows=len(rows), sha256=digest)


def read(objects: Objects, snapshot: DataSnapshot) -> pa.Table:
    """The rows of a snapshot, sorted by their columns from left to right.

    Raises:
        VerificationFailed: an object is not the one that the snapshot was taken with.
    """
    contents: dict[str, bytes] = {}
    for item in snapshot.objects:
        contents[item.path] = objects.read(item.path)
        actual = hashlib.sha256(contents[item.path]).hexdigest()
        if actual != item.sha256:
            raise VerificationFailed(
                f"{item.path} has SHA-256 {actual}, but the snapshot was taken with {item.sha256}; "
                "start a new training."
            )
    return _table(contents)


def _table(contents: dict[str, bytes]) -> pa.Table | None:
    """The rows of Parquet files in an order that does not depend on the files."""
    if not contents:
        return None
    # Imported here, because each process of a flow imports this module, and few read a snapshot.
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = [pq.read_table(io.BytesIO(content)) for content in contents.values()]
    table = pa.concat_tables(tables)
    for field in table.schema:
        if pa.types.is_nested(field.type):
            raise ConfigurationError(
                f"column {field.name} of the query is of type {field.type}, by which rows cannot be sorted: "
                "cast it to text in the query"
            )
    return table.sort_by([(name, "ascending") for name in table.column_names])


def _sha256(table: pa.Table) -> str:
    digest = hashlib.sha256()
    for row in table.to_pylist():
        digest.update(json.dumps(list(row.values()), ensure_ascii=False, default=str).encode() + b"\n")
    return digest.hexdigest()
