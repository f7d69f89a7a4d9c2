"""HTML of an annotation as plain text for a terminal."""

from __future__ import annotations

import re
from html.parser import HTMLParser

_LINES = re.compile(
    r"address|article|blockquote|details|div|dl|dt|dd|h[1-6]|hr|li|ol|p|pre|section|summary|table|tbody|thead|tr|ul"
)
"""Elements that begin and end a line."""


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.links: list[str] = []
        self.verbatim = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if _LINES.fullmatch(tag) or tag == "br":
            self.parts.append("\n")
        if tag == "li":
            self.parts.append("- ")
        elif tag == "pre":
            self.verbatim += 1
        elif tag == "a":
            self.links.append(given.get("href") or "")
        elif tag == "img" and given.get("alt"):
            self.parts.append(f"[{given['alt']}]")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self.parts.append("\t")
        elif _LINES.fullmatch(tag):
            self.parts.append("\n")
        if tag == "pre":
            self.verbatim = max(0, self.verbatim - 1)
        elif tag == "a" and self.links:
            link = self.links.pop()
            if link.startswith("http") and link not in "".join(self.parts[-3:]):
                self.parts.append(f" ({link})")

    def handle_data(self, data: str) -> None:
        self.parts.append(data if self.verbatim else re.sub(r"\s+", " ", data))


def to_text(html: str) -> str:
    """The text of ``html``, a line to each paragraph, item and table row; links show their address."""
    parser = _Text()
    parser.feed(html)
    parser.close()
    rows = [line.rstrip() for line in "".join(parser.parts).split("\n")]
    return "\n".join(_table([row for row in rows if row.strip()]))


def _table(lines: list[str]) -> list[str]:
    """The lines, with the cells of neighbouring rows below each other."""
    shown: list[str] = []
    table: list[list[str]] = []

    def flush() -> None:
        widths = [max(map(len, column)) for column in zip(*_padded(table), strict=True)]
        for row in table:
            shown.append(
                "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip()
            )
        table.clear()

    for line in lines:
        if "\t" in line:
            table.append([cell.strip() for cell in line.split("\t")])
        else:
            flush()
            shown.append(line.strip() if not line.startswith("  ") else line)
    flush()
    return shown


def _padded(table: list[list[str]]) -> list[list[str]]:
    width = max((len(row) for row in table), default=0)
    return [row + [""] * (width - len(row)) for row in table]
