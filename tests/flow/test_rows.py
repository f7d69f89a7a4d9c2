"""Rows of a file beside a flow."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelbuild.errors import ConfigurationError
from modelbuild.flow.rows import (
    CONTRADICTORY_LABELS,
    REFUSED_TEXT,
    SAME_TEXT,
    distinct,
    hold_out,
    read_csv,
    read_labelled_texts,
    split,
)


def written(folder: Path, content: str | bytes) -> Path:
    """A file with this content."""
    path = folder / "data.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_columns_are_read_by_their_names(tmp_path: Path) -> None:
    """Order, further columns, quotes, line breaks in a value and a byte order mark do not matter."""
    path = written(tmp_path, '\ufefflabel,more,text\r\ngood,1,"two\nlines, ""quoted"""\r\nbad,2,plain\r\n')
    assert read_csv(path, ["text", "label"]) == [
        {"text": 'two\nlines, "quoted"', "label": "good"},
        {"text": "plain", "label": "bad"},
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\n", "data.csv has no column 'text': its columns are a, b"),
        ("", "has no column 'text': its columns are none"),
        ("text,label\n", "has no rows below its first line"),
        (b"text,label\n\xff\xfe,x\n", "cannot be read as CSV in UTF-8: 'utf-8' codec"),
        ('text,label\n"a,b\n', "cannot be read as CSV in UTF-8: unexpected end"),
    ],
)
def test_missing_file_is_one_sentence(content: str | bytes, message: str, tmp_path: Path) -> None:
    """The sentence names the file, and what it has in place of what was expected."""
    with pytest.raises(ConfigurationError, match=message):
        read_csv(written(tmp_path, content), ["text", "label"])


def test_a_missing_file_is_a_sentence(tmp_path: Path) -> None:
    """The system says why."""
    with pytest.raises(ConfigurationError, match="No such file or directory"):
        read_csv(tmp_path / "none.csv", ["text"])


def test_texts_count_once_and_contradictions_not_at_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither texts that the server refuses nor rows without a label are rows to learn from; the log says how
    many rows are left out, and why.
    """
    rows = f"text,label\ngood,p\ngood,p\nso so,p\nso so,n\n...,p\nnone,\nbad, n \n{'a ' * 6_000},n\n"
    assert read_labelled_texts(written(tmp_path, rows), "text", "label") == [("good", "p"), ("bad", "n")]
    assert capsys.readouterr().out == (
        "data.csv: 8 rows, of which 2 texts with one label each, 1 left out (no label), 1 left out (the same "
        "text as another row), 2 left out (the same text with another label), 2 left out (a text without a "
        "word, or of more than 10,000 characters).\n"
    )


def test_rows_that_are_left_out_are_counted_by_reason() -> None:
    """Kept and dropped rows together are all rows."""
    rows = [("good", "p"), ("GOOD", "p"), ("good ", "p"), ("so so", "p"), ("so so", "n"), ("...", "p")]
    dropped: dict[str, int] = {}
    kept = distinct(rows, text=lambda row: row[0], label=lambda row: row[1], dropped=dropped)
    assert kept == [("good", "p")]
    assert dropped == {SAME_TEXT: 2, CONTRADICTORY_LABELS: 2, REFUSED_TEXT: 1}


def test_one_label_is_no_classification(tmp_path: Path) -> None:
    """A column that was mixed up is named."""
    path = written(tmp_path, "text,label\ngood,p\nbad,p\n")
    with pytest.raises(ConfigurationError, match=r"column 'label' of data\.csv has fewer than two labels"):
        read_labelled_texts(path, "text", "label")
    path = written(tmp_path, f"text,label\ngood,p\n{'a' * 10_001},n\n")
    with pytest.raises(ConfigurationError, match=r"of 2 rows 1 are left, 1 left out \(a text without a word"):
        read_labelled_texts(path, "text", "label")


@given(st.lists(st.integers(0, 40), min_size=2, max_size=60), st.integers(1, 99), st.integers(0, 5))
def test_a_key_is_on_one_side_and_stays_there(keys: list[int], percent: int, seed: int) -> None:
    """No key has rows on both sides, no row is lost, and more rows leave the others where they are."""
    rows = [(f"key {key}", number) for number, key in enumerate(keys)]
    # On these both sides have rows, whatever the others are.
    rows += [(f"fixed {n}", n) for n in range(2_000)]
    train, test = split(rows, lambda row: row[0], test_percent=percent, seed=seed)
    assert not {key for key, _ in train} & {key for key, _ in test}
    assert sorted(train + test) == sorted(rows)
    more = [*rows, *((f"another {n}", n) for n in range(50))]
    again, _ = split(more, lambda row: row[0], test_percent=percent, seed=seed)
    assert [row for row in again if row in rows] == train


@pytest.mark.parametrize(("keys", "percent"), [(["a"], 50), (["a", "a", "a"], 99)])
def test_a_split_needs_rows_on_both_sides(keys: list[str], percent: int) -> None:
    """Too few rows, or all with one key, are a sentence with what is held out and both numbers."""
    with pytest.raises(ConfigurationError, match=rf"^{percent} percent are held out: that leaves \d rows to"):
        split(keys, lambda row: row, test_percent=percent, seed=1)


def test_rows_can_be_held_out_by_the_beginning_of_their_key() -> None:
    """A data set with a split of its own keeps it; a text with which no key begins is a sentence."""
    keys = ["test/1", "train/1", "test/2", "train/test/3"]
    held_out = ["test/1", "test/2"]
    train = ["train/1", "train/test/3"]
    assert hold_out(keys, str, "test/", seed=1) == (train, held_out)
    assert hold_out(keys, str, 50, seed=1) == split(keys, str, test_percent=50, seed=1)
    with pytest.raises(ConfigurationError, match=r"^what begins with 'dev/' is held out: that leaves 4 rows"):
        hold_out(keys, str, "dev/", seed=1)


def test_the_first_of_the_same_texts_is_kept() -> None:
    """Case, spaces, quotation marks and typographic signs make no other text; too long ones are left out."""
    texts = ["b", "It\u2019s  good", "its GOOD", '"b"', "x" * 10_001, "\u200b", "c"]
    assert distinct(texts, text=str, label=lambda _: "one") == ["b", "It\u2019s  good", "c"]


@given(st.lists(st.tuples(st.sampled_from("aAbB c"), st.sampled_from("pn")), max_size=12))
def test_distinct_rows_have_one_text_and_one_label_each(rows: list[tuple[str, str]]) -> None:
    """No text stays twice, and none that has two labels; a row with the text of no other row stays."""
    kept = distinct(rows, text=lambda row: row[0], label=lambda row: row[1])
    texts = [text.casefold() for text, _ in kept]
    assert len(texts) == len(set(texts))
    for text in texts:
        assert len({label for other, label in rows if other.casefold() == text}) == 1
    alone = [
        row for row in rows if row[0] != " " and [r[0].casefold() for r in rows].count(row[0].casefold()) == 1
    ]
    assert set(alone) <= set(kept)
