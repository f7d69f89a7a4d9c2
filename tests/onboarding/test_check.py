from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from modelbuild.contract import TrainingResult
from modelbuild.errors import ConfigurationError
from modelbuild.onboarding.check import PLACEHOLDER, Finding, findings, of_fork
from modelbuild.onboarding.pipeline import read

ROOT = Path(__file__).parents[2]
GOOD = (ROOT / ".buildkite" / "pipeline.yml").read_text()
Write = Callable[[str], Path]


def texts(file: Path) -> list[str]:
    """The findings in a file, without lines."""
    return [finding.text for finding in findings(read(file))]


def changed(before: str, after: str) -> str:
    """This repository's own pipeline with one change."""
    assert GOOD.count(before) == 1
    return GOOD.replace(before, after)


def line_of(text: str, beginning: str) -> int:
    """The line in which a step begins."""
    (line,) = (number for number, one in enumerate(text.splitlines(), 1) if one.startswith(beginning))
    return line


def deploying(*steps: dict[str, Any] | str) -> str:
    """A pipeline whose steps include a right deploy step, wherever the steps have ``DEPLOY``."""
    (deploy,) = (one for one in yaml.safe_load(GOOD)["steps"] if one.get("key") == "deploy")
    del deploy["depends_on"]
    filled = [
        {**deploy, **{name: value for name, value in one.items() if name != "DEPLOY"}}
        if isinstance(one, dict) and "DEPLOY" in one
        else one
        for one in steps
    ]
    return yaml.safe_dump({"steps": filled}, sort_keys=False)


def test_own_pipeline_is_right() -> None:
    """This repository's own pipeline has no finding."""
    assert findings(read(ROOT / ".buildkite" / "pipeline.yml")) == []


@pytest.mark.parametrize(
    "name",
    [
        *("README.md", "docs/setup.md"),
        *("plugins/train/README.md", "plugins/notify/README.md", "plugins/deploy/README.md"),
    ],
)
def test_examples_are_right(name: str, write: Write) -> None:
    """What a page shows has no finding once the placeholder is filled in."""
    examples = re.findall(r"^```ya?ml\n(.*?)^```", (ROOT / name).read_text(), re.MULTILINE | re.DOTALL)
    assert examples
    for example in examples:
        assert texts(write(example.replace(PLACEHOLDER, "acme"))) == []


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
    """A field that is nearly one of the result is told once, with the right name."""
    assert texts(write(changed("key: model/data/sha256", "key: model/data/sha265"))) == [
        "step training_finished: a training does not set field model/data/sha265: did you mean "
        "model/data/sha256?"
    ]


@pytest.mark.parametrize("required", ["", ", required: true"])
def test_required_field(required: str, write: Write) -> None:
    """A field is required unless it says otherwise, and then a failed training could not be told."""
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
    """A field of the author's own is nobody's business, while it is optional and like no other."""
    extra = "    fields:\n      - {text: Note, key: note, required: false}\n"
    assert texts(write(changed("    fields:\n", extra))) == []


@pytest.mark.parametrize(
    ("state", "said"), [("", "blocked_state is missing"), ("    blocked_state: passed\n", "is passed")]
)
def test_blocked_state(state: str, said: str, write: Write) -> None:
    """A block that lets the build count as ended is told."""
    (found,) = texts(write(changed("    blocked_state: running\n", state)))
    assert said in found
    assert found.endswith("set blocked_state: running")


@pytest.mark.parametrize("retry", ["", "    retry: {automatic: true}\n", "    retry:\n      manual: false\n"])
def test_train_that_cannot_be_retried(retry: str, write: Write) -> None:
    """A train step has passed when its training fails, so only one that may be retried then goes on."""
    text = changed("    retry:\n      manual: {permit_on_passed: true}\n", retry)
    (found,) = findings(read(write(text)))
    assert found.text.endswith("add retry: {manual: {permit_on_passed: true}}")
    assert found.line == line_of(text, '  - label: ":weight_lifter:')
    waits = "unblock: training_finished\n          wait: true"
    assert texts(write(text.replace("unblock: training_finished", waits))) == []


