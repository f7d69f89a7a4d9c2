"""Values replaced in files that people wrote."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelbuild.formats import agent_yaml
from modelbuild.formats.inline_yaml import inline
from modelbuild.formats.yaml_edit import Change, NotEditable, edited, same

TEXTS = st.one_of(
    st.sampled_from(
        ["yes", "no", "1e-3", "0o17", "0777", "~", "null", "12:30:00", "2026-01-01", "", " ", "-"]
    ),
    st.sampled_from(
        ["a: b", "x #y", "- a", "[a]", "'", '"', "a'b", "tab\t", "two\nlines", "<<", "*a", "&a", "%"]
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    TEXTS,
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
NAMES = st.from_regex(r"[a-z]{1,6}", fullmatch=True)


@st.composite
def written(draw: st.DrawFn) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """A file as a person writes it, with numbered comments, its values, and others with the same names."""
    lines: list[str] = []
    number = iter(range(10_000))

    def comment(column: int, line: str = "") -> str:
        return f"{line or ' ' * column}  # c{next(number)}," if draw(st.booleans()) else line

    def scalar(value: Any) -> str:
        return inline(value, draw(st.sampled_from(["", "'", '"'])))

    def flow(value: Any) -> str:
        if isinstance(value, list):
            return f"[{draw(st.sampled_from([', ', ',  ']))}".rstrip(", ") + ", ".join(map(flow, value)) + "]"
        if isinstance(value, dict):
            return "{" + ", ".join(f"{inline(name)}: {flow(item)}" for name, item in value.items()) + "}"
        return scalar(value)

    def entry(column: int, start: str, value: Any) -> None:
        if draw(st.booleans()):
            lines.append(comment(column))
        block = draw(st.booleans())
        if isinstance(value, dict) and value and block and not start.endswith("- "):
            lines.append(comment(column, start))
            for name, item in value.items():
                entry(column + 2, f"{' ' * (column + 2)}{inline(name)}:", item)
        elif isinstance(value, list) and value and block and not start.endswith("- "):
            lines.append(comment(column, start))
            deeper = column + draw(st.sampled_from([0, 2, 4]))
            for item in value:
                entry(deeper, f"{' ' * deeper}- ", item)
        elif value is None and not start.endswith("- ") and block:
            lines.append(comment(column, start))
        else:
            space = "" if start.endswith(" ") else " " * draw(st.integers(1, 3))
            lines.append(comment(column, f"{start}{space}{flow(value)}"))

    def other(value: Any) -> Any:
        if isinstance(value, dict) and value:
            return {name: other(item) for name, item in value.items()}
        if isinstance(value, list) and value:
            # Comments between items would go with a list that becomes something else; that is refused.
            kept = [draw(VALUES) if draw(st.booleans()) else item for item in value]
            return [*kept, *draw(st.lists(VALUES, max_size=2))][: draw(st.integers(0, 4))]
        return draw(VALUES) if draw(st.booleans()) else value

    values = draw(
        st.dictionaries(
            NAMES,
            VALUES | st.dictionaries(NAMES, VALUES | st.dictionaries(NAMES, VALUES, max_size=3), max_size=3),
            max_size=4,
        )
    )
    for name, value in values.items():
        entry(0, f"{inline(name)}:", value)
    breaks = draw(st.sampled_from(["\n", "\r\n"]))
    text = breaks.join(lines) + draw(st.sampled_from(["", breaks]))
    return text, values, {name: other(value) for name, value in values.items()}


@given(VALUES)
def test_a_value_on_one_line_is_read_back(value: Any) -> None:
    """Whatever the value is, the agent's rules read the same one, in a block and between brackets."""
    text = inline(value)
    assert "\n" not in text
    for document in (f"a: {text}", f"- {text}", f"[{text}, {text}]", f"{{a: {text}, b: {text}}}"):
        read = agent_yaml.load_written(document)
        assert same(read["a"] if isinstance(read, dict) else read[0], value)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(written())
def test_the_wanted_values_are_read_back_and_comments_stay(
    case: tuple[str, dict[str, Any], dict[str, Any]],
) -> None:
    """An edited file has the wanted values exactly, and all comments in their order."""
    text, values, wanted = case
    if not values:
        return
    assert same(agent_yaml.load_written(text), values)
    if "#" in re.sub("# c[0-9]+,", "", text):
        # A value that has a # and would go may be refused, because that could be a comment.
        with suppress(NotEditable):
            edited(text, wanted)
        return
    made, changes = edited(text, wanted)
    assert same(agent_yaml.load_written(made), wanted)
    assert re.findall("# c[0-9]+,", made) == re.findall("# c[0-9]+,", text)
    changed = {change.path[0] for change in changes}
    assert changed == {name for name in values if not same(values[name], wanted[name])}


