"""Converts annotations to HTML: renders Markdown, and removes everything that Buildkite does not allow."""

from __future__ import annotations

import re
from collections.abc import Mapping

import nh3
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
_DROPPED_WITH_CONTENT = frozenset(
    ["script", "style", "iframe", "object", "embed", "template", "title", "svg", "math"]
)
_ATTRIBUTES = frozenset(["alt", "title", "align", "class", "colspan", "rowspan", "open", "width", "height"])
_CLASS = re.compile(r"[A-Za-z0-9_-]+( +[A-Za-z0-9_-]+)*")
_HREF = re.compile(r"(https?://|mailto:|itms-services:|/(?!/)|#|\./)", re.IGNORECASE)
_SRC = re.compile(r"(https?://|/(?!/)|\./)", re.IGNORECASE)
_ARTIFACT = "artifact://"
_SCHEMES = frozenset(["http", "https", "mailto", "itms-services", "artifact"])

_MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def to_html(body: str, artifacts: Mapping[str, str]) -> str:
    """The body as safe HTML; ``artifacts`` maps each ``artifact://path`` to an address."""

    def kept(tag: str, name: str, value: str) -> str | None:
        if (tag, name) not in (("a", "href"), ("img", "src")):
            return value if name != "class" or _CLASS.fullmatch(value) else None
        address = value.strip()
        if address.startswith(_ARTIFACT):
            address = artifacts.get(address.removeprefix(_ARTIFACT), "")
        return address if (_HREF if name == "href" else _SRC).match(address) else None

    return nh3.clean(
        _MARKDOWN.render(body),
        tags=set(_TAGS),
        clean_content_tags=set(_DROPPED_WITH_CONTENT),
        attributes={"*": set(_ATTRIBUTES), "a": {"href"}, "img": {"src"}},
        attribute_filter=kept,
        url_schemes=set(_SCHEMES),
        link_rel="noopener noreferrer",
    )