def test_train_that_does_not_wait_for_its_parameters(write: Write) -> None:
    """Nothing waits for an input step by itself, so a training may be over before it is answered."""
    step = "steps:\n  - input: ask\n    key: ask\n    fields:\n      - {text: Rate, key: params/rate}\n"
    text = GOOD.replace("steps:\n", step, 1)
    assert texts(write(text)) == [
        "step train: it does not wait for step ask, which asks for params/rate: name it in depends_on"
    ]
    assert texts(write(text.replace("depends_on: [images, lake]", "depends_on: [images, lake, ask]"))) == []


def test_keys_that_buildkite_refuses(write: Write) -> None:
    """A dot in a field's key, as in a parameter's name, is told with what to write."""
    step = "steps:\n  - input: ask\n    fields:\n      - {text: Rate, key: the.rate}\n"
    assert findings(read(write(GOOD.replace("steps:\n", step, 1)))) == [
        Finding(
            line_of(GOOD.replace("steps:\n", step, 1), "  - input: ask"),
            "step ask: field the.rate has a key that Buildkite refuses, which takes letters, digits, /, - "
            "and _: write the/rate",
        )
    ]


def test_unblock_without_a_step(write: Write) -> None:
    """A training that would unblock nothing is told at its own line, with the nearest key."""
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


BLOCK = {"block": "deploy?", "key": "approve"}
TRAINING = yaml.safe_load(GOOD)["steps"][3:5]


@pytest.mark.parametrize(
    "steps",
    [
        [BLOCK, {"DEPLOY": 1}],
        [BLOCK, "wait", {"DEPLOY": 1}],
        ["block", {"DEPLOY": 1}],
        [{"type": "block", "key": "approve"}, {"DEPLOY": 1, "depends_on": [{"step": "approve"}]}],
        [BLOCK, {"command": "x", "key": "x", "depends_on": "approve"}, {"DEPLOY": 1, "depends_on": "x"}],
        [{"input": "who?", "key": "who"}, {"DEPLOY": 1, "depends_on": "who"}],
        [BLOCK, {"group": "g", "steps": [{"DEPLOY": 1}]}],
        [BLOCK, {"group": "g", "depends_on": "approve", "steps": [{"DEPLOY": 1, "depends_on": "a"}]}],
        [{"group": "g", "key": "g", "steps": [BLOCK]}, {"DEPLOY": 1, "depends_on": "g"}],
        [BLOCK | {"if": "build.branch == 'main'"}, {"DEPLOY": 1, "if": "build.branch == 'main'"}],
    ],
)
def test_deploy_behind_a_person(steps: list[Any], write: Write) -> None:
    """A block before the deploy is found as Buildkite finds it: in order, by keys, and through groups."""
    filled = [
        {**one, "steps": yaml.safe_load(deploying(*one["steps"]))["steps"]}
        if isinstance(one, dict) and "steps" in one
        else one
        for one in steps
    ]
    assert texts(write(deploying(*filled))) == []


@pytest.mark.parametrize(
    "steps",
    [
        [{"DEPLOY": 1}],
        [{"DEPLOY": 1}, BLOCK],
        [BLOCK, {"DEPLOY": 1, "depends_on": None}],
        [BLOCK, {"DEPLOY": 1, "depends_on": []}],
        [BLOCK, {"command": "x", "key": "x", "depends_on": []}, {"DEPLOY": 1, "depends_on": "x"}],
        [{"input": "who?"}, {"DEPLOY": 1}],
        [{"group": "g", "steps": [BLOCK]}, {"DEPLOY": 1}],
        [BLOCK | {"if": "build.branch == 'main'"}, {"DEPLOY": 1}],
        [BLOCK | {"branches": "main"}, {"DEPLOY": 1}],
        [{"DEPLOY": 1, "key": "a", "depends_on": "a"}],
        [*TRAINING, {"DEPLOY": 1}],
        [*TRAINING, {"DEPLOY": 1, "depends_on": "training_finished"}],
    ],
)
def test_deploy_without_a_person(steps: list[Any], write: Write) -> None:
    """No block before the deploy, one that it does not wait for, one that may be skipped, or one that
    the training opens: nobody decides.
    """
    (found,) = texts(write(deploying(*steps)))
    assert "no person decides before this deploy" in found


