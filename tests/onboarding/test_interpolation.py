from __future__ import annotations

import pytest
from pydantic import JsonValue

from modelbuild.errors import ConfigurationError
from modelbuild.onboarding.interpolation import has_variable, interpolated, interpolated_environment, problems

ENVIRON = {"SET": "s", "EMPTY": "", "LONG": "0123456789"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a$SET/b", "as/b"),
        ("${SET}x", "sx"),
        ("${NONE}$NONE", ""),
        ("${NONE:-d}${EMPTY:-d}${EMPTY-d}${SET:-d}", "dds"),
        ("${SET?}${EMPTY?}", "s"),
        ("$$SET \\$SET $", "$SET $SET $"),
        ("${LONG:0:7} ${LONG:-3}x ${LONG: -3:2} ${NONE:1}", "0123456 0123456789x 78 "),
        ("${NONE:-${EMPTY:-${SET}}} ${NONE:-a}b}", "s ab}"),
        ("$(date) \\\\$SET $1 $_SET", "$(date) \\\\s $1 $_SET"),
    ],
)
def test_variables_are_completed_as_agents_do(text: str, expected: str) -> None:
    """Each form gives what the agent makes of it; a default may hold variables."""
    assert interpolated(text, ENVIRON) == expected


def test_texts_anywhere_are_completed() -> None:
    """Texts and keys in lists and maps are interpolated, and other values stay."""
    value: JsonValue = {"$SET": ["$SET", 1, None, {"a": "$SET"}]}
    assert interpolated(value, ENVIRON) == {"s": ["s", 1, None, {"a": "s"}]}


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
        interpolated(value, ENVIRON)


@pytest.mark.parametrize(
    "text", ["${", "${}", "${1}", "${SET", "${SET!x}", "${SET:?x}", "${SET:a}", "${SET:1:b}"]
)
def test_text_that_the_agent_refuses(text: str) -> None:
    """A text for which the agent refuses the whole pipeline is a sentence that shows it."""
    with pytest.raises(ConfigurationError, match="the agent refuses the pipeline") as caught:
        interpolated({"a": [text]}, ENVIRON)
    assert text in str(caught.value)
    assert list(problems({"a": [text], text: 1})) == [str(caught.value)] * 2
    assert has_variable(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${a:-" * 2000 + "}" * 2000, "nests variables deeper than 100 levels"),
        ("${SET:" + "1" * 5000 + "}", "the agent refuses the pipeline"),
    ],
)
def test_text_without_bounds_is_refused(text: str, message: str) -> None:
    """Neither depth nor digits lead to an error of Python; a hundred levels are read."""
    with pytest.raises(ConfigurationError, match=message) as caught:
        interpolated(text, ENVIRON)
    assert list(problems(text)) == [str(caught.value)]
    assert has_variable(text)
    assert interpolated("${A:-" * 100 + "x" + "}" * 100, ENVIRON) == "x"


def test_environment_of_a_pipeline() -> None:
    """Each variable may use those before it, and stands above the agent's own."""
    env = {"A": "${SET}-1", "SET": "new", "B": "$A-$SET", "X$A": "$B"}
    assert interpolated_environment(env, ENVIRON) == {
        "A": "s-1",
        "SET": "new",
        "B": "s-1-new",
        "Xs-1": "s-1-new",
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$A", True),
        ("a${A}", True),
        ("$$A", False),
        ("\\$A", False),
        ("$$$A", True),
        ("$", False),
        ("$1", False),
    ],
)
def test_text_with_a_variable(text: str, expected: bool) -> None:
    """Only what the agent completes counts as a variable."""
    assert has_variable(text) == expected
