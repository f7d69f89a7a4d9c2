"""Athena's statements as text."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelbuild_local.aws.athena.statement import InvalidRequest, QueryFailed, bind, parse

_WORDS = st.sampled_from(
    [
        *("SELECT", "UNLOAD", "WITH", "FROM", "VALUES", "UNION", "CASE", "LATERAL", "TO", "format", "="),
        *(
            "'PARQUET'",
            "'s3://b/p'",
            "(",
            ")",
            ",",
            "?",
            ";",
            "a",
            "x.y",
            "1",
            "--",
            "/*",
            "'",
            '"',
            "[",
            "::",
        ),
        *("é", "\n"),
    ]
)


@given(st.lists(_WORDS, max_size=14).map(" ".join) | st.text(max_size=30))
def test_any_text_is_a_statement_or_refused(text: str) -> None:
    """Nothing but InvalidRequest comes of a text that is no statement, and UNLOAD writes into a folder."""
    with contextlib.suppress(InvalidRequest):
        location = parse(text).location
        assert location is None or location.endswith("/")


@given(st.text(max_size=20))
def test_a_parameter_is_one_literal(value: str) -> None:
    """A text, with its quotes doubled, stays one literal, whatever is in it; bare, it is nothing else."""
    literal = "'" + value.replace("'", "''") + "'"
    [found] = parse(bind("SELECT ? AS a", [literal])).query.expressions
    assert found.this.this == value
    try:
        bound = bind("SELECT ? AS a", [value])
    except QueryFailed:
        return
    assert len(parse(bound).query.expressions) == 1


def test_unload_is_read_whatever_its_spaces_and_options() -> None:
    """The query, the place with a slash at its end, and the compression; GZIP where none is asked for."""
    text = "unload\n( SELECT ')' AS a )\nTO 's3://b/p' WITH (format='parquet', compression = 'zstd') ;"
    statement = parse(text)
    assert (statement.location, statement.compression) == ("s3://b/p/", "zstd")
    assert statement.query.sql("trino") == "SELECT ')' AS a"
    assert parse("UNLOAD (SELECT 1) TO 's3://b/p/' WITH (format = 'PARQUET')").compression == "gzip"
    with pytest.raises(InvalidRequest, match="partitioned_by"):
        parse("UNLOAD (SELECT 1) TO 's3://b/p/' WITH (format = 'PARQUET', partitioned_by = 'a')")
    with pytest.raises(InvalidRequest, match="line 2:2: mismatched input 'SELEC'"):
        parse("UNLOAD (\n SELEC 1) TO 's3://b/p/' WITH (format = 'PARQUET')")
