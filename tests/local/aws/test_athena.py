"""Athena as boto3 sees it."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from botocore.exceptions import ClientError

from modelbuild_local.aws.athena.query import Query
from waiting import SECONDS

BUCKET = "athena-lake"
OUTPUT = f"s3://{BUCKET}/results/"


def to_parquet(rows: list[dict[str, Any]]) -> bytes:
    """Rows as a Parquet file."""
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


class Lake:
    """An account with one table, ``lake.comments``, and what tests do with Athena."""

    def __init__(self, cloud: Any, wait: Callable[..., Any]) -> None:
        self.cloud, self.wait = cloud, wait
        self.s3, self.athena = cloud.client("s3"), cloud.client("athena")
        self.glue = cloud.client("glue")
        self.s3.create_bucket(Bucket=BUCKET)
        self.glue.create_database(DatabaseInput={"Name": "lake"})
        rows = [
            {"id": number, "text": text, "rating": rating, "ignored": 1}
            for number, text, rating in [(1, 'good, "very"', 2.5), (2, None, -1.0), (3, "так", 0.0)]
        ]
        self.put("lake/comments/a.parquet", to_parquet(rows[:2]))
        self.put("lake/comments/b.parquet", to_parquet(rows[2:]))
        self.put("lake/comments/_SUCCESS", b"not Parquet")
        self.table(
            "comments", "lake/comments", {"id": "bigint", "text": "string", "rating": "double", "more": "int"}
        )

    def put(self, key: str, body: bytes) -> None:
        """Put an object into the lake's bucket."""
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=body)

    def table(
        self, name: str, prefix: str, columns: dict[str, str], keys: dict[str, str] | None = None
    ) -> None:
        """Describe Parquet objects as a table."""
        self.glue.create_table(
            DatabaseName="lake",
            TableInput={
                "Name": name,
                "TableType": "EXTERNAL_TABLE",
                "PartitionKeys": [{"Name": key, "Type": kind} for key, kind in (keys or {}).items()],
                "StorageDescriptor": self.storage(prefix, columns),
            },
        )

    def storage(self, prefix: str, columns: dict[str, str]) -> dict[str, Any]:
        """A StorageDescriptor of Parquet."""
        return {
            "Location": f"s3://{BUCKET}/{prefix}",
            "Columns": [{"Name": column, "Type": kind} for column, kind in columns.items()],
            "InputFormat": "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat",
        }

    def start(self, text: str, **options: Any) -> str:
        """Start a query."""
        options.setdefault("ResultConfiguration", {"OutputLocation": OUTPUT})
        return str(self.athena.start_query_execution(QueryString=text, **options)["QueryExecutionId"])

    def describe(self, query: str) -> dict[str, Any]:
        """The execution as it is now."""
        return dict(self.athena.get_query_execution(QueryExecutionId=query)["QueryExecution"])

    def ended(self, query: str) -> dict[str, Any]:
        """The execution once it has ended."""

        def ended() -> Any:
            found = self.describe(query)
            return found if found["Status"]["State"] in ("SUCCEEDED", "FAILED", "CANCELLED") else None

        return dict(self.wait(ended))

    def run(self, text: str, **options: Any) -> dict[str, Any]:
        """Run a query to its end."""
        return self.ended(self.start(text, **options))

    def rows(self, text: str, **options: Any) -> list[list[str | None]]:
        """The rows of a query that must succeed, without the line of names."""
        query = self.run(text, **options)
        assert query["Status"]["State"] == "SUCCEEDED", query["Status"]
        found = self.athena.get_query_results(QueryExecutionId=query["QueryExecutionId"])["ResultSet"]["Rows"]
        return [[item.get("VarCharValue") for item in row["Data"]] for row in found[1:]]

    def reason(self, text: str, **options: Any) -> str:
        """Why a query failed."""
        status = self.run(text, **options)["Status"]
        assert status["State"] == "FAILED"
        assert status["AthenaError"]["ErrorMessage"] == status["StateChangeReason"]
        return str(status["StateChangeReason"])

    def get(self, uri: str) -> bytes:
        """An object's bytes."""
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        return bytes(self.s3.get_object(Bucket=bucket, Key=key)["Body"].read())

    def keys(self, prefix: str) -> list[str]:
        """The keys below a prefix."""
        return [
            item["Key"] for item in self.s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
        ]


