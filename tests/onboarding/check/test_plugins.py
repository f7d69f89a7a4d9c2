"""Versions, names and options of the plugins."""

from __future__ import annotations

import pytest

from modelbuild.errors import ConfigurationError
from modelbuild.onboarding.check import PLACEHOLDER, findings
from modelbuild.onboarding.pipeline import read
from pipeline_files import Write, changed, line_of, texts


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("https://github.com/org/modelbuild.git/plugins/notify", "has no version"),
        ("https://github.com/org/modelbuild.git/plugins/notify#", "has no version"),
        ("https://github.com/org/modelbuild.git/plugins/notify#main", "follows main"),
        ("https://github.com/org/modelbuild.git/plugins/notify#HEAD", "follows HEAD"),
        ("https://github.com/org/modelbuild.git/plugins/notify#v1", "follows v1, which may move"),
        ("https://github.com/org/modelbuild.git/plugins/notify#v1.4", "follows v1.4"),
        ("https://github.com/org/modelbuild.git/plugins/notify#release-2", "follows release-2"),
        ("docker-compose#feature/2-steps", "follows feature/2-steps"),
        ("docker-compose", "has no version"),
    ],
)
def test_unpinned_plugin(reference: str, message: str, write: Write) -> None:
    """A plugin that may change without a commit is a finding, ours or not."""
    text = changed("      - ./plugins/notify\n", f"      - {reference}\n")
    (finding,) = findings(read(write(text)))
    assert message in finding.text
    assert finding.line == line_of(text, '  - label: ":memo:')


@pytest.mark.parametrize(
    "version",
    ["v0.1.0", "1.4.2", "v1.0.0-beta.2", "modelbuild-v0.1.0", "0a1b2c3d", "a" * 40, "${VERSION}"],
)
def test_pinned_plugin(version: str, write: Write) -> None:
    """A whole version or a commit pins; what a variable will say is not guessed."""
    reference = f"https://github.com/org/modelbuild.git/plugins/notify#{version}"
    assert texts(write(changed("      - ./plugins/notify\n", f"      - {reference}\n"))) == []


def test_placeholder_of_the_examples(write: Write) -> None:
    """A plugin whose repository is still that of the examples is a finding that says what to put there."""
    reference = f"https://github.com/{PLACEHOLDER}/modelbuild.git/plugins/notify#v0.1.0"
    (found,) = texts(write(changed("      - ./plugins/notify\n", f"      - {reference}\n")))
    assert found == (
        f"step notify: plugin {reference} is an example: put whose repository it is in place of {PLACEHOLDER}"
    )


def test_plugin_that_modelbuild_does_not_have(write: Write) -> None:
    """A misspelt plugin is a finding with the nearest name."""
    reference = "https://github.com/org/modelbuild.git/plugins/notfiy#v0.1.0"
    (found,) = texts(write(changed("      - ./plugins/notify\n", f"      - {reference}\n")))
    assert found == "step notify: modelbuild has no plugin notfiy: did you mean notify?"


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("flow: flows/sentiment/flow.py", "flwo: flows/sentiment/flow.py", "did you mean flow?"),
        ("endpoint: sentiment", "endpoint: a_b", 'option endpoint of the deploy plugin is "a_b"'),
        ("      - ./plugins/notify", "      - ./plugins/notify: {a: 2026-01-01}", "option a of the notify"),
        (
            '"s3://modelbuild-${DATA_LAKE_ACCOUNT?}/models"',
            '"models"',
            "option artifacts of the train plugin",
        ),
        ("          endpoint: sentiment", "          timeout: $T\n          endpoint: x", "a whole number"),
    ],
)
def test_options_that_do_not_fit(before: str, after: str, message: str, write: Write) -> None:
    """What the plugin would refuse in the build is a finding, in the same words."""
    (found,) = texts(write(changed(before, after)))
    assert message in found


def test_variable_may_become_anything(write: Write) -> None:
    """A text that the agent completes is not judged by its form; an escaped dollar is no variable."""
    assert texts(write(changed('"s3://modelbuild-${DATA_LAKE_ACCOUNT?}/models"', "$PLACE"))) == []
    (found,) = texts(write(changed('"s3://modelbuild-${DATA_LAKE_ACCOUNT?}/models"', "$$PLACE")))
    assert "option artifacts of the train plugin" in found


def test_option_that_json_cannot_hold_is_a_sentence(write: Write) -> None:
    """An infinite number, which the agent cannot hand over, is refused before a dry run meets it."""
    file = write(changed("flow: flows/sentiment/flow.py", "params: {a: .inf}"))
    with pytest.raises(ConfigurationError, match="\\.inf is no number that JSON has"):
        read(file)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("wait: yes", 'option wait of the train plugin is "yes": it must be true or false'),
        ("timeout: 1:30:00", 'option timeout of the train plugin is "1:30:00": it must be a whole number'),
        ("tags: {a: 1e-3}", "option tags.a of the train plugin is 0.001: it must be text"),
        ("tags: {a: no}", None),
        ("timeout: 9e2", None),
        ('tags: {a: "${X:?no}"}', "the agent refuses the pipeline"),
    ],
)
def test_options_are_what_the_agent_hands_over(option: str, message: str | None, write: Write) -> None:
    """What only YAML 1.1 takes for true or for a number is found here, and not in the step, and so is a
    variable that ends the upload.
    """
    unblock = "          unblock: training_finished\n"
    found = texts(write(changed(unblock, f"{unblock}          {option}\n")))
    assert (found == []) if message is None else (message in found[0])
