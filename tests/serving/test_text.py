from __future__ import annotations

import sys
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelbuild.serving import text as text_module
from modelbuild.serving.features import features
from modelbuild.serving.kinds.hashed_ngrams import HashedNgramsModel, HashedNgramsOptions
from modelbuild.serving.text import has_tokens, normalize

FORMAT_CHARACTERS = [
    chr(code) for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)) == "Cf"
]
INVISIBLE = [*FORMAT_CHARACTERS, "\u034f", "\ufe0e", "\ufe0f", "\U000e0100", "\u180b", "\u3164"]
QUOTES = [
    "\u201c{}\u201d",
    "\u201e{}\u201c",
    "\u2018{}\u2019",
    "\u00ab{}\u00bb",
    "\u300c{}\u300d",
    "\uff02{}\uff02",
]
WORDS = st.text(st.sampled_from("abz\u00e9\u00fc\u6f22\u0928\u093f7! :)"), min_size=1, max_size=30)


def buckets(text: str) -> list[int]:
    """The buckets of one text."""
    ids, _ = features([text], buckets=2**30, ngrams=3)
    return [int(one) for one in ids]


@pytest.mark.parametrize(
    "text",
    [
        "\u201cGreat\u201d",
        '"great"',
        "\u2018great\u2019",
        "`great`",
        "\u00abgreat\u00bb",
        "\u300cgreat\u300d",
        "great\u2026",
        "great...",
        "great\u00a0",
        "\u202f\u3000great\u2003\u2028",
        "\ufeffgreat",
        "gr\u200beat",
        "gr\u00adeat",
        "\u202egreat\u202c",
        "great\ufe0f",
        "\uff27\uff32\uff25\uff21\uff34",
        "\U0001d420\U0001d42b\U0001d41e\U0001d41a\U0001d42d",
        "\u24bd".replace("\u24bd", "\u24d6\u24e1\u24d4\u24d0\u24e3"),
        "great\u2122",
        "\x85great\x9c\u2800",
    ],
)
def test_variants_of_characters_give_the_same_text(text: str) -> None:
    """Quotation marks, ellipses, spaces, invisible characters and styles of letters change nothing."""
    assert buckets(text) == buckets("great")


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("caf\u00e9", "cafe\u0301"),
        ("caf\u00e9", "CAFE\u200d\u0301"),
        ("Stra\u00dfe", "STRASSE"),
        ("well\u2011known \u2013 truly\u2014so", "well-known - truly-so"),
        ("don\u2019t", "dont"),
        ("don\u00b4t", "don't"),
        ("don\u02bct", "don`t"),
        ("\uff12\uff10\uff12\uff16\uff01\uff01", "2026!!"),
        ("fine\u3000day", "fine day"),
        ("love\u2764\ufe0fit", "love \u2764 it"),
        ("great\U0001f600", "great \U0001f600"),
        ("\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f468\U0001f469\U0001f467"),
        ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\u0645\u06cc\u062e\u0648\u0627\u0647\u0645"),
    ],
)
def test_two_ways_to_write_one_text_are_one(text: str, plain: str) -> None:
    """Accents, dashes, apostrophes and emoji are known in each form in which people type them."""
    assert buckets(text) == buckets(plain)


@pytest.mark.parametrize(
    ("one", "other"),
    [("not good", "notgood"), ("good", "good!"), ("\u2764", "\U0001f600"), ("caf\u00e9", "cafe")],
)
def test_what_differs_stays_different(one: str, other: str) -> None:
    """Words, exclamation marks, emoji and accents still count."""
    assert buckets(one) != buckets(other)


@given(WORDS, st.data())
def test_invisible_characters_change_nothing(text: str, data: st.DataObject) -> None:
    """Any format character or variation selector, anywhere, even between a letter and its accent."""
    position = data.draw(st.integers(0, len(text)))
    decomposed = unicodedata.normalize("NFD", text)
    for written in (text, decomposed):
        with_it = written[:position] + data.draw(st.sampled_from(INVISIBLE)) + written[position:]
        assert buckets(with_it) == buckets(text)


@given(WORDS, st.sampled_from(QUOTES))
def test_quotation_marks_change_nothing(text: str, quotes: str) -> None:
    """A quoted text is the text."""
    assert buckets(quotes.format(text)) == buckets(text)


@given(st.text(max_size=40), st.sampled_from(["NFC", "NFD", "NFKC", "NFKD"]))
def test_the_form_of_unicode_does_not_matter(text: str, form: str) -> None:
    """A text has the buckets of each of its four normal forms."""
    typed = text.translate({0x00B4: "'", 0x2120: " ", 0x2122: " "})
    assert buckets(unicodedata.normalize(form, typed)) == buckets(typed)  # type: ignore[arg-type]


@given(st.text(max_size=60))
def test_a_normalised_text_is_not_changed_again(text: str) -> None:
    """All that there is to do is done at once, and no NUL is left."""
    once = normalize(text)
    assert buckets(once) == buckets(text)
    assert "\0" not in once


@given(
    st.text(max_size=10) | st.text(st.sampled_from([*INVISIBLE, " ", "'", '"', "\x00", "\u201c", "\u2026"]))
)
def test_a_text_has_tokens_when_it_has_buckets(text: str) -> None:
    """What the server refuses as empty is exactly what the model knows nothing of."""
    assert has_tokens(text) == bool(buckets(text))


def test_marks_without_end_take_no_longer_than_letters() -> None:
    """Of 10,000 accents on one letter 30 count; sorting all of them would take the square of the time."""
    many = "e" + "\u0316\u0301" * 5_000
    assert len(normalize(many)) < 40


def test_scores_are_the_same_however_it_is_written() -> None:
    """The same words have the same label and the same scores to the last bit."""
    options = HashedNgramsOptions(buckets=4096, ngrams=2)
    weight = np.random.default_rng(3).normal(size=(4096, 2)).astype(np.float32)
    model = HashedNgramsModel(("a", "b"), options, weight, np.zeros(2, np.float32))
    plain, typed = model.predict(["It is not great", "\ufeff\u201cIt\u00a0is not gre\u00adat\u201d\u2026"])
    assert plain == typed


@given(
    st.text(max_size=40)
    | st.text(st.sampled_from("aA \t\u0301\u0308\u00b4\u00a8\u00c4\u03a3\u01c5\u0149\ufb01"))
)
def test_words_are_normalised_as_the_whole_text_is(text: str) -> None:
    """Words one by one, with fewer rounds, give the tokens that two rounds on the whole text give."""
    whole = text_module._LONG_RUN_OF_MARKS.sub(
        r"\1", text_module._TYPOGRAPHY.sub(text_module._replacement, text)
    )
    for _ in range(2):
        whole = unicodedata.normalize("NFKC", whole.casefold())
        whole = text_module._TYPOGRAPHY.sub(text_module._replacement, whole)
    whole = text_module._SIGNS.sub(r" \g<0> ", whole)
    assert normalize(text).split() == normalize(whole).split()
