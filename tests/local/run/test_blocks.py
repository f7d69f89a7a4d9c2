"""What a person answers at the terminal for the fields of a block step."""

from __future__ import annotations

from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from modelbuild_local.run import blocks

OPTIONS = [{"value": "a", "label": "First"}, {"value": "b", "label": "Second"}]


def answered(typed: str, **field: Any) -> tuple[dict[str, str] | None, Result]:
    """The fields after a person typed this for a select field and confirmed, and what the terminal showed."""
    answers: dict[str, str] | None = None

    @click.command()
    def command() -> None:
        nonlocal answers
        asked = {"key": "k", "title": "Which", "options": OPTIONS, **field}
        answers = blocks.ask({"label": "deploy?", "fields": [asked]})

    result = CliRunner().invoke(command, input=f"{typed}\ny\n")
    return answers, result


@pytest.mark.parametrize(
    ("typed", "field", "expected"),
    [
        ("b", {}, "b"),
        ("", {"default": ["b"]}, "b"),
        ("", {"required": False}, ""),
        ("", {"required": False, "multiple": True}, ""),
        ("b", {"multiple": True}, "b"),
        ("a, b", {"multiple": True}, "a\nb"),
        ("", {"multiple": True, "default": ["a", "b"]}, "a\nb"),
        ("b", {"multiple": True, "default": ["a", "b"]}, "b"),
    ],
)
def test_options_are_chosen(typed: str, field: dict[str, Any], expected: str) -> None:
    """A select field takes one value, several where the step allows it, and none where it is optional; Enter
    takes the defaults.
    """
    answers, result = answered(typed, **field)
    assert answers == {"k": expected}, result.output


@pytest.mark.parametrize(
    ("typed", "field", "message"),
    [
        ("c", {}, "'c' is not one of a, b"),
        ("a, b", {}, "'a, b' is not one of a, b"),
        ("a, c", {"multiple": True}, "'c' is not one of a, b"),
        (",", {"multiple": True}, "choose one of a, b"),
    ],
)
def test_what_is_no_option_is_asked_again(typed: str, field: dict[str, Any], message: str) -> None:
    """An answer that is no valid choice gets the reason, and the question again."""
    answers, result = answered(f"{typed}\nb", **field)
    assert f"Error: {message}" in result.output
    assert answers == {"k": "b"}
