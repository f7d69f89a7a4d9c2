"""Reading pipelines."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelbuild_local.buildkite.pipeline.attributes.retry import SoftFail
from modelbuild_local.buildkite.pipeline.attributes.values import canonical_plugin
from modelbuild_local.buildkite.pipeline.definition import CommandStep, GroupStep, ManualStep, WaitStep
from modelbuild_local.buildkite.pipeline.reader import PipelineError, parse_pipeline, parse_yaml

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
OPTION = {"label": "A", "value": "a"}
SKIPPED = "if_changed matched no unexcluded changed files in this build"
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
        "if",
        "branches",
        "skip",
        "matrix",
        "parallelism",
        "soft_fail",
        "type",
        "wiat",
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
        ({"command": "x", "checkout": {"depth": 1}}, "'checkout' is not supported"),
        ({"command": "x", "if_changed": "**.py"}, "'if_changed' is for uploaded files only"),
        ({"wiat": None}, "it has none of 'command'.*but 'wiat'"),
        ({"label": "x"}, "it has none of 'command'.*but 'label'"),
        ("wiat", "it has none of 'command'.*but 'wiat'"),
        ({"type": "tirgger"}, "it has none of 'command'"),
        ({"command": "x", "wiat": None}, "'wiat' does not exist"),
        ({"wait": None, "command": None, "contine_on_failure": True}, "'contine_on_failure' does not exist"),
        ({"command": "x", "wait": None}, "'wait' does not exist"),
        ({"wait": None, "skip_me": None}, "'skip_me' does not exist"),
        ({"block": "b", "fields": [{"text": "t", "key": "a", "requird": True}]}, "fields.0.requird"),
        ({"command": "x", "concurrency": 1}, "'concurrency' and 'concurrency_group' need each other"),
        ({"trigger": "other"}, "'trigger' is not supported"),
        ({"command": "x", "paralellism": 3}, "paralellism"),
        ({"command": "x", "key": "5a1a1b46-2c7e-4d8f-9a55-0c1d2e3f4a5b"}, "must not look like a UUID"),
        ({"command": "x", "key": "train/shop"}, "'key': a key has 1 to 100 letters"),
        ({"block": "x", "key": "my step"}, "'key': a key has"),
        ({"command": "x", "key": ""}, "'key': a key has"),
        ({"command": "x", "key": "k" * 101}, "'key': a key has"),
        ({"command": "x", "timeout_in_minutes": 0}, "timeout_in_minutes"),
        ({"block": "b", "fields": [{"text": "t", "key": "a b"}]}, "fields.0.key"),
        ({"block": "b", "fields": [{"key": "k"}]}, "either 'text' or 'select'"),
        ({"block": "b", "fields": [{"text": "t", "select": "s", "key": "k"}]}, "either 'text' or 'select'"),
        ({"block": "b", "fields": [{"select": "s", "key": "k"}]}, "needs 'options'"),
        (
            {"input": "b", "fields": [{"text": "t", "key": "k", "options": [OPTION]}]},
            "for fields with 'select'",
        ),
        ({"group": "g", "steps": [{"group": "h", "steps": ["wait"]}]}, "cannot hold another group"),
        ({"command": "x", "retry": {"automatic": {"limit": 11}}}, "limit"),
        (3, "a step must be a map"),
    ],
)
def test_what_is_not_honoured_is_refused(step: object, message: str) -> None:
    """An attribute that would be ignored, or is wrong, is refused with its name."""
    with pytest.raises(PipelineError, match=message):
        only_step(step)


def test_invalid_yaml_is_refused() -> None:
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


def test_one_refusal_names_every_step_and_attribute() -> None:
    """All errors are reported at once, each with its step, steps of groups with their group's number."""
    steps = [
        {"label": "first", "command": "x", "colour": "red", "secrets": ["A"], "timeout_in_minutes": 0},
        {"trigger": "other"},
        {"group": "g", "steps": [{"command": "y", "key": "inner", "retry": {"automatic": {"limit": 11}}}]},
        7,
        {"wiat": None},
    ]
    with pytest.raises(PipelineError) as refused:
        parse_pipeline({"steps": steps, "checkout": {"depth": 1}})
    problems = str(refused.value).split("; ")
    assert sorted(problem.split(": ", 1)[0] for problem in problems) == [
        "step 1 ('first')",
        "step 1 ('first')",
        "step 1 ('first')",
        "step 2 ('other')",
        "step 3.1 ('inner')",
        "step 4",
        "step 5",
        "the pipeline",
    ]
    assert (
        "step 3.1 ('inner'): 'retry.automatic.0.limit': Input should be less than or equal to 10, not 11"
        in (problems)
    )


def test_a_refusal_does_not_show_values() -> None:
    """A value may be a secret: a refusal names its attribute only."""
    with pytest.raises(PipelineError) as refused:
        parse_pipeline([{"command": "x", "env": {"TOKEN": ["hunter2"]}, "priority": "hunter3"}])
    assert "env.TOKEN" in str(refused.value)
    assert "hunter" not in str(refused.value)


def test_many_problems_are_counted() -> None:
    """After 20 problems the refusal says how many more there are."""
    with pytest.raises(PipelineError, match=r"; and 5 more problems$"):
        parse_pipeline([{f"wiat{number}": None} for number in range(25)])


def test_other_keys_at_the_top_hold_anchors() -> None:
    """A key beside ``steps`` that Buildkite does not know means nothing: YAML anchors are kept there."""
    pipeline = parse_yaml(
        """
        retry_policy: &retry_policy
          automatic: [{exit_status: -1, limit: 2}]
        common: &common {agents: {queue: gpu}, priority: 7}
        priority: 3
        image: ubuntu
        steps:
          - {command: a, retry: *retry_policy}
          - {<<: *common, command: b}
        """
    )
    first, second = pipeline.steps
    assert isinstance(first, CommandStep)
    assert isinstance(second, CommandStep)
    assert first.retry.automatic[0].exit_status == [-1]
    assert (second.agents, second.priority) == ({"queue": "gpu"}, 7)
    assert (pipeline.priority, pipeline.image) == (3, "ubuntu")


@pytest.mark.parametrize(
    ("written", "attribute", "value"),
    [
        ({"artifacts": "a"}, "artifact_paths", "a"),
        ({"agent_query_rules": ["queue=x", "gpu"]}, "agents", {"queue": "x", "gpu": "true"}),
        ({"timeout": 3}, "timeout_in_minutes", 3),
        ({"id": "i", "identifier": "j", "key": "k"}, "key", "k"),
        ({"key": "a-b_c:d.e,f"}, "key", "a-b_c:d.e,f"),
        ({"name": "n"}, "label", "n"),
        ({"branches": ["a", "b*"]}, "branches", "a b*"),
        ({"soft_fail": "true"}, "soft_fail", [SoftFail()]),
        ({"skip": SKIPPED}, "skip", SKIPPED),
        ({"label": None, "retry": None, "skip": None, "if": None}, "label", ""),
    ],
)
def test_other_names_and_forms_of_an_attribute(
    written: dict[str, object], attribute: str, value: object
) -> None:
    """Buildkite's aliases, and the forms in which the agent uploads an attribute, are understood."""
    assert getattr(only_step({"command": "x", **written}), attribute) == value
