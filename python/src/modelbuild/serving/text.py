"""Normalises texts: the first step of :mod:`modelbuild.serving.features`.

People, phones, word processors and web pages write the same words with different characters: *don't* with
one of ten apostrophes, full-width letters, combining accents, no-break spaces, invisible characters.
:func:`normalize` writes them in one way, so that they have the same n-grams.

This module lists the characters and does not ask :mod:`unicodedata` for categories, because the categories
of new characters change with the version of Python. NFKC and case folding never change for a character
that Unicode has assigned.
"""

from __future__ import annotations

import functools
import re
import string
import unicodedata
from collections.abc import Sequence

import numpy as np

# Default_Ignorable_Code_Point of Unicode, and every other format character (category Cf): soft hyphen,
# zero-width space and joiners, marks and overrides of direction, byte order mark, variation selectors,
# Hangul fillers, tags.
_INVISIBLE = (
    "\u00ad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff"
)
_APOSTROPHES = "\u00b4\u02b9\u02bb\u02bc\u02bd\u055a\u2018\u2019\u201a\u201b\u2032\u2035\u275b\u275c\ua78c"
_QUOTES = (
    "\u00ab\u00bb\u02ba\u02ee\u201c\u201d\u201e\u201f\u2033\u2034\u2036\u2037\u2039\u203a\u2057"
    "\u275d\u275e\u276e\u276f\u2e42\u3008\u3009\u300a\u300b\u300c\u300d\u300e\u300f\u301d\u301e\u301f"
)
_DASHES = "\u058a\u2010\u2011\u2012\u2013\u2014\u2015\u2043\u2212\u2e3a\u2e3b\u301c"
# No-break spaces and ellipses; spaces that NFKC keeps; and two trade marks, which NFKC turns into letters.
_SPACES = "\u00a0\u1680\u2026\u2028\u2029\u202f\u2800\u2120\u2122" + "".join(map(chr, range(0x80, 0xA0)))
_TYPOGRAPHY = re.compile(f"[{_APOSTROPHES}{_QUOTES}{_DASHES}{_SPACES}{_INVISIBLE}]")
_REPLACEMENTS = {
    **dict.fromkeys(_APOSTROPHES, "'"),
    **dict.fromkeys(_QUOTES + _SPACES, " "),
    **dict.fromkeys(_DASHES, "-"),
}
"""The plain character in place of a typographic one; an invisible character is removed."""

# The time of normalisation grows with the square of a run of combining marks; real texts have at most three.
_LONG_RUN_OF_MARKS = re.compile(r"([^\w\s\x00-\x7f]{30})[^\w\s\x00-\x7f]+")

# Punctuation, symbols and emoji beyond ASCII; like those of ASCII they end a word.
_SIGNS = re.compile(
    "[\u00a1-\u00bf\u00d7\u00f7\u055b-\u055f\u0589\u060c\u061b\u061e\u061f\u066a-\u066d\u06d4"
    "\u0964\u0965\u104a\u104b\u1362-\u1368\u2010-\u2bff\u2e00-\u2e7f\u3001-\u3004\u3010-\u3020\u3030"
    "\u303d-\u303f\u30fb\ufffc\ufffd\U0001f000-\U0001faff]+"
)

_ELLIPSIS = re.compile(r"\.{2,}")
_BLANK = "".join(map(chr, (*range(0x21), 0x7F)))
_LETTER_OF_ASCII = re.compile("[0-9A-Za-z]")

_PLAIN = bytes.maketrans(
    (_BLANK[1:] + '"' + string.ascii_uppercase).encode(),
    (" " * len(_BLANK) + string.ascii_lowercase).encode(),
)


def normalize(text: str) -> str:
    """The text in lower case, with the characters of a plain keyboard.

    - NFKC and full case folding make full-width, bold and circled letters plain, and compose a letter with
      its combining accent.
    - Invisible characters are removed, also ZERO WIDTH JOINER and NON-JOINER where they change how a text
      looks: a family emoji becomes its members in a row, and a Persian word loses its non-joiner.
    - Apostrophes are removed. Quotation marks, ellipses and all kinds of space become spaces, dashes hyphens.
    - Punctuation, symbols and emoji beyond ASCII get a space on each side.

    The result holds no NUL. Normalising it again changes nothing.
    """
    if not text.isascii():
        text = _normalize_words(text)
    text = text.lower().replace("'", "").replace("`", "").replace('"', " ").replace("\0", " ")
    return _ELLIPSIS.sub(" ", text) if ".." in text else text


def normalized_bytes(texts: Sequence[str]) -> bytes:
    """The normalised texts in UTF-8, with NUL between two texts.

    They have the tokens of :func:`normalize`; between tokens there may be other control characters or spaces.
    ASCII is normalised for all texts at once, which is many times faster.
    """
    joined = "\0".join([text if text.isascii() else _normalize_words(text) for text in texts])
    if joined.count("\0") != len(texts) - 1:
        joined = "\0".join(map(normalize, texts))
    return _blank_ellipses(joined.encode(errors="replace").translate(_PLAIN, b"'`"))


def has_tokens(text: str) -> bool:
    """Whether the normalised text holds a token."""
    return _LETTER_OF_ASCII.search(text) is not None or bool(normalize(text).strip(_BLANK))


def _normalize_words(text: str) -> str:
    """The text with its words beyond ASCII normalised; capitals of ASCII and its apostrophes stay."""
    return " ".join([word if word.isascii() else _normalize_word(word) for word in text.split(" ")])


def _normalize_word(word: str) -> str:
    # A text without spaces is one word. Only short words are cached, so the cache stays below 2 MB.
    return _normalize_short(word) if len(word) <= _SHORT else _normalize_unicode(word)


def _normalize_unicode(word: str) -> str:
    word = _TYPOGRAPHY.sub(_replacement, word)
    if word.isascii():
        return word
    word = _LONG_RUN_OF_MARKS.sub(r"\1", word)
    # One round is not enough: NFKC turns a bold capital into a plain capital, which needs case folding.
    for _ in range(2):
        before = word
        word = _TYPOGRAPHY.sub(_replacement, unicodedata.normalize("NFKC", word.casefold()))
        if word == before:
            break
    # Case folding gives Cherokee its capitals.
    return _SIGNS.sub(r" \g<0> ", word.lower())


def _blank_ellipses(data: bytes) -> bytes:
    """The bytes with a control character in place of each dot that has another one beside it."""
    characters = np.frombuffer(data, dtype=np.uint8)
    dots = characters == ord(".")
    pairs = (dots[:-1] & dots[1:]).nonzero()[0]
    if not len(pairs):
        return data
    blanked = characters.copy()
    blanked[pairs] = blanked[pairs + 1] = 1
    return bytes(blanked)


_SHORT = 32
_normalize_short = functools.lru_cache(maxsize=4096)(_normalize_unicode)


def _replacement(match: re.Match[str]) -> str:
    return _REPLACEMENTS.get(match[0], "")
