"""``if``, ``branches`` and ``skip``: which steps belong to a build."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelbuild_local.buildkite.errors import Refused
from modelbuild_local.buildkite.pipeline.attributes.branches import matches_branch
from modelbuild_local.buildkite.pipeline.attributes.condition import is_met
from modelbuild_local.buildkite.pipeline.attributes.condition_values import (
    ConditionError,
    Missing,
    OneOf,
    Variables,
)
from modelbuild_local.buildkite.state import Build, Step

VARIABLES: Variables = {
    "build.branch": "feature/x",
    "build.message": "Fix [skip tests]\nmore",
    "build.number": 12,
    "build.creator.teams": ("ml", "deploy"),
    "build.pull_request.draft": Missing(bool),
    "build.source": OneOf("api", ("api", "ui", "schedule")),
    "build.tag": Missing(str),
}
ENV = {"EMPTY": "", "COLOUR": "blue"}


@pytest.mark.parametrize(
    ("condition", "met"),
    [
        ("true", True),
        ("!true", False),
        ("!!true", True),
        ('build.branch == "feature/x"', True),
        ("build.branch == 'feature/x'", True),
        ("build.branch != 'main'", True),
        ("build.branch == 'main' || build.branch == 'feature/x'", True),
        ("build.branch == 'main' && true || true", True),
        ("true || build.branch == 'main' && false", True),
        ("(true || true) && false", False),
        ("!(build.branch == 'main')", True),
        (r"build.branch =~ /^feature\//", True),
        ("build.branch =~ /FEATURE/", False),
        ("build.branch =~ /FEATURE/i", True),
        (r"build.branch =~ /\/x$/", True),
        (r"build.message !~ /\[skip tests\]/i", False),
        ("build.message =~ /more/", True),
        ("build.number == 12", True),
        ("build.number != 012", False),
        ("build.tag == null", True),
        ("build.tag != null", False),
        (r"build.tag =~ /^v/", False),
        (r"build.tag !~ /^v/", True),
        ('build.creator.teams includes "deploy"', True),
        ("build.creator.teams includes 'sales'", False),
        ("build.creator.teams includes /^dep/", True),
        ('["main", "feature/x"] includes build.branch', True),
        ("!build.pull_request.draft", True),
        ("build.pull_request.draft", False),
        ('build.env("COLOUR") == "blue"', True),
        ('build.env("MISSING") == null', True),
        ('build.env("EMPTY") == ""', True),
        ('env("MISSING") == ""', True),
        ("build.tag == null ? build.branch == 'feature/x' : false", True),
        ("// nothing on tags\nbuild.tag == null // so\n  && true", True),
        ('"a\\"b" == \'a"b\'', True),
        (r'''build.message == "Fix [skip tests]\nmore"''', True),
        (r"build.message == 'Fix [skip tests]\nmore'", False),
        (r''''it\'s' == "it's"''', True),
        (r'"\x41\101\q" == "AAq"', True),
        ("\"$$5\" == '$5'", True),
        ("'$COLOUR' == 'blue'", False),
        ('["x", build.tag] includes null', True),
        ('["x"] includes build.tag', False),
        ("build.source == 'schedule'", False),
        (r"build.message =~ /[[:upper:]]ix/", True),
        (r"build.message !~ /[(?<>]/", True),
    ],
)
def test_conditions_are_evaluated(condition: str, met: bool) -> None:
    """Operators, precedence, literals, regular expressions, functions and comments of ``if``."""
    assert is_met(condition, VARIABLES, ENV) is met


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("", "its end"),
        ("build.branch ==", "its end"),
        ("build.branch = 'main'", "'= 'main''"),
        ("build.number > 3", "'> 3'"),
        ("build.branc == 'main'", "`build.branc` is not a variable"),
        ("build.state == 'passed'", "for notifications only"),
        ("true || build.nothing", "is not a variable"),
        ("false && build.nothing", "is not a variable"),
        ("build.branch", "must be true or false, not a text"),
        ("build.branch && true", "must be true or false, not a text"),
        ("build.number == '12'", "a number cannot be compared with a text"),
        ("build.branch == /main/", "=~ or !~"),
        ("/main/ =~ build.branch", "at the right"),
        ("build.branch =~ 'main'", "at the right"),
        ("build.branch =~ /[/", "is not a regular expression"),
        ("build.branch =~ /a/x", "not a flag"),
        ("build.branch =~ /(?<=a)b/", "group"),
        ("(true", "where ')' should stand"),
        ("true true", "'true'"),
        ("build.meta_data('x') == 'y'", "not a function"),
        ("build.branch includes 'x'", "needs an array"),
        ("!" * 3 + "'x'", "what follows '!'"),
        ("!build.tag", "what follows '!' must be true or false, not a text"),
        ("build.tag || true", "not a text"),
        ("build.env('MISSING')", "must be true or false, not a text"),
        ("null || true", "must be true or false, not null"),
        ("build.tag == 5", "a text cannot be compared with a number"),
        ("build.pull_request.draft =~ /x/", "cannot be matched against a boolean"),
        ("build.tag == null ? true : 5", "a boolean cannot be compared with a number"),
        ("build.source == 'schedul'", "'schedul' is none of api, ui, schedule"),
        ("build.source =~ /api/", "cannot be matched"),
        ("build.env('BUILDKITE_BUILD_NUMBER') == '3'", "exists in jobs only"),
        ("env('BUILDKITE_AGENT_ACCESS_TOKEN') == ''", "exists in jobs only"),
        ("build.env('$COLOUR') == null", "not the name of a variable"),
        ('"is-${COLOUR}" == "is-blue"', "use build.env()"),
        ('"$COLOUR" == "blue"', "use build.env()"),
        ("build.branch =~ /a++/", "repetition"),
        ("build.branch =~ /[a]{1,2}+/", "repetition"),
        ("(" * 60 + "true" + ")" * 60, "too deeply"),
        ("x" * 6000, "longer than"),
    ],
)
def test_wrong_conditions_are_reported(condition: str, message: str) -> None:
    """A condition that cannot be evaluated is refused in words, also where the rest decides already."""
    with pytest.raises(ConditionError) as refused:
        is_met(condition, VARIABLES, ENV)
    assert message in str(refused.value)


def test_an_endless_regular_expression_is_cut_off() -> None:
    """A condition whose regular expression backtracks for ever is refused after a moment."""
    began = time.monotonic()
    with pytest.raises(ConditionError, match="takes too long"):
        is_met(r"build.message =~ /^(a|a)*$/", {"build.message": "a" * 60 + "b"}, {})
    assert time.monotonic() - began < 20


@given(st.text(alphabet="ab.\"'/!=~&|()[] \\\n1?:,$", max_size=30))
def test_any_text_is_evaluated_or_refused(condition: str) -> None:
    """Whatever stands in ``if``: no other exception leaves the evaluation."""
    try:
        is_met(condition, {"a": True, "b": "x"}, {})
    except ConditionError:
        return


@pytest.mark.parametrize(
    ("patterns", "branch", "matches"),
    [
        ("main", "main", True),
        ("main", "main2", False),
        ("!production", "main", True),
        ("!production", "production", False),
        ("main features/*", "features/a", True),
        ("main features/*", "feature", False),
        ("*-test", "rails-update-test", True),
        ("stages/* !stages/production", "stages/demo", True),
        ("stages/* !stages/production", "stages/production", False),
        ("v*.0", "v1.0", True),
        ("v*.0", "v1x0", False),
        ("v* !v1.*", "v2.3", True),
        ("v* !v1.*", "v1.1", False),
        ("*", "a/b", True),
        ("", "main", True),
        ("a*a", "a", False),
        ("*a*b*", "xaxbx", True),
        ("*b*a*", "xaxbx", False),
        ("*a*" * 40, "a" * 5000 + "b", True),
        ("*a" * 40, "a" * 5000 + "b", False),
    ],
)
def test_branch_patterns(patterns: str, branch: str, matches: bool) -> None:
    """A positive pattern must match where there is one, and no negative pattern may match."""
    assert matches_branch(patterns, branch) is matches


def build_on(bench: Any, branch: str, steps: list[object], **more: object) -> Build:
    """A build of these steps on a branch."""
    name = f"on{len(bench.engine.pipelines)}"
    pipeline = bench.engine.create_pipeline(name, "/repository", json.dumps({"steps": steps}))
    return bench.engine.create_build(pipeline, commit="HEAD", branch=branch, **more)  # type: ignore[no-any-return]


def command(key: str, **more: object) -> dict[str, object]:
    """A command step."""
    return {"command": "true", "key": key, **more}


def omitted(build: Build, key: str) -> str:
    """Why a step does not run; its job is broken then."""
    step = build.find(key)
    assert isinstance(step, Step)
    assert (step.job.state == "broken") is bool(step.omitted)
    return step.omitted


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"if": "build.branch == 'main'"}, "conditional_failed"),
        ({"if": False}, "conditional_failed"),
        ({"if": "build.branch == 'dev'"}, ""),
        ({"branches": "main release/*"}, "branch_mismatch"),
        ({"branches": ["main", "dev"]}, ""),
        ({"skip": True}, "skipped"),
        ({"skip": "not now"}, "not now"),
        ({"skip": ""}, ""),
        ({"skip": False}, ""),
        ({"if": "build.env('COLOUR') == 'blue'"}, ""),
        ({"if": "build.source == 'api' && build.number == 1 && build.message == null"}, ""),
        ({"if": "pipeline.default_branch == 'main' && organization.slug == 'local'"}, ""),
        ({"if": "build.env('BUILDKITE_BRANCH') == build.branch"}, ""),
    ],
)
def test_a_step_that_does_not_belong_to_the_build(bench: Any, more: dict[str, object], reason: str) -> None:
    """A step is left out by ``if``, ``branches`` or ``skip``; what depends on it runs all the same."""
    steps: list[object] = [command("a", **more), command("b", depends_on="a"), "wait", command("c")]
    build = build_on(bench, "dev", steps, env={"COLOUR": "blue"})
    assert omitted(build, "a") == reason
    assert bench.drain(bench.agent()) == (["b", "c"] if reason else ["a", "b", "c"])
    assert build.state == "passed"


@pytest.mark.parametrize("kind", ["wait", "block", "input"])
def test_a_barrier_that_is_left_out_holds_nothing_up(bench: Any, kind: str) -> None:
    """Without the wait or block step, steps around it run side by side, without a person."""
    build = build_on(bench, "dev", [command("a"), {kind: None, "key": "k", "branches": "main"}, command("b")])
    assert [bench.begin(bench.agent()).step.key for _ in range(2)] == ["a", "b"]
    assert not build.blocked


@pytest.mark.parametrize("more", [{"if": "false"}, {"skip": "later"}])
def test_a_group_hands_if_and_skip_to_its_steps(bench: Any, more: dict[str, object]) -> None:
    """``if`` and ``skip`` of a group count for each of its steps; a step that depends on the group runs."""
    group = {"group": "G", "key": "g", "steps": [command("a"), "wait", command("b")], **more}
    build = build_on(bench, "dev", [group, command("c", depends_on="g")])
    assert omitted(build, "a") == omitted(build, "b") == more.get("skip", "conditional_failed")
    assert bench.drain(bench.agent()) == ["c"]


def test_a_build_whose_steps_are_all_left_out_is_not_run(bench: Any) -> None:
    """When all the steps in a build are skipped, its state is ``not_run``, and it is over."""
    build = build_on(bench, "dev", [command("a", skip=True), "wait", command("b", branches="main")])
    assert (build.state, build.blocked) == ("not_run", False)
    assert build.finished_at is not None
    with pytest.raises(Refused):
        bench.engine.retry(build.jobs[0])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"if": "build.branch = 'x'"}, "step 'a': the condition cannot be read"),
        ({"if": "true", "branches": "main"}, "cannot be used at the same time"),
        ({"skip": "x" * 71}, "at most 70 characters"),
    ],
)
def test_what_cannot_be_decided_is_refused(bench: Any, more: dict[str, object], message: str) -> None:
    """A wrong condition, or ``if`` beside ``branches``, is refused with the step that has it."""
    with pytest.raises(Refused, match=message) as refused:
        build_on(bench, "dev", [command("a", **more)])
    assert refused.value.status == 422


def test_all_wrong_conditions_are_reported_at_once(bench: Any) -> None:
    """One refusal names each step whose condition is wrong."""
    with pytest.raises(Refused) as refused:
        build_on(bench, "dev", [command("a", **{"if": "1"}), command("b", **{"if": "nothing"})])
    assert "step 'a'" in refused.value.message
    assert "step 'b'" in refused.value.message


def test_an_upload_sees_its_own_environment(bench: Any) -> None:
    """``build.env()`` reads what the uploaded pipeline sets, which overrides the variables of the build."""
    build = build_on(bench, "dev", [command("up")], env={"A": "build"})
    job = bench.begin(bench.agent())
    steps = [
        command("a", **{"if": "build.env('A') == 'top'"}),
        command("b", **{"if": "build.env('B') == 'top'"}),
    ]
    bench.engine.upload(job, "1", {"env": {"A": "top", "B": "top"}, "steps": steps})
    assert omitted(build, "a") == omitted(build, "b") == ""