FILE = """\
# Every value.
seed: 1   # of all random numbers
data: {table: bbc, held_out: 20}  # flow style
domains:
  - tweets  # short
  # long texts
  - 'nyt'
text: |
  two
  lines
nothing:
# the end
"""
VALUES_OF_FILE = agent_yaml.load_written(FILE)


@pytest.mark.parametrize(
    ("changed", "before", "after"),
    [
        ({"seed": 1.0}, "seed: 1 ", "seed: 1.0 "),
        (
            {"data": {"table": "1e-3", "held_out": 5}},
            "{table: bbc, held_out: 20}",
            "{table: '1e-3', held_out: 5}",
        ),
        ({"domains": ["tweets", "yes"]}, "- 'nyt'", "- 'yes'"),
        ({"domains": ["tweets", "nyt", "movie"]}, "- 'nyt'\n", "- 'nyt'\n  - movie\n"),
        ({"domains": ["tweets"]}, "\n  - 'nyt'", ""),
        (
            {"domains": []},
            "\n  - tweets  # short\n  # long texts\n  - 'nyt'",
            " []  # short\n  # long texts",
        ),
        ({"domains": "none"}, "", None),
        ({"text": "one"}, "|\n  two\n  lines\n", "one\n"),
        ({"nothing": ["a", {"b": None}]}, "nothing:", "nothing: [a, {b: null}]"),
    ],
)
def test_only_what_differs_is_replaced(changed: dict[str, Any], before: str, after: str | None) -> None:
    """The rest of the text is the same to the letter."""
    wanted = {**VALUES_OF_FILE, **changed}
    if after is None:
        with pytest.raises(NotEditable, match="a value of domains that would go has a comment in it"):
            edited(FILE, wanted)
        return
    made, _ = edited(FILE, wanted)
    assert made == FILE.replace(before, after)
    assert same(agent_yaml.load_written(made), wanted)


def test_the_changes_are_named_by_their_dotted_names() -> None:
    """A list is one value."""
    wanted = {**VALUES_OF_FILE, "data": {"table": "bbc", "held_out": 5}, "domains": []}
    assert edited(FILE, wanted)[1] == [
        Change(("data", "held_out"), 20, 5),
        Change(("domains",), ["tweets", "nyt"], []),
    ]


def test_nothing_changes_where_nothing_differs() -> None:
    """The text comes back as it is."""
    assert edited(FILE, VALUES_OF_FILE) == (FILE, [])


@pytest.mark.parametrize(
    ("text", "wanted", "problem"),
    [
        ("a: 1", {"a": 1, "b": 2}, "it has no b"),
        ("a: {b: 1, c: 2}", {"a": {"b": 1}}, "it has a.c, which the other values lack"),
        ("a: {b: 1}", {"a": 1}, "a is a map here, and 1 there"),
        ("a: &a {x: 1}\nb:\n  <<: *a", {"a": {"x": 1}, "b": {"x": 2}}, "b.x comes from an alias or from <<"),
        ("a: &a [1]\nb: *a", {"a": [2], "b": [1]}, "other values would change with a, as with an anchor"),
        (
            "a: &a 1\nb: *a",
            {"a": 2, "b": 1},
            "it could not be read with the new values .alias .a has no anchor",
        ),
        ("a: | # why\n  x", {"a": "y"}, r"a has a comment after \|"),
        ("a: [{b: 1}, {c: # why\n 2}]", {"a": [{"b": 1}]}, "has a comment in it"),
        ("a: &x\n- 1", {"a": [1, 2]}, "a has an anchor or a tag, and would have another number of items"),
    ],
)
def test_what_cannot_be_edited_is_a_sentence(text: str, wanted: dict[str, Any], problem: str) -> None:
    """Where another value, a name or a comment would be lost, there is no new text."""
    with pytest.raises(NotEditable, match=problem):
        edited(text, wanted)


def test_aliases_can_become_values() -> None:
    """An alias alone is replaced, and so is a value with an anchor that nothing refers to any more."""
    assert edited("a: &a 1\nb: *a  # same\n", {"a": 1, "b": 2})[0] == "a: &a 1\nb: 2  # same\n"
    assert edited("a: &a 1\nb: *a\n", {"a": 2, "b": 3})[0] == "a: 2\nb: 3\n"
