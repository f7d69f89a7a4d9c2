"""Replaces values in a YAML file that a person wrote: comments, order, quotes and layout stay."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from modelbuild.formats import agent_yaml
from modelbuild.formats.agent_nodes import Node, nodes
from modelbuild.formats.agent_yaml import YamlError
from modelbuild.formats.inline_yaml import inline


class NotEditable(ValueError):
    """The text cannot be made to hold the wanted values; the message says which and why."""


@dataclass(frozen=True)
class Change:
    """A value and the one that replaces it; a list is one value."""

    path: tuple[str, ...]
    before: Any
    after: Any

    @property
    def name(self) -> str:
        """The dotted name."""
        return ".".join(self.path)


@dataclass(frozen=True)
class _Edit:
    start: int
    end: int
    text: str


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same in JSON, where 1, 1.0 and true are three values."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def changes(before: Any, wanted: Any, path: tuple[str, ...] = ()) -> list[Change]:
    """What must change in a map so that it equals another one with the same names.

    Raises:
        NotEditable: one of the two has a name that the other lacks.
    """
    if same(before, wanted):
        return []
    if not (isinstance(before, dict) and before):
        return [Change(path, before, wanted)]
    if not (isinstance(wanted, dict) and wanted):
        raise NotEditable(f"{'.'.join(path)} is a map here, and {_short(wanted)} there")
    if added := sorted(wanted.keys() - before.keys()):
        raise NotEditable(f"it has no {'.'.join((*path, added[0]))}")
    if missing := sorted(before.keys() - wanted.keys()):
        raise NotEditable(f"it has {'.'.join((*path, missing[0]))}, which the other values lack")
    return [change for name in before for change in changes(before[name], wanted[name], (*path, name))]


def edited(text: str, wanted: Any) -> tuple[str, list[Change]]:
    """The text with the wanted values, and what changed.

    Raises:
        NotEditable: the names differ, or the text cannot hold the values without losing something else.
        YamlError: the text cannot be read.
    """
    before = agent_yaml.load_written(text)
    if not isinstance(before, dict):
        raise NotEditable("it is no map from names to values")
    found = changes(before, wanted)
    if not found:
        return text, []
    root = nodes(text)
    edits: list[_Edit] = []
    for change in found:
        edits += _replace(text, _node(root, change), change.before, change.after, change.name)
    made = text
    for edit in sorted(edits, key=lambda edit: edit.start, reverse=True):
        made = made[: edit.start] + edit.text + made[edit.end :]
    try:
        read = agent_yaml.load_written(made)
    except YamlError as error:
        raise NotEditable(f"it could not be read with the new values ({error})") from error
    if not same(read, wanted):
        names = ", ".join(change.name for change in found)
        raise NotEditable(f"other values would change with {names}, as with an anchor or a tag")
    return made, found


def _node(root: Node, change: Change) -> Node:
    node = root
    for name in change.path:
        if name not in node.keys:
            raise NotEditable(f"{change.name} comes from an alias or from <<")
        node = node.keys[name]
    return node


def _replace(text: str, node: Node, before: Any, after: Any, name: str) -> Iterator[_Edit]:
    """The edits that put a value in the place of another one."""
    if same(before, after):
        return
    if node.keys and isinstance(after, dict) and before.keys() == after.keys() == node.keys.keys():
        for key, child in node.keys.items():
            yield from _replace(text, child, before[key], after[key], name)
    elif node.items and isinstance(after, list):
        yield from _replace_list(text, node, before, after, name)
    elif node.kind in ("scalar", "alias"):
        yield _replace_scalar(text, node, after, name)
    else:
        _require_no_comment(text, node, name)
        yield _in_place_of_block(text, node.start, node.end, inline(after))


def _in_place_of_block(text: str, start: int, end: int, made: str) -> _Edit:
    """The edit that puts a value on one line where a block, or a value between brackets, is."""
    key = len(text[:start].rstrip())
    line = text[key - _column(text, key) : key]
    if "\n" in text[key:start] and line.endswith(":") and "#" not in line:
        return _Edit(key, end, f" {made}")
    # A value stands deeper than its key; the dashes of a list may stand at the key's column.
    return _Edit(start, end, made if text[start] in "[{" else f"  {made}")


def _replace_scalar(text: str, node: Node, after: Any, name: str) -> _Edit:
    if node.start == node.end:
        # The position of an empty value is right after the colon or the dash.
        space = " " if text[node.start - 1 : node.start] in (":", "-") else ": "
        return _Edit(node.start, node.end, space + inline(after))
    end = node.end
    if node.quote in ("|", ">"):
        end = node.start + len(text[node.start : end].rstrip())
        if "#" in text[node.start : end].split("\n", 1)[0]:
            raise NotEditable(f"{name} has a comment after {node.quote}")
    return _Edit(node.start, end, inline(after, node.quote))


def _replace_list(text: str, node: Node, before: list[Any], after: list[Any], name: str) -> Iterator[_Edit]:
    """The edits of the items that both lists have, and of those that one of them lacks."""
    kept = min(len(before), len(after))
    for item, old, new in zip(node.items[:kept], before, after, strict=False):
        yield from _replace(text, item, old, new, name)
    if len(after) > kept:
        yield _append(text, node, after[kept:], name)
    elif node.kind == "flow":
        yield from _remove_from_flow(text, node, kept, name)
    else:
        yield from _remove_from_block(text, node, kept, name)


def _append(text: str, node: Node, added: list[Any], name: str) -> _Edit:
    last = node.items[-1]
    if node.kind == "flow":
        return _Edit(last.end, last.end, "".join(f", {inline(item)}" for item in added))
    column = _column(text, _dash(text, node, 0, name))
    end = _end_of_line(text, last.start + len(text[last.start : last.end].rstrip()))
    line = "\r\n" if "\r\n" in text else "\n"
    return _Edit(end, end, "".join(f"{line}{' ' * column}- {inline(item)}" for item in added))


def _remove_from_flow(text: str, node: Node, kept: int, name: str) -> Iterator[_Edit]:
    for at in range(kept, len(node.items)):
        item = node.items[at]
        _require_no_comment(text, item, name)
        start = item.start
        if at:
            gap = node.items[at - 1].end
            if "#" in text[gap : item.start]:
                comma = _find(text, gap, item.start, ",")
                yield _Edit(comma, comma + 1, "")
            else:
                start = gap
        yield _Edit(start, item.end, "")
    if kept == 0:
        comma = _find(text, node.items[-1].end, node.end, ",")
        if comma >= 0:
            yield _Edit(comma, comma + 1, "")


def _remove_from_block(text: str, node: Node, kept: int, name: str) -> Iterator[_Edit]:
    for at in range(kept, len(node.items)):
        item = node.items[at]
        start = _dash(text, node, at, name)
        end = max(start + 1, item.start + len(text[item.start : item.end].rstrip()))
        if _has_comment(text[start:end]):
            raise NotEditable(f"an item of {name} that would go has a comment in it")
        if at == 0:
            yield _in_place_of_block(text, start, end, "[]")
            continue
        line, next_line = start - _column(text, start), _end_of_line(text, end)
        if text[line:start].strip() or text[end:next_line].strip():
            yield _Edit(start, end, "")
        else:
            # The line goes with the break before it, because the last one may have none after it.
            yield _Edit(line - (2 if text[line - 2 : line] == "\r\n" else 1), next_line, "")


def _dash(text: str, node: Node, at: int, name: str) -> int:
    """Where the dash of an item of a block list is."""
    if text[node.start] != "-":
        raise NotEditable(f"{name} has an anchor or a tag, and would have another number of items")
    return node.start if at == 0 else _find(text, node.items[at - 1].end, node.items[at].end, "-")


def _find(text: str, start: int, end: int, sign: str) -> int:
    """Where a sign is that stands between values, in no comment; -1 if it is not there."""
    at = start
    while at < end:
        if text[at] == "#":
            at = _end_of_line(text, at)
        elif text[at] == sign:
            return at
        at += 1
    return -1


def _column(text: str, at: int) -> int:
    return at - (text.rfind("\n", 0, at) + 1)


def _end_of_line(text: str, at: int) -> int:
    end = text.find("\n", at)
    end = len(text) if end < 0 else end
    return end - 1 if text[at:end].endswith("\r") else end


def _has_comment(text: str) -> bool:
    """Whether text may have a comment in it: a quoted # counts, too."""
    return any(word.startswith("#") for word in text.split())


def _require_no_comment(text: str, node: Node, name: str) -> None:
    if node.kind in ("block", "flow") and _has_comment(text[node.start : node.end]):
        raise NotEditable(f"a value of {name} that would go has a comment in it")


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
