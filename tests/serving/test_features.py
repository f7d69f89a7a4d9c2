from __future__ import annotations

import sys
import unicodedata
from itertools import groupby, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelbuild.contract import sha256_of
from modelbuild.serving.features import features
from modelbuild.serving.text import normalize

TEXTS = st.lists(
    st.text(max_size=60) | st.text(st.sampled_from("aB.'\"\x00\x01 !\u2019\ud800"), max_size=20), max_size=8
)


LONGEST = st.sampled_from([0, *range(3, 9)])


def ids_of(text: str, ngrams: int = 1, buckets: int = 2**20, characters: int = 0) -> list[int]:
    """The buckets of one text."""
    ids, offsets = features([text], buckets=buckets, ngrams=ngrams, characters=characters)
    assert offsets.tolist() == [0, len(ids)]
    return [int(one) for one in ids]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("good", [922247]),
        ("Good :) café", [922247, 446235, 172873, 346041, 613217]),
        ("", []),
    ],
)
def test_buckets_never_change(text: str, expected: list[int]) -> None:
    """A bucket is part of every published model: these values hold on every machine and version."""
    assert ids_of(text, ngrams=2) == expected


def test_buckets_of_characters_never_change() -> None:
    """The buckets of n-grams of characters follow those of words, and hold on every machine and version."""
    expected = [431310, 698801, 923855, 385205, 668253, 874084]
    assert ids_of("so ok", characters=3) == expected
    assert ids_of("so ok") == expected[:2]


def test_no_character_has_other_buckets() -> None:
    """Each character that Unicode 3.2 has, also half of a pair of surrogates, alone and within a word.

    They are normalised alike by every later version of Unicode, and so of Python.
    """
    categories = (
        (chr(code), unicodedata.ucd_3_2_0.category(chr(code))) for code in range(sys.maxunicode + 1)
    )
    texts = [f"{one} a{one}b." for one, category in categories if category not in ("Cn", "Co")]
    ids, offsets = features(texts, buckets=2**32, ngrams=1)
    found = sha256_of(ids.astype("<i8").tobytes() + offsets.astype("<i8").tobytes())
    assert (len(texts), found) == (
        97_269,
        "6c8ed6835a4d5d126c740b9af9215a0f7b3f9f4691ce7de68a34cefa493fd378",
    )


def test_characters_do_not_cross_words() -> None:
    """A word has the same n-grams of characters wherever it stands, and signs beside it belong to it."""
    word, other = ids_of("great", characters=5), ids_of("tools", characters=5)
    assert sorted(ids_of("great  \ttools", characters=5)) == sorted(word + other)
    assert len(ids_of("a!", characters=8)) == 2 + 3


def test_case_and_apostrophes_do_not_matter() -> None:
    """Don't with either apostrophe, in any case, and dont are one token."""
    assert ids_of("Don't") == ids_of("DON\u2019T") == ids_of("dont")


def test_tokens_end_where_the_kind_of_sign_changes() -> None:
    """A word, a run of signs and the next word are three tokens, with or without spaces between."""
    assert ids_of("yes!!no") == ids_of("yes !! no") == ids_of("\tyes\n!!\x00no ")
    assert len(ids_of("yes!!no")) == 3


def test_ngrams_do_not_cross_from_text_to_text() -> None:
    """One n-gram of each size for each place it fits in its own text."""
    ids, offsets = features(["a b c", "d", "", "e f"], buckets=2**20, ngrams=3)
    assert np.diff(offsets).tolist() == [6, 1, 0, 3]
    assert ids[offsets[3] : offsets[4]].tolist() == ids_of("e f", ngrams=3)


def test_order_of_tokens_matters_to_ngrams() -> None:
    """The texts "not good" and "good not" share their words and not their pair."""
    first, second = ids_of("not good", ngrams=2), ids_of("good not", ngrams=2)
    assert set(first) & set(second) == set(ids_of("not good"))
    assert set(first) != set(second)


