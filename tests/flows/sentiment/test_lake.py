from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

import lake
import policies
import standins
from modelbuild.errors import AwsError

POLICY = json.loads((Path(__file__).parents[3] / "docs" / "iam" / "lake.json").read_text())
ROWS: list[dict[str, Any]] = [
    {
        "id": f"tweets/{number}",
        "text": text,
        "rating": 0.1 * number,
        "raters": 15,
        "domain": "tweets",
        "document": f"tweets/{number}",
        "vader_compound": -0.5,
    }
    for number, text in enumerate(['two\nlines, "quoted"', "caf\u00e9 \U0001f600"], 1)
]


@pytest.fixture
def small(on_stand_in: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A lake of two texts in a table of its own; afterwards policies are ignored again."""
    monkeypatch.setattr(lake, "archive", lambda: b"")
    monkeypatch.setattr(lake, "rated_texts", lambda _: iter(ROWS))
    monkeypatch.setattr(lake, "TABLE", "few")
    yield on_stand_in
    standins.enforce_policies(on_stand_in, False)


def test_policy_is_enough(small: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the documented policy the lake is filled, and filled again, with each text as it was."""
    policies.become(small, monkeypatch, policies.as_moto_reads(POLICY))
    lake.main()
    lake.main()
    standins.enforce_policies(small, False)
    client: Any = boto3.client("s3")
    [found] = client.list_objects_v2(Bucket=standins.BUCKET, Prefix="lake/few-json/")["Contents"]
    body = client.get_object(Bucket=standins.BUCKET, Key=found["Key"])["Body"].read()
    assert [json.loads(line) for line in body.splitlines()] == ROWS


# Moto tells what is missing from what is forbidden by itself.
@pytest.mark.parametrize("sid", ["Texts", "Table"])
def test_each_statement_is_needed(small: str, monkeypatch: pytest.MonkeyPatch, sid: str) -> None:
    """Without one of its statements the lake is not filled, and the sentence says what AWS refused."""
    policies.become(small, monkeypatch, policies.as_moto_reads(policies.without(POLICY, sid)))
    with pytest.raises(AwsError, match=r"AccessDenied|not authorized"):
        lake.main()
