from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

import policies
import standins
from modelbuild.errors import AwsError
from tables import Table, put

POLICY = json.loads((Path(__file__).parents[3] / "docs" / "iam" / "lake.json").read_text())
ROWS: list[dict[str, Any]] = [
    {"id": "tweets/1", "text": 'two\nlines, "quoted"', "rating": 0.1, "raters": 15},
    {"id": "tweets/2", "text": "caf\u00e9 \U0001f600", "rating": -0.5, "raters": 20},
]
FEW = Table("few", "two-1.0", {"id": "string", "text": "string", "rating": "double"}, lambda: ROWS)
KEPT = [{name: row[name] for name in FEW.columns} for row in ROWS]


@pytest.fixture
def stand_in(on_stand_in: str) -> Iterator[str]:
    """The AWS stand-in; afterwards policies are ignored again."""
    yield on_stand_in
    standins.enforce_policies(on_stand_in, False)


def test_policy_is_enough(
    stand_in: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the documented policy a table is put into the lake, and again, with each row as it was."""
    policies.become(stand_in, monkeypatch, policies.as_moto_reads(POLICY))
    put(FEW)
    assert "Wrote s3://" in capsys.readouterr().out
    put(FEW)
    assert "is there already" in capsys.readouterr().out
    standins.enforce_policies(stand_in, False)
    client: Any = boto3.client("s3")
    [found] = client.list_objects_v2(Bucket=standins.BUCKET, Prefix="lake/few-json/")["Contents"]
    assert found["Key"].endswith("/two-1.0.jsonl")
    body = client.get_object(Bucket=standins.BUCKET, Key=found["Key"])["Body"].read()
    assert [json.loads(line) for line in body.splitlines()] == KEPT


# Moto tells what is missing from what is forbidden by itself.
@pytest.mark.parametrize("sid", ["Texts", "Tables"])
def test_each_statement_is_needed(stand_in: str, monkeypatch: pytest.MonkeyPatch, sid: str) -> None:
    """Without one of its statements the lake is not filled, and the sentence says what AWS refused."""
    policies.become(stand_in, monkeypatch, policies.as_moto_reads(policies.without(POLICY, sid)))
    with pytest.raises(AwsError, match=r"AccessDenied|not authorized"):
        put(FEW)


def test_the_policy_names_every_table() -> None:
    """A new data set is one that the documented identity may describe."""
    from load import TABLES

    (statement,) = (one for one in POLICY["Statement"] if one["Sid"] == "Tables")
    named = {resource.rpartition("/")[2] for resource in statement["Resource"] if ":table/" in resource}
    assert named == set(TABLES)
