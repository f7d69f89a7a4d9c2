"""The block step that a training unblocks: its fields, its state and its key."""

from __future__ import annotations

import re

import pytest
import yaml

from modelbuild.contract import TrainingResult
from modelbuild.onboarding.check import Finding, findings
from modelbuild.onboarding.pipeline import read
from pipeline_files import GOOD, Write, changed, line_of, texts


@pytest.mark.parametrize("key", TrainingResult.field_keys())
def test_missing_field(key: str, write: Write) -> None:
    """A field that the block lacks is named, with the line of the block step."""
    text = re.sub(rf"\n.*key: {re.escape(key)},.*", "", GOOD)
    assert findings(read(write(text))) == [
        Finding(
            line_of(text, '  - block: ":hourglass:'),
            f"step training_finished: field {key} is missing, so its value is lost: add "
            f"{{text: …, key: {key}, required: false}}",
        )
    ]


def test_misspelt_field(write: Write) -> None:
    """A field that is nearly one of the result is one finding, with the right name."""
    assert texts(write(changed("key: model/data/sha256", "key: model/data/sha265"))) == [
        "step training_finished: a training does not set field model/data/sha265: did you mean "
        "model/data/sha256?"
    ]


@pytest.mark.parametrize("required", ["", ", required: true"])
def test_required_field(required: str, write: Write) -> None:
    """A field is required unless it says otherwise, and then a failed training could not unblock the step."""
    (found,) = texts(
        write(
            changed("key: model/manifest, required: false}", f"key: model/manifest{required}}}"),
        )
    )
    assert found.startswith("step training_finished: field model/manifest is required")


def test_choice_in_place_of_a_text(write: Write) -> None:
    """A field with a choice of values would refuse the others."""
    text = changed("{text: Status, key: training/status,", "{select: Status, key: training/status,")
    (found,) = texts(write(text))
    assert "training/status is no text field" in found


def test_own_fields_are_allowed(write: Write) -> None:
    """A field of the author's own is allowed while it is optional and like no other."""
    extra = "    fields:\n      - {text: Note, key: note, required: false}\n"
    assert texts(write(changed("    fields:\n", extra))) == []


@pytest.mark.parametrize(
    ("state", "message"), [("", "blocked_state is missing"), ("    blocked_state: passed\n", "is passed")]
)
def test_blocked_state(state: str, message: str, write: Write) -> None:
    """A block that lets the build count as ended is a finding."""
    (found,) = texts(write(changed("    blocked_state: running\n", state)))
    assert message in found
    assert found.endswith("set blocked_state: running")


def test_keys_that_buildkite_refuses(write: Write) -> None:
    """A dot in a field's key, as in a parameter's name, is a finding that says what to write."""
    step = "steps:\n  - input: ask\n    fields:\n      - {text: Rate, key: the.rate}\n"
    assert findings(read(write(GOOD.replace("steps:\n", step, 1)))) == [
        Finding(
            line_of(GOOD.replace("steps:\n", step, 1), "  - input: ask"),
            "step ask: field the.rate has a key that Buildkite refuses, which takes letters, digits, /, - "
            "and _: write the/rate",
        )
    ]


def test_unblock_without_a_step(write: Write) -> None:
    """A training that would unblock nothing is a finding at its own line, with the nearest key."""
    text = changed("unblock: training_finished", "unblock: training_finsihed")
    found = findings(read(write(text)))
    assert found[0] == Finding(
        line_of(text, '  - label: ":weight_lifter:'),
        "step train: unblock names training_finsihed, which is no block step: "
        "did you mean training_finished?",
    )


def test_unblock_without_any_block(write: Write) -> None:
    """Where there is no block step at all, one is to be added."""
    steps = [one for one in yaml.safe_load(GOOD)["steps"] if one.get("key") == "train"]
    (found,) = texts(write(yaml.safe_dump(steps)))
    assert found.endswith("is no block step: add one with this key")


def test_field_that_would_change_what_deploy_believes(write: Write) -> None:
    """A block field becomes meta-data: it must not be what train and notify note for deploy."""
    for key in ("train/artifacts", "train/request/sha256", "notify/model/sha256"):
        text = changed("key: wandb/run/url", f"key: {key}")
        assert any(
            f"field {key} would change what train and notify note" in one for one in texts(write(text))
        )