@pytest.mark.parametrize(
    ("reference", "said"),
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
def test_unpinned_plugin(reference: str, said: str, write: Write) -> None:
    """A plugin that may change without a commit is told, whoever wrote it."""
    text = changed("      - ./plugins/notify\n", f"      - {reference}\n")
    (finding,) = findings(read(write(text)))
    assert said in finding.text
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
    """A plugin whose repository is still that of the examples is told, with what to put there."""
    reference = f"https://github.com/{PLACEHOLDER}/modelbuild.git/plugins/notify#v0.1.0"
    (found,) = texts(write(changed("      - ./plugins/notify\n", f"      - {reference}\n")))
    assert found == (
        f"step notify: plugin {reference} is an example: put whose repository it is in place of {PLACEHOLDER}"
    )


def test_plugin_that_modelbuild_does_not_have(write: Write) -> None:
    """A misspelt plugin is told with the nearest name."""
    reference = "https://github.com/org/modelbuild.git/plugins/notfiy#v0.1.0"
    (found,) = texts(write(changed("      - ./plugins/notify\n", f"      - {reference}\n")))
    assert found == "step notify: modelbuild has no plugin notfiy: did you mean notify?"


@pytest.mark.parametrize(
    ("before", "after", "said"),
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
def test_options_that_do_not_fit(before: str, after: str, said: str, write: Write) -> None:
    """What the plugin would refuse in the build is told here, in the same words."""
    (found,) = texts(write(changed(before, after)))
    assert said in found


def test_variable_may_become_anything(write: Write) -> None:
    """A text that the agent completes is not judged by its form; an escaped dollar is no variable."""
    assert texts(write(changed('"s3://modelbuild-${DATA_LAKE_ACCOUNT?}/models"', "$PLACE"))) == []
    (found,) = texts(write(changed('"s3://modelbuild-${DATA_LAKE_ACCOUNT?}/models"', "$$PLACE")))
    assert "option artifacts of the train plugin" in found


@pytest.mark.parametrize(
    "text", ["steps: [", "", "steps: 3", "{? [a]: 1}", "\x00", "steps: {}", r'steps: [label: "\ud83d\ude80"]']
)
def test_no_pipeline_is_a_sentence(text: str, write: Write) -> None:
    """What is no pipeline is refused in one line that names the file."""
    file = write(text)
    with pytest.raises(ConfigurationError) as caught:
        read(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_option_that_json_cannot_hold_is_a_sentence(write: Write) -> None:
    """An infinite number, which the agent cannot hand over, is refused before a dry run meets it."""
    file = write(changed("flow: flows/sentiment/flow.py", "params: {a: .inf}"))
    with pytest.raises(ConfigurationError, match="\\.inf is no number that JSON has"):
        read(file)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["a", "train", "$X", "block", "wait", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["key", "fields", "unblock", "group", "steps", "depends_on", "step", "if"])
            | st.sampled_from(["block", "plugins", "./plugins/train", "./plugins/deploy", "blocked_state"]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(st.lists(values, max_size=4))
def test_any_steps_have_findings_and_no_traceback(steps: list[Any]) -> None:
    """Whatever stands in a pipeline, the answer is a list of single lines."""
    with NamedTemporaryFile("w", suffix=".yml") as file:
        yaml.safe_dump({"steps": steps}, file)
        file.flush()
        assert all("\n" not in finding.text for finding in findings(read(Path(file.name))))


def test_command_line(write: Write) -> None:
    """Each finding is a line with file and line number, and the exit code is 10; without any it is 0."""

    def ran(file: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "modelbuild", "check", str(file)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    good = ran(ROOT / ".buildkite" / "pipeline.yml")
    assert (good.returncode, good.stderr) == (0, "")
    text = changed("    blocked_state: running\n", "")
    bad = ran(write(text))
    assert bad.returncode == 10
    (line,) = bad.stdout.splitlines()
    assert f"pipeline.yml:{line_of(text, '  - block: ' + chr(34) + ':hourglass:')}: step training" in line
    missing = ran(write("").with_name("none.yml"))
    assert missing.returncode == 10
    assert "cannot read the pipeline" in missing.stderr


TRAIN_STEP, TRAIN_BLOCK = TRAINING


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        (
            [TRAIN_STEP, TRAIN_BLOCK, {**TRAIN_STEP, "key": "mail"}],
            "step mail: line 2 has a step that trains the same",
        ),
        (
            [TRAIN_STEP, TRAIN_BLOCK, {"group": "g", "steps": [{**TRAIN_STEP, "key": "mail"}]}],
            "step mail: line 2 has a step that trains the same",
        ),
        ([{**TRAIN_STEP, "matrix": ["a", "b"]}, TRAIN_BLOCK], "step train: matrix would train several times"),
        ([{**TRAIN_STEP, "parallelism": 2}, TRAIN_BLOCK], "parallelism would train several times"),
        ([{**TRAIN_STEP, "parallelism": "$N"}, TRAIN_BLOCK], "parallelism would train several times"),
    ],
)
def test_several_trainings_of_a_build(steps: list[Any], said: str, write: Write) -> None:
    """Another step that trains, a matrix and parallelism are found, in groups as well."""
    (found,) = texts(write(yaml.safe_dump({"steps": steps}, sort_keys=False)))
    assert said in found


def models(*names: str, **changes: dict[str, Any]) -> list[Any]:
    """Steps that train models of these names, each with its block and a step that follows it."""
    steps: list[Any] = []
    for name in names:
        train, block = json.loads(json.dumps(TRAINING))
        ((_, options),) = train["plugins"][0].items()
        train["key"], block["key"] = f"train-{name}", f"{name}-finished"
        options |= {"model": name, "unblock": block["key"], **changes.get(name, {})}
        block["depends_on"] = train["key"]
        for field in block["fields"]:
            field["key"] = f"{name}/{field['key']}"
        notify = {"plugins": [{"./plugins/notify": {"model": name}}], "depends_on": block["key"]}
        steps += [train, block, notify]
    return steps


def test_several_models_of_a_build_are_right(write: Write) -> None:
    """Each has a name, a block step with fields of its own, and a step that follows it."""
    assert texts(write(yaml.safe_dump({"steps": models("sentiment", "topics")}, sort_keys=False))) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda steps: steps[5].update(plugins=["./plugins/notify"]), "say with option model which of them"),
        (lambda steps: _options(steps[5]).update(model="topic"), "no step trains: did you mean topics?"),
        (lambda steps: _options(steps[3]).update(unblock="sentiment-finished"), "unblocks the same step"),
        (lambda steps: _options(steps[3]).pop("model"), "trains model sentiment too"),
        (lambda steps: _options(steps[3]).update(model="sentiment"), "trains model sentiment too"),
        (lambda steps: _set_key(steps[4], 0, "training/status"), "did you mean topics/training/status?"),
        (lambda steps: _set_key(steps[4], 0, "topics/train/job/id"), "would change what train and notify"),
    ],
)
def test_models_that_collide_are_found(change: Any, said: str, write: Write) -> None:
    """A step without a name, with the name or the block of another, or that follows none is named."""
    steps = models("sentiment", "topics")
    change(steps)
    found = texts(write(yaml.safe_dump({"steps": steps}, sort_keys=False)))
    assert any(said in text for text in found), found


