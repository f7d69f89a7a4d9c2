"""Put the rated texts into the lake: ``python flows/sentiment/lake.py``.

Writes one Parquet object to the bucket ``modelbuild-<account>`` of the account that the AWS credentials
belong to, and describes it to Athena as the table ``modelbuild.comments``. Running it again changes nothing.
"""

from __future__ import annotations

import io
import sys

import pyarrow as pa
import pyarrow.parquet as pq

from modelbuild.aws.glue import Glue
from modelbuild.aws.identity import account, session
from modelbuild.aws.storage import NotFound, Storage
from modelbuild.errors import ModelbuildError
from modelbuild.settings import AwsSettings
from source import ARCHIVE, archive, rated_texts

DATABASE = "modelbuild"
TABLE = "comments"
COLUMNS = {
    "id": "string",
    "text": "string",
    "rating": "double",
    "raters": "int",
    "domain": "string",
    "document": "string",
    "vader_compound": "double",
}
_ARROW = {"string": pa.string(), "double": pa.float64(), "int": pa.int32()}


def parquet() -> bytes:
    """The table as one Parquet file; the same bytes each time."""
    schema = pa.schema([(name, _ARROW[kind]) for name, kind in COLUMNS.items()])
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rated_texts(archive())), schema), buffer, compression="snappy")
    return buffer.getvalue()


def main() -> None:
    """Load the table and say what was done."""
    aws = session(AwsSettings())
    location = f"s3://modelbuild-{account(aws)}/lake/{TABLE}/"
    uri = f"{location}{ARCHIVE}.parquet"
    content = parquet()
    storage = Storage(aws)
    if _read(storage, uri) == content:
        print(f"{uri} is there already, {len(content):,} bytes.")
    else:
        storage.write(uri, content, "application/vnd.apache.parquet")
        print(f"Wrote {uri}, {len(content):,} bytes.")
    Glue(aws).put_parquet_table(DATABASE, TABLE, location, COLUMNS)
    print(f"Athena finds it as {DATABASE}.{TABLE}.")


def _read(storage: Storage, uri: str) -> bytes | None:
    try:
        return storage.read(uri)
    except NotFound:
        return None


if __name__ == "__main__":
    try:
        main()
    except ModelbuildError as failure:
        print(failure, file=sys.stderr)
        sys.exit(failure.exit_code)
