"""YAML as ``buildkite-agent`` reads it, for every YAML text that modelbuild reads or writes.

The agent's rules are those of Go's ``yaml.v3`` and ``go-pipeline``: ``yes``, ``on`` and ``12:30:00`` are
text, ``1e-3`` and ``0o17`` are numbers, as in YAML 1.2; ``0777`` is octal, ``1_000`` is a number and ``<<``
merges maps, as in YAML 1.1.

PyYAML's parser finds the structure; its constructors and resolvers are not used. This reader refuses what the
agent accepts silently, but no author can mean: a repeated key, a tag of another language, infinity, and
several documents in one file. The time and memory for a document are bounded, however its aliases multiply.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from typing import Any

import yaml

from modelbuild.formats.agent_scalars import CORE, Rewritten, YamlError, plain, require_no_tag, scalar

__all__ = ["Map", "Rewritten", "YamlError", "dump", "events", "key_of", "load", "load_written"]

MAXIMUM_BYTES = 1 << 20
"""Of a document as it is written."""
MAXIMUM_SIZE = 2 << 20
"""Of the values of a document with its aliases expanded: their number, and the characters of all text."""
MAXIMUM_DEPTH = 100

# The agent refuses a document that is aliases by more than this share, once it has so many values.
_ALIASED_VALUES, _ALIASED_SHARE = 1000, 0.99

_PARSER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Map(dict[str, Any]):
    """A map, and the line in which it begins."""

    line = 0


def load(text: bytes | str) -> Any:
    """The value of the one document in ``text``: maps are :class:`Map`, what is empty is None.

    Aliases of one anchor are one object.

    Raises:
        YamlError: it is not YAML, or a value in it is refused.
    """
    content = text.encode(errors="surrogatepass") if isinstance(text, str) else text
    if len(content) > MAXIMUM_BYTES:
        raise YamlError(f"it has {len(content):,} bytes, and at most {MAXIMUM_BYTES:,} are read")
    try:
        parser = _PARSER(content)
        try:
            value = _Document(parser).value()
        finally:
            parser.dispose()
        if b"\\/" in content and not content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            _require_known_escapes(content.decode("utf-8-sig"))
        return value
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        # A reader's error has a reason in place of a problem, and no line.
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or error
        # PyYAML may report that something is missing at the end in a line after the last one.
        line = min(mark.line, content.rstrip().count(b"\n")) + 1 if mark else 0
        if mark and content.split(b"\n")[line - 1].lstrip(b" ").startswith(b"\t"):
            problem = "a tab begins this line, where YAML takes spaces only: put spaces in its place"
        raise YamlError(" ".join(str(problem).split()), line) from error


def _require_known_escapes(text: str) -> None:
    """Refuse an escaped slash in double quotes, which YAML 1.2 has for the sake of JSON, and Go's reader
    refuses.
    """
    found: Iterator[Any] = yaml.parse(text, Loader=_PARSER)
    for event in found:
        if getattr(event, "style", None) == '"':
            written = text[event.start_mark.index : event.end_mark.index].replace("\\\\", "")
            if "\\/" in written:
                raise YamlError("the agent reads no escaped slash: write / alone", event.start_mark.line + 1)


def load_written(text: bytes | str) -> Any:
    """As :func:`load`, but of plain maps, and without what the agent would rewrite.

    Raises:
        YamlError: also for a date or time, and for a key that is not text, unless they are in quotes.
    """
    value = load(text)
    _require_written(value)
    return json.loads(json.dumps(value))


def _require_written(value: Any) -> None:
    if isinstance(value, Rewritten):
        raise YamlError(f"{value.written} is a date, which JSON does not have: put it in quotes", value.line)
    if isinstance(value, list):
        for item in value:
            _require_written(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if isinstance(key, Rewritten):
                raise YamlError(f"key {key.written} is not text: put it in quotes", key.line)
            _require_written(item)


def events(text: str) -> Iterator[Any]:
    """PyYAML's events, whose marks count the characters of ``text``.

    Raises:
        YamlError: it is not YAML.
    """
    try:
        yield from yaml.parse(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise YamlError(" ".join(str(error).split())) from error


def key_of(event: Any) -> str | None:
    """The text of the key that an event has; None for ``<<``, and for an alias."""
    if not isinstance(event, yaml.ScalarEvent) or _is_merge(event):
        return None
    return _key(scalar(event, 0), 0)


def dump(value: Any, *, sort_keys: bool = True, allow_unicode: bool = False) -> str:
    """Values of JSON as YAML that :func:`load` reads as the same values.

    Whole numbers must have at most 64 bits. Without ``allow_unicode`` the text is ASCII; with it, it is for
    people, because YAML folds some characters.
    """
    return yaml.dump(value, Dumper=_Dumper, sort_keys=sort_keys, allow_unicode=allow_unicode)


class _Dumper(yaml.SafeDumper):
    """Puts quotes around what PyYAML's rules or the agent's would take for something other than text."""

    def represent_text(self, text: str) -> yaml.ScalarNode:
        read = plain(text)
        is_text = isinstance(read, str) and not isinstance(read, Rewritten)
        return self.represent_scalar(f"{CORE}str", text, style=None if is_text else "'")


_Dumper.add_representer(str, _Dumper.represent_text)


class _Document:
    """One document, built from the parser's events."""

    def __init__(self, parser: Any) -> None:
        self._parser = parser
        # What an anchor names, with the number and size of its values; None while it is being read.
        self._anchors: dict[str, tuple[Any, int, int] | None] = {}
        self._values = self._aliased = self._size = 0

    def value(self) -> Any:
        self._next(yaml.StreamStartEvent)
        if self._parser.check_event(yaml.StreamEndEvent):
            return None
        self._next(yaml.DocumentStartEvent)
        found = self._node(0)
        self._next(yaml.DocumentEndEvent)
        if not self._parser.check_event(yaml.StreamEndEvent):
            event = self._parser.peek_event()
            raise YamlError("a second document begins, and a file has one", event.start_mark.line + 1)
        return found

    def _next(self, *kinds: type[yaml.Event]) -> Any:
        event = self._parser.get_event()
        assert isinstance(event, kinds or yaml.Event), event
        return event

    def _node(self, depth: int) -> Any:
        event = self._next()
        line = event.start_mark.line + 1
        if depth > MAXIMUM_DEPTH:
            raise YamlError(f"it is nested deeper than {MAXIMUM_DEPTH} levels", line)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(str(event.anchor), line)
        values, size = self._values, self._size
        if event.anchor:
            self._anchors[event.anchor] = None
        self._count(1, 1, line)
        found: Any
        if isinstance(event, yaml.ScalarEvent):
            found = scalar(event, line)
            self._count(0, len(event.value), line)
        else:
            require_no_tag(event.tag, "seq" if isinstance(event, yaml.SequenceStartEvent) else "map", line)
            found = (
                self._list(depth) if isinstance(event, yaml.SequenceStartEvent) else self._map(depth, line)
            )
        if event.anchor:
            self._anchors[event.anchor] = found, self._values - values, self._size - size
        return found

    def _alias(self, anchor: str, line: int) -> Any:
        if anchor not in self._anchors:
            raise YamlError(f"alias *{anchor} has no anchor before it", line)
        anchored = self._anchors[anchor]
        if anchored is None:
            raise YamlError(f"anchor &{anchor} contains itself", line)
        found, values, size = anchored
        self._aliased += values
        self._count(values + 1, size + 1, line)
        if self._values > _ALIASED_VALUES and self._aliased > _ALIASED_SHARE * self._values:
            raise YamlError("its aliases expand to too many values", line)
        return found

    def _count(self, values: int, size: int, line: int) -> None:
        self._values += values
        self._size += size
        if self._size > MAXIMUM_SIZE:
            raise YamlError("its values are too large once its aliases are expanded", line)

    def _list(self, depth: int) -> list[Any]:
        found = []
        while not self._parser.check_event(yaml.SequenceEndEvent):
            found.append(self._node(depth + 1))
        self._next()
        return found

    def _map(self, depth: int, line: int) -> Map:
        found = Map()
        found.line = line
        own: dict[str, int] = {}
        while not self._parser.check_event(yaml.MappingEndEvent):
            event = self._parser.peek_event()
            at = event.start_mark.line + 1
            if _is_merge(event):
                self._next()
                # The agent does not count the values that << merges among those of aliases.
                aliased = self._aliased
                merged = self._node(depth + 1)
                self._aliased = aliased
                for name, value in _merged(merged, at):
                    found.setdefault(name, value)
                continue
            key = _key(self._node(depth + 1), at)
            if key in own:
                raise YamlError(f"key {key!r} stands here again, after line {own[key]}: keep one", at)
            own[key] = at
            found[key] = self._node(depth + 1)
        self._next()
        return found


def _is_merge(event: Any) -> bool:
    return isinstance(event, yaml.ScalarEvent) and event.value == "<<" and not event.style and not event.tag


def _merged(value: Any, line: int) -> list[tuple[str, Any]]:
    if isinstance(value, Map):
        return list(value.items())
    if isinstance(value, list):
        return [pair for item in value for pair in _merged(item, line)]
    raise YamlError("<< takes a map, or a list of maps", line)


def _key(value: Any, line: int) -> str:
    """The text that the agent makes of a key."""
    if isinstance(value, Rewritten):
        return Rewritten(value.written, value.written, line)
    if isinstance(value, str):
        return value
    if isinstance(value, (bool, int)):
        text = str(value).lower()
        return Rewritten(text, text, line)
    if isinstance(value, float):
        return Rewritten(f"{value:e}", str(value), line)
    kind = "a map" if isinstance(value, dict) else "a list" if isinstance(value, list) else "null"
    raise YamlError(f"a key is {kind}, and must be text: put it in quotes", line)