def test_two_models_need_two_endpoints(write: Write) -> None:
    """Two deployments of one endpoint are found where they deploy different models."""

    def text(*models: str) -> str:
        steps: list[Any] = ["wait", {"block": "deploy?"}]
        for model in models:
            options = yaml.safe_load(GOOD)["steps"][-1]["plugins"][0]
            ((name, given),) = options.items()
            steps.append({"label": model, "plugins": [{name: {**given, "model": model}}]})
        return yaml.safe_dump({"steps": steps}, sort_keys=False)

    (found,) = texts(write(text("a", "b")))
    assert "deploys another model to endpoint" in found
    assert texts(write(text("a", "a"))) == []


def _set_key(step: Any, field: int, key: str) -> None:
    step["fields"][field]["key"] = key


def _options(step: Any) -> Any:
    """The options of a step's one plugin."""
    return next(iter(step["plugins"][0].values()))


def test_parallelism_of_one_is_one_training(write: Write) -> None:
    """One job is one training, and other steps may have as many as they like."""
    steps = [{**TRAIN_STEP, "parallelism": 1}, TRAIN_BLOCK, {"command": "x", "parallelism": 3, "matrix": [1]}]
    assert texts(write(yaml.safe_dump({"steps": steps}, sort_keys=False))) == []


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("wait: yes", 'option wait of the train plugin is "yes": it must be true or false'),
        ("timeout: 1:30:00", 'option timeout of the train plugin is "1:30:00": it must be a whole number'),
        ("tags: {a: 1e-3}", "option tags.a of the train plugin is 0.001: it must be text"),
        ("tags: {a: no}", None),
        ("timeout: 9e2", None),
        ('tags: {a: "${X:?no}"}', "the agent refuses the pipeline"),
    ],
)
def test_options_are_what_the_agent_hands_over(option: str, said: str | None, write: Write) -> None:
    """What only YAML 1.1 takes for true or for a number is found here, and not in the step, and so is a
    variable that ends the upload.
    """
    unblock = "          unblock: training_finished\n"
    found = texts(write(changed(unblock, f"{unblock}          {option}\n")))
    assert (found == []) if said is None else (said in found[0])


