"""Annotations of the build page: HTML from templates, in which no value can become markup.

Buildkite reads an annotation as Markdown that may hold HTML: a block that begins with a tag ends at the first
blank line. The annotations of this module contain no blank line, whatever the values are, so Buildkite reads
none of their text as Markdown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

import jinja2
from markupsafe import Markup, escape

from modelbuild import log

LIMIT_BYTES = 1 << 20
"""What Buildkite takes."""

_SHOWN_CHARACTERS = 1_000
# So many characters beyond those that are shown are searched for secrets too: none is longer.
_LONGEST_SECRET = 8_192
_BREAKS = re.compile("\r\n|[\n\r\x0b\x0c\x85\u2028\u2029]")
# Control characters, halves of surrogate pairs, and marks that turn the direction of what follows.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f\ud800-\udfff\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufffe\uffff]"
)
_COLOUR = re.compile(r"(\x1b\[[0-9;]*m)")
# Control sequences with parameters, and strings such as titles, links and images.
_SEQUENCE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_].*?(?:\x07|\x1b\\|$)")
_WEB = re.compile(r"https?://[^\s\\]+", re.ASCII)
_HOSTED = re.compile(
    r"(?:https://(?:[^@/]*@)?|ssh://git@|git@)(github\.com|gitlab\.com)[:/](.+?)(?:\.git)?/?"
)


def render(package: str, template: str, **values: object) -> str:
    """The annotation that ``<package>/templates/<template>`` makes of ``values``.

    In a template, ``{{ value }}`` is escaped and cut to 1,000 characters, ``{{ value | clip(n) }}`` to ``n``;
    ``link(url, text)`` is a link if ``url`` is a web address, and otherwise the text.
    """
    with log.secrets_read_once():
        lines = _templates(package).get_template(template).render(**values).split("\n")
    return "\n".join(line for line in lines if line.strip()) + "\n"


@lru_cache
def _templates(package: str) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(package),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalized,
    )
    environment.filters["clip"] = clip
    environment.globals["link"] = link
    return environment


def clip(value: object, characters: int) -> Markup:
    """A value as HTML on one line, cut to a number of characters, with this process's secrets redacted."""
    return Markup(str(escape(plain(value, characters))).replace("\n", "&#10;"))


def plain(value: object, characters: int) -> str:
    """A value as text that is fit for a page: cut to a number of characters, with this process's secrets
    redacted and control characters replaced.
    """
    whole = str(value)
    text = log.redact(whole[: characters + _LONGEST_SECRET])
    if len(text) > characters or len(whole) > characters + _LONGEST_SECRET:
        text = f"{text[:characters]}… ({len(whole) - characters:,} more characters)"
    return _UNPRINTABLE.sub("\ufffd", _BREAKS.sub("\n", text))


def link(url: str, text: object) -> Markup:
    """A link to a web address, or the text if ``url`` is no web address."""
    shown = _finalized(text)
    if len(url) > 2_000 or not _WEB.fullmatch(url):
        return shown
    return Markup('<a href="{}">{}</a>').format(Markup(clip(url, 2_000)), shown)


def terminal(lines: Iterable[str]) -> str:
    """Lines of a log as a block that shows their colours, to be put between two annotations of this module.

    It is a Markdown fence, with an empty line before it that ends the HTML above. No line can leave it: it
    has no backticks, and of the control sequences only those for colours.
    """
    shown = "\n".join(_terminal_line(line) for line in log.redact("\n".join(lines)).split("\n"))
    return f"\n```term\n{shown}\n```\n"


def _terminal_line(line: str) -> str:
    parts = _COLOUR.split(line[:_SHOWN_CHARACTERS].replace("`", "'"))
    # Every second part is a colour.
    parts[::2] = [_UNPRINTABLE.sub("", _BREAKS.sub(" ", _SEQUENCE.sub("", text))) for text in parts[::2]]
    return "".join(parts).rstrip()


def commit_url(repository: str, commit: str) -> str:
    """The page of a commit on GitHub or GitLab; empty for a repository elsewhere."""
    match = _HOSTED.fullmatch(repository)
    return f"https://{match[1]}/{match[2]}/commit/{commit}" if match else ""


def compare_url(repository: str, before: str, after: str) -> str:
    """The page that compares two commits on GitHub or GitLab; empty for a repository elsewhere."""
    match = _HOSTED.fullmatch(repository)
    if match is None:
        return ""
    page = "-/compare" if match[1] == "gitlab.com" else "compare"
    return f"https://{match[1]}/{match[2]}/{page}/{before}...{after}"


def _finalized(value: object) -> Markup:
    return value if isinstance(value, Markup) else clip(value, _SHOWN_CHARACTERS)