@pytest.fixture(scope="module")
def lake(cloud: Any, wait: Callable[..., Any]) -> Lake:
    """A lake in the shared stand-in."""
    return Lake(cloud, wait)


def test_a_select_writes_a_csv_file_and_is_paged(lake: Lake) -> None:
    """The rows of every Parquet object come out, as a CSV object and in pages that start with the names."""
    query = lake.run("SELECT id, text, rating > 0 AS good, more FROM lake.comments ORDER BY id")
    assert query["Status"]["State"] == "SUCCEEDED"
    assert query["Statistics"]["DataScannedInBytes"] > 0
    output = query["ResultConfiguration"]["OutputLocation"]
    assert output == f"{OUTPUT}{query['QueryExecutionId']}.csv"
    assert lake.get(output).decode() == (
        '"id","text","good","more"\n"1","good, ""very""","true",\n"2",,"false",\n"3","так","false",\n'
    )
    pages = list(
        lake.athena.get_paginator("get_query_results").paginate(
            QueryExecutionId=query["QueryExecutionId"], PaginationConfig={"PageSize": 2}
        )
    )
    shown = [
        [item.get("VarCharValue") for item in row["Data"]]
        for page in pages
        for row in page["ResultSet"]["Rows"]
    ]
    assert len(pages) == 2
    assert shown[0] == ["id", "text", "good", "more"]
    assert shown[2] == ["2", None, "false", None]
    columns = pages[0]["ResultSet"]["ResultSetMetadata"]["ColumnInfo"]
    assert [item["Type"] for item in columns] == ["bigint", "varchar", "boolean", "integer"]


def test_unload_writes_parquet_once(lake: Lake) -> None:
    """UNLOAD leaves readable Parquet at its place, and refuses a place where something is."""
    prefix = f"s3://{BUCKET}/unloaded/one/"
    text = f"UNLOAD (SELECT id, sum(id) AS total FROM comments WHERE text <> ')' GROUP BY id) TO '{prefix}'"
    options = {"QueryExecutionContext": {"Database": "lake"}}
    query = lake.run(f"{text} WITH (format = 'PARQUET', compression = 'SNAPPY')", **options)
    assert query["Status"]["State"] == "SUCCEEDED", query["Status"]
    [key] = lake.keys("unloaded/one/")
    table = pq.read_table(io.BytesIO(lake.get(f"s3://{BUCKET}/{key}")))
    assert table.schema.field("total").type == pa.int64()
    assert sorted(table.to_pylist(), key=lambda row: row["id"]) == [
        {"id": 1, "total": 1},
        {"id": 3, "total": 3},
    ]
    assert lake.get(query["Statistics"]["DataManifestLocation"]).decode() == f"s3://{BUCKET}/{key}\n"
    assert "HIVE_PATH_ALREADY_EXISTS" in lake.reason(f"{text} WITH (format = 'PARQUET')", **options)
    assert lake.keys("unloaded/one/") == [key]


