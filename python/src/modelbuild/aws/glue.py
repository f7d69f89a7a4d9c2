"""Tables of the lake in Glue's catalogue, which Athena reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from modelbuild.aws.failures import NotFound, translated

if TYPE_CHECKING:
    import boto3
    from mypy_boto3_glue.type_defs import TableInputTypeDef

_TEXT_INPUT = "org.apache.hadoop.mapred.TextInputFormat"
_TEXT_OUTPUT = "org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat"
_JSON = "org.openx.data.jsonserde.JsonSerDe"


class Glue:
    """A client of Glue's catalogue with one identity."""

    def __init__(self, session: boto3.Session) -> None:
        with translated("set up a client for Glue"):
            self._glue = session.client("glue")

    def put_json_table(self, database: str, table: str, location: str, columns: Mapping[str, str]) -> None:
        """Create a table of the objects below ``location``, which hold a JSON object in each line.

        A table of this name is replaced.

        Args:
            database: an existing database.
            table: the table's name.
            location: an S3 prefix.
            columns: the Hive type of each column by name, in order.

        Raises:
            AwsError: Glue refused, for example because there is no such database.
        """
        description: TableInputTypeDef = {
            "Name": table,
            "TableType": "EXTERNAL_TABLE",
            "Parameters": {"classification": "json", "EXTERNAL": "TRUE"},
            "StorageDescriptor": {
                "Columns": [{"Name": name, "Type": kind} for name, kind in columns.items()],
                "Location": location,
                "InputFormat": _TEXT_INPUT,
                "OutputFormat": _TEXT_OUTPUT,
                "SerdeInfo": {"SerializationLibrary": _JSON},
            },
        }
        try:
            with translated(f"look for Glue table {database}.{table}"):
                self._glue.get_table(DatabaseName=database, Name=table)
        except NotFound:
            with translated(f"create Glue table {database}.{table}"):
                self._glue.create_table(DatabaseName=database, TableInput=description)
        else:
            with translated(f"update Glue table {database}.{table}"):
                self._glue.update_table(DatabaseName=database, TableInput=description)
