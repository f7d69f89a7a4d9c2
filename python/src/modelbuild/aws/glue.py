"""Tables of the lake, as Glue's catalogue describes them to Athena."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from modelbuild.aws.failures import NotFound, translated

if TYPE_CHECKING:
    import boto3
    from mypy_boto3_glue.type_defs import TableInputTypeDef

_HIVE = "org.apache.hadoop.hive.ql.io.parquet"


class Glue:
    """Glue's catalogue as one identity sees it."""

    def __init__(self, session: boto3.Session) -> None:
        with translated("set up a client for Glue"):
            self._glue = session.client("glue")

    def put_parquet_table(self, database: str, table: str, location: str, columns: Mapping[str, str]) -> None:
        """Describe the Parquet objects below ``location`` as a table, new or in place of what it was.

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
            "Parameters": {"classification": "parquet", "EXTERNAL": "TRUE"},
            "StorageDescriptor": {
                "Columns": [{"Name": name, "Type": kind} for name, kind in columns.items()],
                "Location": location,
                "InputFormat": f"{_HIVE}.MapredParquetInputFormat",
                "OutputFormat": f"{_HIVE}.MapredParquetOutputFormat",
                "SerdeInfo": {"SerializationLibrary": f"{_HIVE}.serde.ParquetHiveSerDe"},
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