def test_unload_of_no_rows_makes_no_object(lake: Lake) -> None:
    """There is no Parquet object where there are no rows."""
    text = (
        f"UNLOAD (SELECT id FROM lake.comments WHERE id > 9) TO 's3://{BUCKET}/none/' WITH (format='PARQUET')"
    )
    assert lake.run(text)["Status"]["State"] == "SUCCEEDED"
    assert lake.keys("none/") == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "SELECT 1 FROM lake.nope",
            "TABLE_NOT_FOUND: line 1:15: Table 'awsdatacatalog.lake.nope' does",
        ),
        ("SELECT 1 FROM nope.t", "SCHEMA_NOT_FOUND: line 1:15: Schema 'nope' does not exist"),
        ("SELECT\n  nope FROM lake.comments", "COLUMN_NOT_FOUND: line 2:3: Column 'nope' cannot be resolved"),
        (
            "SELECT nofun(id) FROM lake.comments",
            "FUNCTION_NOT_FOUND: line 1:1: Function 'nofun' not",
        ),
        ("SELECT CAST(text AS integer) FROM lake.comments", "INVALID_CAST_ARGUMENT"),
        ("SELECT a FROM lake.comments WHERE id = ?", "INVALID_PARAMETER_USAGE"),
    ],
)
def test_a_query_that_cannot_run_fails_with_athenas_reason(lake: Lake, text: str, reason: str) -> None:
    """A failed query says what is wrong by Athena's name for it, and where."""
    assert lake.reason(text).startswith(reason)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SELEC 1", "line 1:1: mismatched input 'SELEC'"),
        ("SELECT (1", "line 1:"),
        ("SELECT 1; SELECT 2", "Only one sql statement is allowed"),
        ("DROP TABLE lake.comments", "Queries of this type are not supported"),
        ("UNLOAD (SELECT 1) TO 's3://x/y' WITH (format = 'ORC')", "PARQUET"),
        ("UNLOAD (SELECT 1) TO", "location of UNLOAD"),
        (" ; ", "mismatched input '<EOF>'"),
    ],
)
def test_what_is_no_query_is_refused_at_once(lake: Lake, text: str, message: str) -> None:
    """Athena refuses what it cannot parse when it is asked, without an execution."""
    with pytest.raises(ClientError, match=message) as refusal:
        lake.start(text)
    assert refusal.value.response["Error"]["Code"] == "InvalidRequestException"


def test_a_query_reaches_nothing_but_its_tables(lake: Lake) -> None:
    """No function of DuckDB opens a file of this machine or changes its settings."""
    for text in (
        "SELECT * FROM read_text('/etc/hostname')",
        "SELECT * FROM read_csv('/etc/passwd')",
        'SELECT * FROM "/etc/passwd"',
        "SELECT * FROM lake.comments, read_blob('/etc/hostname')",
    ):
        lake.reason(text)
    with pytest.raises(ClientError, match="mismatched input 'SET'"):
        lake.start("SET enable_external_access = true")


def test_division_types_and_values_are_trinos(lake: Lake) -> None:
    """Values look as Athena writes them, and integers divide to integers."""
    [row] = lake.rows(
        "SELECT 7 / 2, CAST(7 AS double) / 2, 1e10, ARRAY[1, 2], DATE '2024-02-29', "
        "TIMESTAMP '2024-02-29 01:02:03.456', CAST(1.5 AS decimal(10, 2)), NULL, 1 = 1, "
        "regexp_like('abc', '^a'), MAP(ARRAY['k'], ARRAY[1])"
    )
    assert row[:4] == ["3", "3.5", "1.0E10", "[1, 2]"]
    assert row[4:] == ["2024-02-29", "2024-02-29 01:02:03.456", "1.50", None, "true", "true", "{k=1}"]


def test_parameters_replace_question_marks_in_order(lake: Lake) -> None:
    """ExecutionParameters are literals, never SQL."""
    text = "SELECT id FROM lake.comments WHERE id >= ? AND coalesce(text, '?') <> ? ORDER BY 1"
    assert lake.rows(text, ExecutionParameters=["2", "'так'"]) == [["2"]]
    assert "not a literal" in lake.reason(text, ExecutionParameters=["2", "'' OR 1 = 1"])


def test_partitions_are_columns(lake: Lake) -> None:
    """A partition's value is a column of the rows at its place."""
    lake.put("lake/days/day=1/a.parquet", to_parquet([{"n": 1}]))
    lake.put("lake/days/day=2/a.parquet", to_parquet([{"n": 2}]))
    lake.table("days", "lake/days", {"n": "int"}, {"day": "int"})
    for day in ("1", "2"):
        lake.glue.create_partition(
            DatabaseName="lake",
            TableName="days",
            PartitionInput={
                "Values": [day],
                "StorageDescriptor": lake.storage(f"lake/days/day={day}", {"n": "int"}),
            },
        )
    assert lake.rows("SELECT n, day + 10 FROM lake.days ORDER BY n") == [["1", "11"], ["2", "12"]]


def test_an_object_that_is_not_parquet_fails_the_query(lake: Lake) -> None:
    """The reason names the object."""
    lake.put("lake/broken/x.parquet", b"PAR1 no")
    lake.table("broken", "lake/broken/", {"n": "int"})
    assert lake.reason("SELECT * FROM lake.broken").startswith(
        f"HIVE_BAD_DATA: s3://{BUCKET}/lake/broken/x.parquet"
    )