@given(TEXTS, st.integers(1, 2**24), st.integers(1, 5), LONGEST)
def test_a_batch_is_its_texts_one_by_one(
    texts: list[str], buckets: int, ngrams: int, characters: int
) -> None:
    """Whatever stands beside a text does not change its buckets, and every bucket exists."""
    ids, offsets = features(texts, buckets=buckets, ngrams=ngrams, characters=characters)
    assert ((ids >= 0) & (ids < buckets)).all()
    alone = [ids_of(text, ngrams, buckets, characters) for text in texts]
    assert [ids[a:b].tolist() for a, b in pairwise(offsets)] == alone


def test_different_words_rarely_collide() -> None:
    """10,000 words in 2^20 buckets collide about as often as chance has it (48), not more than twice that."""
    ids, _ = features([f"word{number}" for number in range(10_000)], buckets=2**20, ngrams=1)
    assert 10_000 - len(np.unique(ids)) < 100


def reference(text: str, buckets: int, ngrams: int, characters: int = 0) -> list[int]:
    """The same features by plain loops over Python's own integers."""

    def mixed(value: int) -> int:
        value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        value = (value ^ value >> 27) * 0x94D049BB133111EB % 2**64
        return value ^ value >> 31

    def kind(byte: int) -> str:
        if byte <= 32 or byte == 127:
            return "space"
        return "word" if byte >= 128 or chr(byte).isalnum() else "sign"

    base = 0x9E3779B97F4A7C15
    runs = [(name, bytes(run)) for name, run in groupby(normalize(text).encode(errors="replace"), kind)]
    words = [
        [int.from_bytes(run[start : start + 8], "little") for start in range(0, len(run), 8)]
        for name, run in runs
        if name != "space"
    ]
    tokens = [
        mixed(sum(word * pow(base, place, 2**64) for place, word in enumerate(token, start=1)) % 2**64)
        for token in words
    ]
    hashes = []
    for start in range(len(tokens)):
        gram = 0
        for token in tokens[start : start + ngrams]:
            gram = (gram * base + token) % 2**64
            hashes.append(gram)
    blanks = bytes(32 if kind(byte) == "space" else byte for byte in normalize(text).encode(errors="replace"))
    spaced = b" " + blanks + b" "
    for start in range(len(spaced)):
        for size in range(3, characters + 1):
            gram_bytes = spaced[start : start + size]
            if len(gram_bytes) == size and b" " not in gram_bytes[1:-1]:
                value = int.from_bytes(gram_bytes, "little") * 0xD1B54A32D192ED03 % 2**64
                hashes.append(mixed(value))
    return [(value >> 32) * buckets >> 32 for value in hashes]


LONG = st.text(
    st.sampled_from("abzA.'\"\x00\x01 !\u00e9\u2019\u2024\u2026\u13a0\uab70\ud800\U0001d6d3\U0001f600"),
    max_size=80,
)


@given(st.text(max_size=60) | LONG, st.integers(1, 2**24), st.integers(1, 5), LONGEST)
def test_the_batch_arithmetic_is_the_plain_one(text: str, buckets: int, ngrams: int, characters: int) -> None:
    """Numpy's wrapping 64-bit numbers give what the definition by plain integers gives."""
    assert ids_of(text, ngrams, buckets, characters) == reference(text, buckets, ngrams, characters)


def test_long_texts_and_tokens_are_hashed_whole() -> None:
    """Texts of more than one chunk, and tokens of a thousand words, have the features of the definition."""
    texts = ["x" * 9_000 + " y", "", "ab " * 30_000, "\0" * 70_000, "z" * 8 + "!" * 17]
    ids, offsets = features(texts, buckets=2**20, ngrams=3, characters=4)
    alone = [reference(text, 2**20, 3, 4) for text in texts]
    assert [ids[start:end].tolist() for start, end in pairwise(offsets)] == alone