def test_retry_that_is_permitted_by_a_word(write: Write) -> None:
    """The agent hands ``yes`` over as text, which does not permit a retry."""
    (found,) = texts(write(changed("permit_on_passed: true", "permit_on_passed: yes")))
    assert "add retry: {manual: {permit_on_passed: true}}" in found


def test_field_that_would_change_what_deploy_believes(write: Write) -> None:
    """A block field becomes meta-data: it must not be what train and notify note for deploy."""
    for key in ("train/artifacts", "train/request/sha256", "notify/model/sha256"):
        text = changed("key: wandb/run/url", f"key: {key}")
        assert any(
            f"field {key} would change what train and notify note" in one for one in texts(write(text))
        )


def test_build_of_a_fork(write: Write) -> None:
    """In a job of a build that a training refuses, check says so, unless forks are allowed."""
    theirs = "git://github.com/mallory/comments.git"
    job = {
        "BUILDKITE_REPO": "git@github.com:acme/comments.git",
        "BUILDKITE_PULL_REQUEST": "7",
        "BUILDKITE_PULL_REQUEST_REPO": theirs,
    }
    steps = read(write(GOOD)).steps
    [finding] = of_fork(steps, job)
    assert f"this build is of a pull request from {theirs}, which it does not train" in finding.text
    assert of_fork(steps, {}) == []
    allowed = changed("unblock: training_finished", "allow-forks: true\n          unblock: training_finished")
    assert of_fork(read(write(allowed)).steps, job) == []
