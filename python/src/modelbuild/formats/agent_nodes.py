"""Where the values of a document stand in its text, so that one can be replaced and all else stays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from modelbuild.formats import agent_yaml
from modelbuild.formats.agent_yaml import YamlError


@dataclass
class Node:
    """A value in the text: the characters from ``start`` to ``end``, with its anchor and its tag.

    Attributes:
        kind: ``block`` and ``flow`` are the styles of maps and lists; an ``alias`` has no nodes in it.
        column: of its first character.
        quote: the quote, ``|`` or ``>`` that a scalar begins with; empty for none.
        keys: the values of a map by their keys, without those that ``<<`` brings.
        items: the values of a list.
    """

    kind: Literal["scalar", "alias", "block", "flow"]
    start: int
    end: int
    column: int
    quote: str = ""
    keys: dict[str, Node] = field(default_factory=dict)
    items: list[Node] = field(default_factory=list)


def nodes(text: str) -> Node:
    """The root of the one document in ``text``, which :func:`agent_yaml.load` has read without an error.

    Raises:
        YamlError: the document is empty, or cannot be read.
    """
    events = _Events(agent_yaml.events(text))
    events.skip("StreamStartEvent")
    if events.is_next("StreamEndEvent"):
        raise YamlError("it is empty")
    events.skip("DocumentStartEvent")
    return _node(events)


class _Events:
    """PyYAML's events, of which the next one can be looked at."""

    def __init__(self, events: Iterator[Any]) -> None:
        self._events = events
        self._next = next(events)

    def is_next(self, kind: str) -> bool:
        return type(self._next).__name__ == kind

    def take(self) -> Any:
        taken, self._next = self._next, next(self._events, None)
        return taken

    def skip(self, kind: str) -> None:
        assert self.is_next(kind), self._next
        self.take()


def _node(events: _Events) -> Node:
    event = events.take()
    kind = type(event).__name__
    start = event.start_mark
    if kind == "AliasEvent":
        return Node("alias", start.index, event.end_mark.index, start.column)
    if kind == "ScalarEvent":
        return Node("scalar", start.index, event.end_mark.index, start.column, event.style or "")
    found = Node("flow" if event.flow_style else "block", start.index, event.end_mark.index, start.column)
    ends = "SequenceEndEvent" if kind == "SequenceStartEvent" else "MappingEndEvent"
    while not events.is_next(ends):
        if kind == "SequenceStartEvent":
            child = _node(events)
            found.items.append(child)
        else:
            key = agent_yaml.key_of(events.take())
            child = _node(events)
            if key is not None:
                found.keys[key] = child
        # The events of a block end where the next one begins, after comments.
        found.end = child.end
    end = events.take().end_mark.index
    if found.kind == "flow":
        found.end = end
    return found
