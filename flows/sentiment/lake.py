"""Put the rated texts into the lake: ``python flows/sentiment/lake.py``.

Writes one object, a text with its ratings in each line, to the bucket ``modelbuild-<account>`` of the account
of the AWS credentials, and creates the table ``modelbuild.comments`` for Athena. Running it again changes
nothing. It needs only the packages of the plugins' helpers.
"""

from __future__ import annotations

import json
import sys

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


def json_lines() -> bytes:
    """The table as JSON, a row in each line; the same bytes each time."""
    lines = (json.dumps({name: row[name] for name in COLUMNS}) for row in rated_texts(archive()))
    return "".join(f"{line}\n" for line in lines).encode()


def main() -> None:
    """Load the table and print what was written."""
    aws = session(AwsSettings())
    location = f"s3://modelbuild-{account(aws)}/lake/{TABLE}-json/"
    uri = f"{location}{ARCHIVE}.jsonl"
    content = json_lines()
    storage = Storage(aws)
    if _read(storage, uri) == content:
        print(f"{uri} is there already, {len(content):,} bytes.")
    else:
        storage.write(uri, content, "application/x-ndjson")
        print(f"Wrote {uri}, {len(content):,} bytes.")
    Glue(aws).put_json_table(DATABASE, TABLE, location, COLUMNS)
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
