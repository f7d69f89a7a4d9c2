"""``modelbuild check``: what is wrong in a pipeline file, found before a build meets it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelbuild.buildkite import fork
from modelbuild.buildkite.job import PullRequest
from modelbuild.contract import TrainingResult
from modelbuild.formats.pipeline_rules import FIELD_KEY_PATTERN
from modelbuild.onboarding import following
from modelbuild.onboarding.interpolation import has_variable, problems
from modelbuild.onboarding.matrix import options_of_jobs
from modelbuild.onboarding.pipeline import PLUGINS, Pipeline, Plugin, Step, nearest, steps_before
from modelbuild.onboarding.training import conflicts, trainings

# A whole version such as v0.1.0, or a commit; owners of a plugin move v1 and v1.2 to each release.
_PINNED = re.compile(r"(.*[-/@_])?v?\d+\.\d+\.\d+([-+.][\w.+-]*)?|[0-9a-f]{7,64}")
# The placeholder for the owner of the repository; GitHub allows no such name.
PLACEHOLDER = "YOUR_ORG"
# The beginning of each key of meta-data that deploy trusts, because only steps set it.
_OWN_KEYS = re.compile(r"(?!params/)([A-Za-z0-9_-]+/)?(train|notify)/(?!params/)")


@dataclass(frozen=True)
class Finding:
    """One sentence about the step that begins in ``line``."""

    line: int
    text: str


def findings(pipeline: Pipeline) -> list[Finding]:
    """Everything that is wrong with the steps of a pipeline, in the order of their lines."""
    steps = pipeline.steps
    trained = trainings(steps)
    sentences = [*conflicts(trained), *following.mistakes(steps, trained)]
    found = [Finding(step.line, f"{step.shown()}: {text}") for step, text in sentences]
    for index, step in enumerate(steps):
        own = [*_keys(step), *problems(step.values)]
        found += [Finding(step.line, f"{step.shown()}: {text}") for text in own]
        for plugin in step.plugins:
            own = [*_reference(plugin), *_options(plugin)]
            found += [Finding(step.line, f"{step.shown()}: {text}") for text in own]
            if plugin.name == "train":
                found += [*_retry(step, plugin), *_waits_for_inputs(index, steps)]
                for options in options_of_jobs(plugin.options, step.values.get("matrix")):
                    found += _handover(step, Plugin(plugin.reference, options), steps)
    # A label may have line breaks; a finding has none.
    found = [Finding(one.line, " ".join(one.text.split())) for one in found]
    return sorted(set(found), key=lambda finding: (finding.line, finding.text))


def of_fork(steps: Sequence[Step], build: PullRequest) -> list[Finding]:
    """The steps that refuse to train in this job, because its build is of a pull request from a fork."""
    repository = fork.origin(build)
    return [
        Finding(
            step.line,
            f"{step.shown()}: this build is of a pull request from {repository}, which it does not train: "
            "push its branch to your repository, or set allow-forks if anyone may have their code trained",
        )
        for step in steps
        for plugin in step.plugins
        if repository
        and plugin.name == "train"
        and not (isinstance(plugin.options, dict) and plugin.options.get("allow-forks") is True)
    ]


def _unblock(plugin: Plugin) -> str:
    options = plugin.options
    key = options.get("unblock") if isinstance(options, dict) else None
    return key if isinstance(key, str) else ""


def _reference(plugin: Plugin) -> Iterator[str]:
    reference, _, version = plugin.reference.partition("#")
    if "modelbuild" in reference and plugin.name and plugin.name not in PLUGINS:
        yield f"modelbuild has no plugin {plugin.name}: {nearest(plugin.name, list(PLUGINS))}"
    if PLACEHOLDER in reference.split("/"):
        yield f"plugin {plugin.reference} is an example: put whose repository it is in place of {PLACEHOLDER}"
    # The commit pins a plugin that lies in the repository.
    if reference.startswith(("./", "../", "/")) or has_variable(plugin.reference):
        return
    if not version:
        yield f"plugin {plugin.reference} has no version, so it moves without a commit: add one like #v1.2.3"
    elif not _PINNED.fullmatch(version):
        yield (
            f"plugin {plugin.reference} follows {version}, which may move without a commit: name a whole "
            "version such as #v1.2.3, or a commit"
        )


def _options(plugin: Plugin) -> Iterator[str]:
    model = PLUGINS.get(plugin.name)
    wrong = model.wrong(plugin.options, unknown=has_variable) if model else None
    if wrong:
        yield wrong


def _prefix(plugin: Plugin) -> str:
    """The prefix of the meta-data keys of the training that a step with these options starts."""
    model = plugin.options.get("model") if isinstance(plugin.options, dict) else None
    return f"{model}/" if isinstance(model, str) else ""


def _handover(train: Step, plugin: Plugin, steps: Sequence[Step]) -> Iterator[Finding]:
    """Whether the step that the training unblocks is there and can take its result."""
    key = _unblock(plugin)
    if not key or has_variable(key):
        return
    blocks = [step for step in steps if step.kind == "block"]
    block = next((step for step in blocks if step.key == key), None)
    if block is None:
        near = nearest(key, [step.key for step in blocks if step.key]) or "add one with this key"
        yield Finding(train.line, f"{train.shown()}: unblock names {key}, which is no block step: {near}")
        return
    if train.conditions < block.conditions and not _waits(plugin):
        yield Finding(
            train.line,
            f"{train.shown()}: {block.shown()} is not in each build that trains, so a failure would not show "
            "there: give it no other condition than this step has",
        )
    prefix = _prefix(plugin)
    for text in [*_state(block), *(() if has_variable(prefix) else _fields(block, prefix))]:
        yield Finding(block.line, f"{block.shown()}: {text}")


def _waits(plugin: Plugin) -> bool:
    """Whether the train step itself is red where the training fails."""
    return isinstance(plugin.options, dict) and plugin.options.get("wait") is True


def _retry(train: Step, plugin: Plugin) -> Iterator[Finding]:
    """Whether a person may retry the step to resume a failed training: without option wait it has passed."""
    retry = train.values.get("retry")
    manual = retry.get("manual") if isinstance(retry, dict) else None
    if not _waits(plugin) and not (isinstance(manual, dict) and manual.get("permit_on_passed") is True):
        yield Finding(
            train.line,
            f"{train.shown()}: to resume a failed training, this step is retried after it has passed: "
            "add retry: {manual: {permit_on_passed: true}}",
        )


def _waits_for_inputs(index: int, steps: Sequence[Step]) -> Iterator[Finding]:
    """Whether a training waits for the steps that ask a person for its parameters."""
    train, before = steps[index], steps_before(index, steps)
    for other, step in enumerate(steps):
        asks = next((key for key in step.fields if re.match(r"([A-Za-z0-9_-]+/)?params/", key)), None)
        if asks and other not in before:
            yield Finding(
                train.line,
                f"{train.shown()}: it does not wait for {step.shown()}, which asks for {asks}: name it "
                "in depends_on",
            )


def _keys(step: Step) -> Iterator[str]:
    """Whether Buildkite takes the keys of a step's fields."""
    if step.kind in ("block", "input"):
        for key in step.fields:
            if not has_variable(key) and not re.fullmatch(FIELD_KEY_PATTERN, key):
                yield (
                    f"field {key} has a key that Buildkite refuses, which takes letters, digits, /, - and _: "
                    f"write {re.sub(r'[^A-Za-z0-9/_-]', '/', key)}"
                )
            if _OWN_KEYS.match(key):
                yield f"field {key} would change what train and notify note in the build: give it another key"


def _state(block: Step) -> Iterator[str]:
    state = block.values.get("blocked_state")
    if state != "running":
        problem = "blocked_state is missing" if state is None else f"blocked_state is {state}"
        yield f"{problem}, so the build counts as ended while the training runs: set blocked_state: running"


def _fields(block: Step, prefix: str) -> Iterator[str]:
    fields, expected = block.fields, [prefix + key for key in TrainingResult.field_keys()]
    missing = [key for key in expected if key not in fields]
    for key, field in fields.items():
        if key not in expected:
            near = difflib.get_close_matches(key, missing, n=1, cutoff=0.75)
            if near:
                missing.remove(near[0])
                yield f"a training does not set field {key}: did you mean {near[0]}?"
        elif "text" not in field:
            yield f"field {key} is no text field, so it may refuse the value: write text: in place of select:"
        if _required(field):
            yield f"field {key} is required, which would refuse a failed training: set required: false"
    for key in missing:
        yield f"field {key} is missing, so its value is lost: add {{text: …, key: {key}, required: false}}"


def _required(field: Mapping[Any, Any]) -> bool:
    """Whether the field must be filled in, which is Buildkite's default; a default value fills it in."""
    return field.get("required") is not False and not field.get("default")
