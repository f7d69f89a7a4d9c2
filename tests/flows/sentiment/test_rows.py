from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rows import LABELS, Labelled, Rated, label, labelled, split

ROW = Rated("tweets/1", "Good day", 2.0, "tweets", "tweets/1", 0.4)


@pytest.mark.parametrize(
    ("rating", "expected"),
    [(0.51, "positive"), (0.5, "neutral"), (0.0, "neutral"), (-0.5, "neutral"), (-0.51, "negative")],
)
def test_tau_itself_is_neutral(rating: float, expected: str) -> None:
    """A rating is positive or negative only beyond tau."""
    assert LABELS[label(rating, 0.5)] == expected


def test_a_text_counts_once() -> None:
    """Copies that differ in case, handles, links or a leading RT are one row: that of the lowest id."""
    copies = [
        replace(ROW, id=f"tweets/{n}", text=text)
        for n, text in enumerate(["RT @you good  DAY", "good day https://x.y/z", "Good day"], start=2)
    ]
    assert [item.row.id for item in labelled([*reversed(copies), ROW], 0.5)] == ["tweets/1"]


def test_contradictory_copies_do_not_count() -> None:
    """A text that people rated positive in one place and negative in another is no evidence."""
    assert labelled([ROW, replace(ROW, id="tweets/2", rating=-2.0)], 0.5) == []


@given(st.lists(st.integers(0, 30), max_size=60), st.integers(1, 99), st.integers(0, 5))
def test_a_document_is_on_one_side(documents: list[int], percent: int, seed: int) -> None:
    """Whatever the split, no document has rows in both halves and no row is lost."""
    rows = [Labelled(replace(ROW, id=f"x/{n}", document=f"x/{d}"), 0) for n, d in enumerate(documents)]
    # On these both sides have rows, whatever the others are.
    rows += [Labelled(replace(ROW, id=f"y/{n}", document=f"y/{n}"), 0) for n in range(2_000)]
    train, test = split(rows, percent, seed)
    assert not {item.row.document for item in train} & {item.row.document for item in test}
    assert sorted(item.row.id for item in train + test) == sorted(item.row.id for item in rows)


def test_the_real_data_is_what_the_readme_says(all_rated: list[Rated]) -> None:
    """The archive holds 23,703 texts of four domains, with ratings from -4 to 4."""
    assert len(all_rated) == 23_703
    assert {row.domain for row in all_rated} == {"tweets", "amazon", "movie", "nyt"}
    assert all(-4 <= row.rating <= 4 and -1 <= row.vader_compound <= 1 for row in all_rated)


def test_a_fifth_is_held_out(halves: tuple[list[Labelled], list[Labelled]]) -> None:
    """Of the real data roughly the asked share is held out, even of the domain with few documents."""
    train, test = halves
    for domain in ("tweets", "amazon", "movie", "nyt"):
        held = sum(item.row.domain == domain for item in test)
        assert 0.12 < held / (held + sum(item.row.domain == domain for item in train)) < 0.30
