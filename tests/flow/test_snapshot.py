from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor

import boto3
import pyarrow as pa
import pytest

from modelbuild.aws.athena import Athena
from modelbuild.aws.glue import Glue
from modelbuild.aws.storage import Storage
from modelbuild.errors import AwsError, ConfigurationError, VerificationFailed
from modelbuild.flow.snapshot import keep, read, take
from modelbuild.store.model import ModelStore

TEXTS = ["it's", 'two\n"lines"', "caf\u00e9"]
ROWS = {"id": ["b", "a", "c"], "text": TEXTS, "rating": [0.1, -2.0, 3.5]}
QUERY = "SELECT id, text, rating FROM modelbuild.small"


@pytest.fixture
def athena(aws: boto3.Session, storage: Storage) -> Athena:
    """Athena with a table of three rows in two objects."""
    location = "s3://modelbuild-123456789012/lake/small/"
    rows = pa.table(ROWS).to_pylist()
    for number, part in enumerate((rows[:2], rows[2:])):
        lines = "".join(f"{json.dumps(row)}\n" for row in part)
        storage.write(f"{location}{number}.jsonl", lines.encode())
    columns = {"id": "string", "text": "string", "rating": "double"}
    Glue(aws).put_json_table("modelbuild", "small", location, columns)
    return Athena(aws)


def test_a_snapshot_holds_the_rows_of_the_query(athena: Athena, storage: Storage, artifacts: str) -> None:
    """The rows come back whole and sorted, with the query, its execution and the objects' hashes."""
    taken = take(athena, ModelStore(storage, artifacts), f"{QUERY} WHERE rating > -3")
    assert (taken.rows, taken.source) == (3, f"{QUERY} WHERE rating > -3")
    assert taken.athena_execution_id
    assert all(item.path.startswith(f"{artifacts}/data/") for item in taken.objects)
    assert read(storage, taken).to_pylist() == [
        {"id": "a", "text": 'two\n"lines"', "rating": -2.0},
        {"id": "b", "text": "it's", "rating": 0.1},
        {"id": "c", "text": "caf\u00e9", "rating": 3.5},
    ]


def test_the_same_rows_have_the_same_hash(athena: Athena, storage: Storage, artifacts: str) -> None:
    """The order in which Athena returns rows does not matter to the hash; their content does."""
    up = take(athena, ModelStore(storage, f"{artifacts}/up"), f"{QUERY} ORDER BY id")
    down = take(athena, ModelStore(storage, f"{artifacts}/down"), f"{QUERY} ORDER BY id DESC")
    fewer = take(athena, ModelStore(storage, f"{artifacts}/fewer"), f"{QUERY} WHERE rating < 3")
    assert up.sha256 == down.sha256 != fewer.sha256


def test_there_is_one_snapshot_to_a_training(athena: Athena, storage: Storage, artifacts: str) -> None:
    """A step that is repeated, later or at the same time, gets the first snapshot."""
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(lambda _: take(athena, ModelStore(storage, artifacts), QUERY), range(3)))
    again = take(athena, ModelStore(storage, artifacts), QUERY)
    assert together == [again] * 3


def test_a_changed_object_is_refused(athena: Athena, storage: Storage, artifacts: str) -> None:
    """Training never reads other bytes than those the snapshot was taken with."""
    taken = take(athena, ModelStore(storage, artifacts), QUERY)
    storage.write(taken.objects[0].path, storage.read(taken.objects[0].path) + b"\0")
    with pytest.raises(VerificationFailed, match="start a new training"):
        read(storage, taken)


def test_no_rows_is_a_mistake_in_the_parameters(athena: Athena, storage: Storage, artifacts: str) -> None:
    """A query that finds nothing ends the training with the query."""
    with pytest.raises(ConfigurationError, match=r"No rows of the lake match.*rating > 9"):
        take(athena, ModelStore(storage, artifacts), f"{QUERY} WHERE rating > 9")


@pytest.mark.parametrize(
    ("query", "message"), [("SELECT nothing FROM modelbuild.small", "nothing"), ("SELEC", "SELEC")]
)
def test_athenas_reason_is_in_the_message(
    athena: Athena, storage: Storage, artifacts: str, query: str, message: str
) -> None:
    """What Athena says about a query that it cannot run is what the user reads."""
    with pytest.raises(AwsError, match=message):
        take(athena, ModelStore(storage, artifacts), query)


def test_text_in_a_query_cannot_end_it(athena: Athena, storage: Storage, artifacts: str) -> None:
    """A quoted parameter is text, whatever is in it."""
    from modelbuild.aws.athena import identifier, quoted

    query = f"SELECT id FROM modelbuild.{identifier('small')} WHERE text = {quoted(TEXTS[0])}"
    assert take(athena, ModelStore(storage, artifacts), query).rows == 1


def test_rows_of_the_commit_are_kept_once(storage: Storage, artifacts: str) -> None:
    """Rows that stand in the flow are frozen beside the model, and a step that is repeated finds them."""
    rows = [["a text", "positive"], ["another", "negative"]]
    kept = keep(ModelStore(storage, artifacts), rows, "ROWS of flow.py")
    (item,) = kept.objects
    assert json.loads(storage.read(item.path)) == rows
    assert kept.athena_execution_id is None
    assert (kept.rows, kept.source, item.path) == (2, "ROWS of flow.py", f"{artifacts}/data/rows.json")
    assert item.sha256 == hashlib.sha256(storage.read(item.path)).hexdigest() == kept.sha256
    assert keep(ModelStore(storage, artifacts), rows, "ROWS of flow.py") == kept


def test_rows_of_a_flow_on_its_own_are_hashed_only(storage: Storage, artifacts: str) -> None:
    """Without a prefix nothing is written, and the hash is the same."""
    rows = [["a text", "positive"]]
    alone = keep(None, rows, "ROWS of flow.py")
    assert (alone.objects, alone.rows) == ((), 1)
    assert alone.sha256 == keep(ModelStore(storage, artifacts), rows, "ROWS of flow.py").sha256
