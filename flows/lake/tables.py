"""A table of the lake: what is in it, as JSON, and how it is put there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from modelbuild.aws.glue import Glue
from modelbuild.aws.identity import account, session
from modelbuild.aws.storage import NotFound, Storage
from modelbuild.settings import AwsSettings

DATABASE = "modelbuild"

Row = Mapping[str, str | float | int]


@dataclass(frozen=True)
class Table:
    """A table that is made of one data set.

    Attributes:
        name: its name in the database ``modelbuild``.
        source: where its rows come from, as the name of its object.
        columns: the Hive type of each column by name, in order.
        rows: makes the rows, the same each time.
    """

    name: str
    source: str
    columns: Mapping[str, str]
    rows: Callable[[], Iterable[Row]]

    def json_lines(self) -> bytes:
        """The rows as JSON, one in each line."""
        lines = (json.dumps({name: row[name] for name in self.columns}) for row in self.rows())
        return "".join(f"{line}\n" for line in lines).encode()


def put(table: Table) -> None:
    """Write a table as one object to the bucket ``modelbuild-<account>``, describe it to Athena, and say so.

    The account is that of the AWS credentials. An object that is there already is not written again.

    Raises:
        AwsError: AWS refused a call or could not be reached.
        ConfigurationError: the package that the rows come from could not be downloaded.
    """
    aws = session(AwsSettings())
    location = f"s3://modelbuild-{account(aws)}/lake/{table.name}-json/"
    uri = f"{location}{table.source}.jsonl"
    content = table.json_lines()
    storage = Storage(aws)
    if _read(storage, uri) == content:
        print(f"{uri} is there already, {len(content):,} bytes.")
    else:
        storage.write(uri, content, "application/x-ndjson")
        print(f"Wrote {uri}, {len(content):,} bytes.")
    Glue(aws).put_json_table(DATABASE, table.name, location, table.columns)
    print(f"Athena finds it as {DATABASE}.{table.name}.")


def _read(storage: Storage, uri: str) -> bytes | None:
    try:
        return storage.read(uri)
    except NotFound:
        return None