def test_the_same_token_is_the_same_execution(lake: Lake) -> None:
    """A repeated request starts nothing, and a token is not for another statement."""
    token = "t" * 32
    first = lake.start("SELECT 1", ClientRequestToken=token)
    assert lake.start("SELECT 1", ClientRequestToken=token) == first
    with pytest.raises(ClientError, match="Idempotent parameters do not match"):
        lake.start("SELECT 2", ClientRequestToken=token)


def test_a_running_query_stops(lake: Lake) -> None:
    """A stopped query is CANCELLED and gives no rows."""
    many = "(SELECT x FROM UNNEST(sequence(1, 100000)) AS t(x))"
    query = lake.start(f"SELECT count(*) FROM {many} a, {many} b, {many} c WHERE a.x <> b.x + c.x")
    lake.wait(lambda: lake.describe(query)["Status"]["State"] == "RUNNING")
    with pytest.raises(ClientError, match="Query has not yet finished"):
        lake.athena.get_query_results(QueryExecutionId=query)
    lake.athena.stop_query_execution(QueryExecutionId=query)
    assert lake.ended(query)["Status"]["State"] == "CANCELLED"
    with pytest.raises(ClientError, match="Final query state: CANCELLED"):
        lake.athena.get_query_results(QueryExecutionId=query)


def test_nothing_computes_for_a_query_that_was_stopped() -> None:
    """Whenever a query is stopped, before its engine has begun or after, the engine is at rest then."""
    for seconds in (0.0, 0.01, 0.05, 0.2, 1.0):
        many = "(SELECT x FROM UNNEST(sequence(1, 100000)) AS t(x))"
        text = f"SELECT count(*) FROM {many} a, {many} b, {many} c WHERE a.x <> b.x + c.x"
        query = Query(text, "123456789012", "us-east-1", None, {}, OUTPUT, None, None)
        query.start()
        (thread,) = (one for one in threading.enumerate() if one.name == f"query {query.id}")
        thread.join(seconds)
        query.cancel()
        thread.join(SECONDS)
        assert not thread.is_alive()
        assert query.state == "CANCELLED"


def test_the_workgroup_says_where_results_go(lake: Lake) -> None:
    """An enforced location wins over the request's; without any the query is refused."""
    for name, enforced in (("strict", True), ("loose", False)):
        lake.athena.create_work_group(
            Name=name,
            Configuration={
                "ResultConfiguration": {"OutputLocation": f"s3://{BUCKET}/{name}/"},
                "EnforceWorkGroupConfiguration": enforced,
            },
        )
    strict, loose = (lake.run("SELECT 1", WorkGroup=name) for name in ("strict", "loose"))
    assert strict["ResultConfiguration"]["OutputLocation"].startswith(f"s3://{BUCKET}/strict/")
    assert loose["ResultConfiguration"]["OutputLocation"].startswith(OUTPUT)
    assert lake.run("SELECT 1", WorkGroup="loose", ResultConfiguration={})["WorkGroup"] == "loose"
    with pytest.raises(ClientError, match="No output location provided"):
        lake.start("SELECT 1", ResultConfiguration={})
    with pytest.raises(ClientError, match="output bucket nowhere-at-all"):
        lake.start("SELECT 1", ResultConfiguration={"OutputLocation": "s3://nowhere-at-all/"})
    with pytest.raises(ClientError, match="WorkGroup nope is not found"):
        lake.athena.get_work_group(WorkGroup="nope")
    assert lake.athena.get_work_group(WorkGroup="strict")["WorkGroup"]["State"] == "ENABLED"


def test_unknown_executions_are_reported(lake: Lake) -> None:
    """There is no execution of a made-up id."""
    with pytest.raises(ClientError, match="QueryExecution nope was not found"):
        lake.athena.get_query_execution(QueryExecutionId="nope")
    execution = lake.start("SELECT 1")
    found = lake.athena.batch_get_query_execution(QueryExecutionIds=[execution, "nope"])
    assert [item["QueryExecutionId"] for item in found["QueryExecutions"]] == [execution]
    assert [item["QueryExecutionId"] for item in found["UnprocessedQueryExecutionIds"]] == ["nope"]
