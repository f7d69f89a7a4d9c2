"""Whatever bytes a flow wrote as its predictions, they are read as such, or refused in one sentence."""

from __future__ import annotations

import io
import resource
import sys
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from modelbuild.comparison import details, predictions
from modelbuild.errors import VerificationFailed

URI = "s3://bucket/predictions.parquet"


def parquet(**columns: Any) -> bytes:
    """A file of three rows, with these columns in place of the usual ones; None leaves one out."""
    usual = {"id": ["a", "b", "c"], "truth": ["x", "y", "x"], "prediction": ["x", "x", "y"]}
    found = {name: values for name, values in {**usual, **columns}.items() if values is not None}
    buffer = io.BytesIO()
    pq.write_table(pa.table(found), buffer)
    return buffer.getvalue()


def test_a_damaged_file_is_a_sentence() -> None:
    """Each byte of the file may have changed; pyarrow raises several kinds of errors for that."""
    content = parquet(input=["1", "2", "3"])
    refused = 0
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 0xFF
        try:
            predictions.read(bytes(damaged), URI)
        except VerificationFailed:
            refused += 1
    assert refused > len(content) / 4


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"truth": None}, "it has no column truth"),
        ({"id": None}, "it has no column id"),
        ({"prediction": [1, 2, 3]}, "column truth is of type string, and column prediction of type int64"),
        ({"truth": [True] * 3}, "column truth is of type bool, and column prediction of type string"),
        ({"prediction": [[1.0], [2.0], [3.0]]}, r"column prediction is of type list<.*"),
        ({"prediction": ["x", None, "x"]}, "column prediction lacks values"),
        ({"truth": [0.1, float("nan"), 1.0], "prediction": [1, 2, 3]}, "column truth has numbers"),
        ({"id": [1, 2, 3]}, "column id is of type int64"),
        ({"id": ["a", "b", "a"]}, "two rows have one id"),
        ({"slice:year": [2024, 2025, 2026]}, "column slice:year is of type int64"),
        ({"score:x": ["0.1", "0.2", "0.3"]}, "column score:x is of type string"),
        ({"metric:brier": [[0.1], [0.1], [0.1]]}, "column metric:brier is of type list"),
        ({"baseline:vader": [[1], [1], [1]]}, "column baseline:vader is of type list"),
    ],
)
def test_what_cannot_be_compared_is_named(columns: dict[str, Any], reason: str) -> None:
    """A table that later steps could not use is refused where it is read, with the column."""
    with pytest.raises(VerificationFailed, match=rf"\({reason}"):
        predictions.read(parquet(**columns), URI)


def test_text_that_is_no_unicode_is_refused() -> None:
    """Arrow reads such bytes, and fails when a value of them is used."""
    raw = pa.array([b"x", b"\xff\xfe", b"x"], pa.binary())
    text = pa.Array.from_buffers(pa.string(), 3, raw.buffers())
    with pytest.raises(VerificationFailed, match="holds no predictions"):
        predictions.read(parquet(prediction=text), URI)


@pytest.mark.parametrize(
    "columns",
    [
        {"truth": [1, 2, 3], "prediction": [0.5, 2.5, 3.0]},
        {"truth": [1, 2, 3], "prediction": [1, 2, 2]},
        {"truth": [True, False, True], "prediction": [True, True, True]},
        {"id": ["c", "a", "b"]},
        {"id": ["a"], "truth": ["x"], "prediction": ["x"]},
    ],
)
def test_labels_and_numbers_are_read(columns: dict[str, Any]) -> None:
    """Numbers may be whole or not, labels of any plain type, and rows in any order."""
    found = predictions.read(parquet(**columns), URI)
    ids = found.column("id").to_pylist()
    assert ids == sorted(ids)
    assert details.examples(found, None, numbers=False).mistakes is not None


@pytest.mark.parametrize("text", ["{", "NaN", '"\\ud800"', "[" * 100_000, "[" * 198 + "]" * 198])
def test_an_input_that_no_document_can_hold_is_shown_as_its_text(text: str) -> None:
    """One input does not cost the page."""
    found = predictions.read(parquet(input=["1", "2", text]), URI)
    inputs = {example.id: example.input for example in details.examples(found, None, numbers=False).mistakes}
    assert inputs == {"b": 2, "c": text}


def test_whole_numbers_and_numbers_with_fractions_share_rows() -> None:
    """One new row with a fraction makes the whole column one of floats."""
    inputs = ["1", "2", "3"]
    before = predictions.read(parquet(input=inputs, truth=[1, 2, 3], prediction=[1, 2, 3]), URI)
    after = predictions.read(parquet(input=inputs, truth=[1.0, 2.5, 3.0], prediction=[1.0, 2.0, 3.0]), URI)
    labels = predictions.read(parquet(input=inputs, truth=["1", "2", "3"], prediction=["1"] * 3), URI)
    assert [rows.tolist() for rows in predictions.shared_rows(before, after)] == [[0, 2], [0, 2]]
    assert [rows.tolist() for rows in predictions.shared_rows(after, before)] == [[0, 2], [0, 2]]
    assert len(predictions.shared_rows(before, labels)[0]) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="on other systems reading has no limit of memory")
def test_a_small_file_that_becomes_a_huge_table_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """100,000 rows that refer to one text of 100 kB are 10 GB as a table; the limit ends with the reading."""
    monkeypatch.setattr(predictions, "_LEAST_BYTES", 64 << 20)
    rows, before = 100_000, resource.getrlimit(resource.RLIMIT_AS)
    columns = {name: pa.array([f"{row:06}" for row in range(rows)]) for name in ("id", "truth", "prediction")}
    columns["input"] = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), ["x" * 100_000])
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, store_schema=False)
    with pytest.raises(VerificationFailed, match=r"bytes and takes more than .* as a table"):
        predictions.read(buffer.getvalue(), URI)
    assert resource.getrlimit(resource.RLIMIT_AS) == before
    assert len(predictions.read(parquet(), URI)) == 3
