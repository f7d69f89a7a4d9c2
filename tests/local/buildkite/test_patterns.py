"""The format of a block's field: regular expressions in the dialect of HTML forms."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelbuild_local.buildkite.artifacts import matches
from modelbuild_local.buildkite.errors import Refused
from modelbuild_local.buildkite.pipeline.attributes.patterns import PatternError, matches_format


@pytest.mark.parametrize(
    ("pattern", "value", "fits"),
    [
        (r"[0-9a-f]+", "c0ffee", True),
        (r"[0-9a-f]+", "c0ffee!", False),
        (r"\p{L}+", "Größe", True),
        (r"\p{L}+", "R2", False),
        (r"\p{Script=Greek}+", "λόγος", True),
        (r"\P{L}+", "123", True),
        (r"\d+", "١٢", False),
        (r"\w+", "é", False),
        (r"\W", "é", True),
        (r"[^\d]+", "é", True),
        (r"(?<year>\d{4})-\k<year>", "2026-2026", True),
        (r"\u{1F600}", "😀", True),
        (r"\u00e9", "é", True),
        (r"[\p{L}--[a-z]]+", "ABC", True),
        (r"[\p{L}--[a-z]]+", "abc", False),
        (r"a|b", "b", True),
        (r"(?=.*\d).{3,}", "ab1", True),
        (r"\\d", "\\d", True),
    ],
)
def test_formats_are_those_of_html_forms(pattern: str, value: str, fits: bool) -> None:
    """``format`` is anchored at both ends and means what the HTML attribute ``pattern`` means."""
    assert matches_format(pattern, value) is fits


def blocked(bench: Any, pattern: str) -> Any:
    """A block that asks for a name of this format."""
    build = bench.build([{"block": "go?", "fields": [{"text": "Name", "key": "name", "format": pattern}]}])
    return build.jobs[0]


def test_a_block_opens_with_a_value_of_its_format(bench: Any) -> None:
    """Unblocking checks the format of a field, in whatever dialect of HTML forms it is written."""
    job = blocked(bench, r"\p{L}+")
    with pytest.raises(Refused, match="must match") as refused:
        bench.engine.unblock(job, {"name": "R2D2"}, bench.engine.user)
    assert refused.value.status == 422
    bench.engine.unblock(job, {"name": "Zoë"}, bench.engine.user)
    assert job.build.meta_data == {"name": "Zoë"}


@pytest.mark.parametrize("pattern", ["[", "(", "*", r"\p{Nothing}", "(a{1000}){1000}", r"(?<n>a)(?<n"])
def test_invalid_format_is_refused_with_its_step(bench: Any, pattern: str) -> None:
    """What is no regular expression, or would not fit into memory, is refused when the pipeline arrives."""
    with pytest.raises(Refused, match=r"step 1 \('go\?'\): 'fields\.0\.format'"):
        blocked(bench, pattern)


def test_an_endless_match_ends(bench: Any) -> None:
    """A format that backtracks for ever refuses the value after a moment; the server goes on."""
    job = blocked(bench, "(a|a)*")
    began = time.monotonic()
    with pytest.raises(Refused, match="takes too long"):
        bench.engine.unblock(job, {"name": "a" * 60 + "b"}, bench.engine.user)
    assert time.monotonic() - began < 20
    bench.engine.unblock(job, {"name": "aa"}, bench.engine.user)


@pytest.mark.parametrize(
    ("query", "path", "found"),
    [
        ("out/*", "out/a/b.txt", True),
        ("./out/**/b.txt", "out/b.txt", True),
        ("a.txt;*.{x}", "b.{x}", True),
        ("?.txt", "ab.txt", False),
        ("[a].txt", "a.txt", False),
    ],
)
def test_artifacts_are_searched_by_wildcards(query: str, path: str, found: bool) -> None:
    """A search of artifacts knows ``*``, ``**``, ``?`` and ``;``, and nothing else."""
    assert matches(query, path) is found


def test_an_endless_search_ends() -> None:
    """A search with very many wildcards is refused after a moment."""
    began = time.monotonic()
    with pytest.raises(Refused, match="takes too long"):
        matches("*a?" * 30 + "c", "a" * 3000 + "b")
    assert time.monotonic() - began < 20


@given(st.text(alphabet=r"ab\pdwuk{}[]()<>?*+|^$-,L:1=&", max_size=14), st.text(max_size=8))
def test_any_format_is_read_or_refused(pattern: str, value: str) -> None:
    """Whatever a pipeline says: no other exception leaves the check."""
    try:
        matches_format(pattern, value)
    except PatternError:
        return
