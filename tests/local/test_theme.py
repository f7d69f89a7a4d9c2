"""The colours of the stand-ins' pages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import modelbuild_local

LOCAL = Path(modelbuild_local.__file__).parent
THEME = (LOCAL / "templates" / "theme.css").read_text()
STYLES = sorted(
    path
    for path in LOCAL.rglob("templates/*")
    if path.suffix in (".css", ".html") and path.name != "theme.css"
)
BEHIND_TEXT = ("bg", "card", "code")
IN_TEXT = ("text", "soft")
TONES = ("passed", "failed", "running", "blocked", "info", "idle")
AA = 4.5
"""The contrast that WCAG 2 asks for text of normal size, level AA (success criterion 1.4.3)."""


def colours(theme: str) -> dict[str, str]:
    """The variables of a theme."""
    light, dark = re.findall(r":root \{([^}]*)\}", THEME)
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", light if theme == "light" else dark))


def luminance(colour: str) -> float:
    """The relative luminance of ``#rrggbb``, as WCAG 2 defines it."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours, from 1 to 21."""
    dark, light = sorted([luminance(one), luminance(other)])
    return (light + 0.05) / (dark + 0.05)


def test_the_contrast_is_that_of_wcag() -> None:
    """Black on white has 21:1, and #767676 is the lightest grey that passes on white."""
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") >= AA > contrast("#777777", "#ffffff")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_text_can_be_read(theme: str) -> None:
    """Text on each ground, badges' text on each tone, and tones as text on a card have at least 4.5:1."""
    values = colours(theme)
    pairs = [(text, ground) for text in IN_TEXT for ground in BEHIND_TEXT]
    pairs += [("on-tone", tone) for tone in TONES]
    pairs += [(tone, "card") for tone in TONES]
    ratios = {pair: contrast(values[pair[0]], values[pair[1]]) for pair in pairs}
    assert {pair: round(ratio, 2) for pair, ratio in ratios.items() if ratio < AA} == {}


def test_no_page_has_a_colour_of_its_own() -> None:
    """A colour in a template beside the theme would not be looked at: each is a variable of the theme."""
    assert len(STYLES) > 6
    own = re.compile(r"(?<![&\w])#(?:[0-9a-f]{3}){1,2}\b|(?<![\w.-])(?:white|black)(?![\w-])|\brgb|\bhsl")
    assert {path.name: own.findall(path.read_text()) for path in STYLES if own.search(path.read_text())} == {}
    used = {name for path in STYLES for name in re.findall(r"var\(--([\w-]+)\)", path.read_text())}
    # These two are set to variables of the theme, by the class of an element.
    assert used - {"tone", "line-tone"} <= set(colours("light"))
