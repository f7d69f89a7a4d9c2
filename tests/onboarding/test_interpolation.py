from __future__ import annotations

import pytest
from pydantic import JsonValue

from modelbuild.errors import ConfigurationError
from modelbuild.onboarding.interpolation import completed

ENVIRON = {"SET": "s", "EMPTY": ""}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a$SET/b", "as/b"),
        ("${SET}x", "sx"),
        ("${NONE}$NONE", ""),
        ("${NONE:-d}${EMPTY:-d}${EMPTY-d}${SET:-d}", "dds"),
        ("${SET?}${EMPTY?}", "s"),
        ("$$SET \\$SET $", "$SET $SET $"),
        ("${SET:0:1}", "${SET:0:1}"),
    ],
)
def test_variables_are_completed_as_agents_do(text: str, expected: str) -> None:
    """Each form gives what the agent makes of it; substrings, which no option needs, stay."""
    assert completed(text, ENVIRON) == expected


def test_texts_anywhere_are_completed() -> None:
    """Texts in lists and maps are completed, and other values and keys stay."""
    value: JsonValue = {"$SET": ["$SET", 1, None, {"a": "$SET"}]}
    assert completed(value, ENVIRON) == {"$SET": ["s", 1, None, {"a": "s"}]}


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("${NONE?}", "NONE"),
        ("a ${NONE?why} b ${SET?}", "NONE"),
        ({"a": ["${B?} ${A?}", {"c": "${B?}"}]}, "A and B"),
    ],
)
def test_required_variables_are_named(value: JsonValue, names: str) -> None:
    """The variables that the pipeline requires and that are not set are named, all of them at once."""
    with pytest.raises(ConfigurationError, match=rf"requires {names}, which this environment does not have"):
        completed(value, ENVIRON)
