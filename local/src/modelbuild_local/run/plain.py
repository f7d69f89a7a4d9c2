"""Converts the HTML of an annotation to short plain text for a terminal."""

from __future__ import annotations

import re
from html.parser import HTMLParser

_LINES = re.compile(
    r"address|article|blockquote|div|dl|dt|dd|h[1-6]|hr|li|ol|p|pre|section|summary|table|tbody|thead|tr|ul"
)
"""Elements that begin and end a line."""
_CELL, _TABLE_END = "\t", "\v"
"""Control characters that mark cells and tables, and do not occur in text."""
_WIDEST_CELL = 60


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.link: str | None = ""
        self.verbatim = 0
        self.closed = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if tag == "details" and (self.closed or "open" not in attributes):
            self.closed += 1
        if self.closed:
            return
        if tag == "br" or _LINES.fullmatch(tag):
            self.parts.append("\n")
        if tag == "li":
            self.parts.append("- ")
        elif tag == "pre":
            self.verbatim += 1
        elif tag == "a" and self.link == "":
            self.link = attributes.get("href") or ""
        elif tag == "img" and attributes.get("alt"):
            self.parts.append(f"[{attributes['alt']}]")

    def handle_endtag(self, tag: str) -> None:
        if self.closed:
            self.closed -= tag == "details"
            return
        if tag in ("td", "th"):
            self.parts.append(_CELL)
        elif _LINES.fullmatch(tag):
            self.parts.append(f"\n{_TABLE_END}\n" if tag == "table" else "\n")
        if tag == "pre":
            self.verbatim = max(0, self.verbatim - 1)
        elif tag == "a" and self.link:
            if self.link.startswith("http"):
                self.parts.append(f" ({self.link})")
            self.link = None

    def handle_data(self, data: str) -> None:
        if self.closed:
            return
        kept = re.sub(r"[\t\v\f\r]", " ", data) if self.verbatim else re.sub(r"\s+", " ", data)
        self.parts.append(kept)


def to_text(html: str) -> str:
    """The visible text of ``html``: a line for each paragraph, item and table row, and an empty one before a
    table.

    It omits closed details and the addresses of all links but the first, which are on the build page.
    """
    parser = _Text()
    parser.feed(html)
    parser.close()
    shown: list[str] = []
    table: list[list[str]] = []
    for line in "".join(parser.parts).split("\n"):
        if _CELL in line:
            table.append([cell.strip() for cell in line.removesuffix(_CELL).split(_CELL)])
        elif line == _TABLE_END:
            shown += ["", *_aligned(table)] if shown else _aligned(table)
            table = []
        elif line.strip():
            shown.append(line.rstrip())
    return "\n".join(shown + _aligned(table))


def _aligned(table: list[list[str]]) -> list[str]:
    """The rows of one table, with aligned columns."""
    width = max((len(row) for row in table), default=0)
    rows = [row + [""] * (width - len(row)) for row in table]
    widths = [min(_WIDEST_CELL, max(map(len, column))) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(space) for cell, space in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
