"""Reading pipelines."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelbuild.local.buildkite.attributes.values import canonical_plugin
from modelbuild.local.buildkite.definition import (
    CommandStep,
    GroupStep,
    ManualStep,
    WaitStep,
)
from modelbuild.local.buildkite.pipeline import PipelineError, parse_pipeline, parse_yaml

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
attributes = st.sampled_from(
    [
        "command",
        "block",
        "wait",
        "group",
        "steps",
        "key",
        "depends_on",
        "env",
        "plugins",
        "agents",
        "retry",
        "label",
    ]
)


def only_step(step: object) -> object:
    """The step as it is read."""
    return parse_pipeline({"steps": [step]}).steps[0]


@pytest.mark.parametrize(
    ("written", "kind"),
    [
        ("wait", WaitStep),
        ({"wait": None}, WaitStep),
        ({"type": "waiter"}, WaitStep),
        ("block", ManualStep),
        ({"block": "go?"}, ManualStep),
        ({"input": "who?"}, ManualStep),
        ({"command": "make"}, CommandStep),
        ({"plugins": [{"./p": None}]}, CommandStep),
        ({"group": "tests", "steps": ["wait"]}, GroupStep),
    ],
)
def test_the_type_of_a_step_follows_from_its_attributes(written: object, kind: type) -> None:
    """The type of a step follows from its attributes, as on Buildkite."""
    assert isinstance(only_step(written), kind)


def test_several_commands_become_one_of_several_lines() -> None:
    """``commands`` is one command of several lines."""
    step = only_step({"commands": ["a", "b"]})
    assert isinstance(step, CommandStep)
    assert step.command == "a\nb"


def test_values_of_the_environment_become_text() -> None:
    """Numbers and booleans of ``env`` reach the job as YAML wrote them."""
    step = only_step({"command": "x", "env": {"A": 1, "B": True, "C": None}})
    assert isinstance(step, CommandStep)
    assert step.env == {"A": "1", "B": "true", "C": ""}


@pytest.mark.parametrize(
    ("written", "full"),
    [
        ("docker#v5", "https://github.com/buildkite-plugins/docker-buildkite-plugin#v5"),
        ("org/docker#v1", "https://github.com/org/docker-buildkite-plugin#v1"),
        ("./plugins/train", "./plugins/train"),
        ("https://github.com/org/repo/plugins/train#v1", "https://github.com/org/repo/plugins/train#v1"),
        ("file:///srv/x.git/plugins/train#main", "file:///srv/x.git/plugins/train#main"),
    ],
)
def test_short_plugin_names_become_full_ones(written: str, full: str) -> None:
    """Only the two short forms are spelled out; every other reference stays as it is."""
    assert canonical_plugin(written) == full


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"command": "x", "if": "build.branch == 'main'"}, "'if' is not supported on the laptop"),
        ({"trigger": "other"}, "'trigger' is not supported"),
        ({"command": "x", "paralellism": 3}, "paralellism"),
        ({"command": "x", "key": "5a1a1b46-2c7e-4d8f-9a55-0c1d2e3f4a5b"}, "must not look like a UUID"),
        ({"command": "x", "timeout_in_minutes": 0}, "timeout_in_minutes"),
        ({"block": "b", "fields": [{"text": "t", "key": "a b"}]}, "fields.0.key"),
        ({"group": "g", "steps": [{"group": "h", "steps": ["wait"]}]}, "cannot hold another group"),
        ({"command": "x", "retry": {"automatic": {"limit": 11}}}, "limit"),
        (3, "a step must be a map"),
    ],
)
def test_what_is_not_honoured_is_refused(step: object, message: str) -> None:
    """An attribute that would be ignored, or is wrong, is refused with its name."""
    with pytest.raises(PipelineError, match=message):
        only_step(step)


def test_yaml_that_is_none_is_refused() -> None:
    """A configuration that is not YAML is refused with a sentence."""
    with pytest.raises(PipelineError, match="not YAML"):
        parse_yaml("steps: [")


@given(
    st.fixed_dictionaries(
        {"steps": st.lists(st.dictionaries(attributes, json_values, max_size=4), max_size=4)}
    )
)
def test_any_document_is_read_or_refused(document: object) -> None:
    """Whatever an agent uploads is read or refused: no other exception leaves the parser."""
    try:
        pipeline = parse_pipeline(json.loads(json.dumps(document)))
    except PipelineError:
        return
    assert pipeline.steps
