"""Annotations as HTML: Markdown rendered, then everything removed that Buildkite does not allow."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from html.parser import HTMLParser

from markdown_it import MarkdownIt

_TAGS = frozenset(
    [
        "a",
        "abbr",
        "b",
        "blockquote",
        "br",
        "cite",
        "code",
        "dd",
        "del",
        "details",
        "div",
        "dl",
        "dt",
        "em",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "hr",
        "i",
        "img",
        "ins",
        "kbd",
        "li",
        "ol",
        "p",
        "pre",
        "q",
        "s",
        "samp",
        "small",
        "span",
        "strike",
        "strong",
        "sub",
        "summary",
        "sup",
        "table",
        "tbody",
        "td",
        "tfoot",
        "th",
        "thead",
        "tr",
        "tt",
        "ul",
        "var",
    ]
)
_VOID = frozenset(["br", "hr", "img"])
_DROPPED_WITH_CONTENT = frozenset(
    ["script", "style", "iframe", "object", "embed", "template", "title", "svg", "math"]
)
_ATTRIBUTES = frozenset(["alt", "title", "align", "class", "colspan", "rowspan", "open", "width", "height"])
_CLASS = re.compile(r"[A-Za-z0-9_-]+( +[A-Za-z0-9_-]+)*")
_HREF = re.compile(r"(https?://|mailto:|itms-services:|/(?!/)|#|\./)", re.IGNORECASE)
_SRC = re.compile(r"(https?://|/(?!/)|\./)", re.IGNORECASE)
_ARTIFACT = "artifact://"

_MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def to_html(body: str, artifacts: Mapping[str, str]) -> str:
    """The body as safe HTML; ``artifact://path`` becomes the address that ``artifacts`` has for the path."""
    cleaner = _Cleaner(artifacts)
    cleaner.feed(_MARKDOWN.render(body))
    cleaner.close()
    return cleaner.result()


class _Cleaner(HTMLParser):
    def __init__(self, artifacts: Mapping[str, str]) -> None:
        super().__init__(convert_charrefs=True)
        self._artifacts = artifacts
        self._out: list[str] = []
        self._open: list[str] = []
        self._dropping = 0

    def result(self) -> str:
        return "".join(self._out) + "".join(f"</{tag}>" for tag in reversed(self._open))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _DROPPED_WITH_CONTENT:
            self._dropping += 1
        if self._dropping or tag not in _TAGS:
            return
        kept = "".join(f' {name}="{html.escape(value)}"' for name, value in self._attributes(tag, attrs))
        self._out.append(f"<{tag}{kept}>")
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _DROPPED_WITH_CONTENT:
            self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if tag in _DROPPED_WITH_CONTENT:
            self._dropping = max(0, self._dropping - 1)
        # What is open inside is closed as well, and nothing else is: no body can close the page's own tags.
        if not self._dropping and tag in self._open:
            while (last := self._open.pop()) != tag:
                self._out.append(f"</{last}>")
            self._out.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        if not self._dropping:
            self._out.append(html.escape(data, quote=False))

    def _attributes(self, tag: str, attrs: list[tuple[str, str | None]]) -> list[tuple[str, str]]:
        kept: list[tuple[str, str]] = []
        for name, given in attrs:
            value = (given or "").strip()
            if name == "class" and not _CLASS.fullmatch(value):
                continue
            if (tag, name) in (("a", "href"), ("img", "src")):
                if value.startswith(_ARTIFACT):
                    value = self._artifacts.get(value.removeprefix(_ARTIFACT), "")
                if (_HREF if name == "href" else _SRC).match(value):
                    kept.append((name, value))
            elif name in _ATTRIBUTES:
                kept.append((name, value))
        if tag == "a":
            kept.append(("rel", "noopener noreferrer"))
        return kept
