"""Converts annotations to HTML: renders Markdown, and removes everything that Buildkite does not allow."""

from __future__ import annotations

import html
import itertools
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
_COLOR = (
    "black|gray|silver|white|aqua|blue|navy|teal|green|olive|lime|yellow|orange|red|fuchsia|purple|maroon"
)
# The list in Buildkite's documentation of annotations; "term" and what begins so is colored console output.
_CLASS = re.compile(
    rf"""bold|regular|italic|caps|underline|(left|right)-align|center|justify|align-(baseline|top|middle|bottom)
    |list-reset|truncate|fit|inline|block|inline-block|table|table-cell|overflow-(hidden|scroll|auto)
    |m[lrx]-auto|flex|flex-(column|wrap|auto|none)|(items|self)-(start|end|center|baseline|stretch)
    |justify-(start|end|center|between|around)|content-(start|end|center|between|around|stretch)
    |order-([0-3]|last)|border|border-(top|right|bottom|left|none|{_COLOR})|rounded|h[1-6]
    |[mp][trblxy]?[0-4]|mxn[1-4]|((sm|md|lg)-)?col-([1-9]|1[0-2])|{_COLOR}|muted|bg-({_COLOR}|muted)
    |btn|btn-(sm|lg|primary)|term[a-z0-9-]*""",
    re.VERBOSE,
)
_HREF = re.compile(r"(https?://|mailto:|itms-services:|/(?!/)|#|\./)", re.IGNORECASE)
_SRC = re.compile(r"(https?://|/(?!/)|\./)", re.IGNORECASE)
_ARTIFACT = "artifact://"
_REFERENCE = re.compile(r"(<(?:a|img)\b[^<>]*?\b(?:src|href)\s*=\s*[\"']?)artifact://", re.IGNORECASE)
MAX_REPLACEMENTS = 10
"""How many addresses of artifacts Buildkite replaces in an annotation."""
_SCHEMES = frozenset(["http", "https", "mailto", "itms-services", "artifact"])

_COLOUR = re.compile(r"\x1b\[([0-9;]*)m")


def _terminal(content: str, language: str, attributes: str) -> str:
    """A fence ``term`` with its colours, each as Buildkite's class of its code; other fences stay plain."""
    del attributes
    if language != "term":
        return ""
    shown, open_spans = "", 0
    for number, part in enumerate(_COLOUR.split(content)):
        if number % 2 == 0:
            shown += html.escape(part, quote=False)
        elif part in ("", "0"):
            shown, open_spans = shown + "</span>" * open_spans, 0
        else:
            codes = " ".join(f"term-fg{code}" for code in part.split(";") if code)
            shown, open_spans = f'{shown}<span class="{codes}">', open_spans + 1
    return f'<pre class="term"><code>{shown}{"</span>" * open_spans}</code></pre>'


_MARKDOWN = MarkdownIt("commonmark", {"html": True, "highlight": _terminal}).enable(
    ["table", "strikethrough"]
)


def to_html(body: str, artifacts: Mapping[str, str]) -> str:
    """The body as safe HTML; ``artifacts`` maps each ``artifact://path`` to an address.

    Pictures and links after the first ``MAX_REPLACEMENTS`` stay without one.
    """
    numbers = itertools.count(1)

    def counted(found: re.Match[str]) -> str:
        return found[0] if next(numbers) <= MAX_REPLACEMENTS else found[1]

    def kept(tag: str, name: str, value: str) -> str | None:
        if name == "class":
            return " ".join(filter(_CLASS.fullmatch, value.split())) or None
        if (tag, name) not in (("a", "href"), ("img", "src")):
            return value
        address = value.strip()
        if address.startswith(_ARTIFACT):
            address = artifacts.get(address.removeprefix(_ARTIFACT), "")
        return address if (_HREF if name == "href" else _SRC).match(address) else None

    return nh3.clean(
        _REFERENCE.sub(counted, _MARKDOWN.render(body)),
        tags=set(_TAGS),
        clean_content_tags=set(_DROPPED_WITH_CONTENT),
        attributes={"*": set(_ATTRIBUTES), "a": {"href"}, "img": {"src"}},
        attribute_filter=kept,
        url_schemes=set(_SCHEMES),
        link_rel="noopener noreferrer",
    )
