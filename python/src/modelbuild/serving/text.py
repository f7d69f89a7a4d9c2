"""How a text is written, made one: the first step of :mod:`modelbuild.serving.features`.

People, phones, word processors and web pages write the same words with different characters: *don't* with
one of ten apostrophes, full-width letters, accents as characters of their own, no-break spaces, characters
that cannot be seen. :func:`normalize` makes them equal, so that they have the same n-grams.

The characters are listed here, and not taken from :mod:`unicodedata` by category, because the categories
of new characters change with the version of Python. NFKC and case folding never change for a character
that Unicode has assigned.
"""

from __future__ import annotations

import re
import unicodedata

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
# No-break spaces and ellipses; spaces that NFKC leaves; and two trade marks, of which it makes letters.
_SPACES = "\u00a0\u1680\u2026\u2028\u2029\u202f\u2800\u2120\u2122" + "".join(map(chr, range(0x80, 0xA0)))
_TYPOGRAPHY = re.compile(f"[{_APOSTROPHES}{_QUOTES}{_DASHES}{_SPACES}{_INVISIBLE}]")
_TYPED = {
    **dict.fromkeys(_APOSTROPHES, "'"),
    **dict.fromkeys(_QUOTES + _SPACES, " "),
    **dict.fromkeys(_DASHES, "-"),
}
"""What a plain keyboard has in place of a typographic sign; of an invisible one it has nothing."""

# Normalisation takes the square of the marks that follow each other, which are three at most in writing.
_TOO_MANY_SIGNS = re.compile(r"([^\w\s\x00-\x7f]{30})[^\w\s\x00-\x7f]+")

# Punctuation, symbols and emoji beyond ASCII, which end a word as those of ASCII do.
_SIGNS = re.compile(
    "[\u00a1-\u00bf\u00d7\u00f7\u055b-\u055f\u0589\u060c\u061b\u061e\u061f\u066a-\u066d\u06d4"
    "\u0964\u0965\u104a\u104b\u1362-\u1368\u2010-\u2bff\u2e00-\u2e7f\u3001-\u3004\u3010-\u3020\u3030"
    "\u303d-\u303f\u30fb\ufffc\ufffd\U0001f000-\U0001faff]+"
)

_ELLIPSIS = re.compile(r"\.{2,}")
_BLANK = "".join(map(chr, (*range(0x21), 0x7F)))
_LETTER_OF_ASCII = re.compile("[0-9A-Za-z]")


def normalize(text: str) -> str:
    """The text in small letters, as a plain keyboard writes it.

    - NFKC and full case folding: full-width, bold and circled letters are plain ones, and an accent is the
      same whether it is a character of its own or part of the letter.
    - Characters that are not seen are removed. ZERO WIDTH JOINER and NON-JOINER are among them, also where
      they matter to how a text looks: a family emoji is its members in a row, and a Persian word with a
      non-joiner is the same word written without.
    - Apostrophes are removed. Quotation marks, ellipses and all kinds of space are spaces, and dashes are
      hyphens.
    - Punctuation, symbols and emoji beyond ASCII stand between spaces.

    The result holds no NUL. A text that has been normalised is not changed again.
    """
    if not text.isascii():
        text = _TYPOGRAPHY.sub(_typed, text)
    if not text.isascii():
        text = _unify(text)
    text = text.lower().replace("'", "").replace("`", "").replace('"', " ").replace("\0", " ")
    return _ELLIPSIS.sub(" ", text) if ".." in text else text


def has_tokens(text: str) -> bool:
    """Whether anything is left of the text that the model can know."""
    return _LETTER_OF_ASCII.search(text) is not None or bool(normalize(text).strip(_BLANK))


def _unify(text: str) -> str:
    text = _TOO_MANY_SIGNS.sub(r"\1", text)
    # The first round leaves what the second finds: a capital that was a bold capital, for example.
    for _ in range(2):
        text = unicodedata.normalize("NFKC", text.casefold())
        text = _TYPOGRAPHY.sub(_typed, text)
    return _SIGNS.sub(r" \g<0> ", text)


def _typed(match: re.Match[str]) -> str:
    return _TYPED.get(match[0], "")
