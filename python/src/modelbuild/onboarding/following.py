"""Whether the steps that notify and deploy follow the right training, and wait for it.

Each model of a build has a chain of its own: its training unblocks a block step, notify shows the model
after that, then a person decides, and then deploy runs. Where the chains of two models are crossed, a person
would approve one model, and the other would be deployed. Where two deployments of one model read the same
fields, a person's decision on one would also apply to the other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from modelbuild.contract import CHOSEN_CANDIDATE, DECISION, DECISION_REASON, DECISIONS, endpoint_field
from modelbuild.onboarding import endpoints
from modelbuild.onboarding.interpolation import has_variable
from modelbuild.onboarding.matrix import options_of_jobs
from modelbuild.onboarding.pipeline import Plugin, Step, may_exclude, nearest, steps_before
from modelbuild.onboarding.training import Training

_FIELDS = (DECISION, DECISION_REASON, CHOSEN_CANDIDATE)
_DECISION_NAME = DECISION.rpartition("/")[2]
_ANY_FIELD = re.compile(r"(?:.+/)?deploy/(?:[^/]+/)?(?:decision|reason|candidate)")


def mistakes(steps: Sequence[Step], trained: Sequence[Training]) -> Iterator[tuple[Step, str]]:
    """What is wrong with the steps that follow a training, each with the step."""
    yield from endpoints.mistakes(steps)
    readers = list(_readers(steps, trained))
    yield from _shared_fields(readers, steps)
    yield from _unread_fields(readers, steps)
    yield from _shared_gates(steps)
    for index, step in enumerate(steps):
        for plugin in _plugins(step):
            if plugin.name in ("notify", "deploy"):
                yield from ((step, text) for text in _followed(index, plugin, steps, trained))
            if plugin.name == "deploy" and not _decisions(index, steps, trained):
                yield (
                    step,
                    "no person decides before this deploy: put a block step before it and name it in "
                    "depends_on",
                )


def _plugins(step: Step) -> Iterator[Plugin]:
    """The plugins of a step; with a matrix, those of each job."""
    for plugin in step.plugins:
        for options in options_of_jobs(plugin.options, step.values.get("matrix")):
            yield Plugin(plugin.reference, options)


def _followed(
    index: int, plugin: Plugin, steps: Sequence[Step], trained: Sequence[Training]
) -> Iterator[str]:
    """Whether a step that follows a training names one that there is, and waits for its chain.

    It cannot follow a training that is only in builds without this step.
    """
    if any(training.claim is None for training in trained):
        return
    by_name: dict[str, list[Training]] = {}
    for training in trained:
        if training.claim is not None and not may_exclude(steps[index], training.step):
            by_name.setdefault(training.claim.model, []).append(training)
    model = plugin.option("model")
    if model is None and _of_one_build(by_name):
        names = ", ".join(by_name)
        yield f"the pipeline trains {names}: say with option model which of them this step follows"
    elif model is not None and not has_variable(model) and by_name and model not in by_name:
        yield f"option model is {model}, which no step trains: {nearest(model, list(by_name))}"
    else:
        for name in by_name if model is None else by_name.keys() & {model}:
            for training in by_name[name]:
                yield from _chain(index, plugin, steps, trained, name, training.unblock)


def _of_one_build(by_name: Mapping[str, Sequence[Training]]) -> bool:
    """Whether a build may train models of two names."""
    return any(
        not may_exclude(one.step, other.step)
        for (_, some), (_, others) in combinations(by_name.items(), 2)
        for one in some
        for other in others
    )


def _chain(
    index: int,
    plugin: Plugin,
    steps: Sequence[Step],
    trained: Sequence[Training],
    model: str,
    unblock: str,
) -> Iterator[str]:
    """Whether the step waits for the end of the training, and a deployment for a person who saw the model."""
    before = steps_before(index, steps)
    blocks = [at for at, step in enumerate(steps) if step.kind == "block" and step.key == unblock]
    if blocks and before.isdisjoint(blocks):
        yield (
            f"it does not wait for step {unblock}, which the training of model {model} unblocks: let its "
            "depends_on lead there in each build"
        )
        return
    shown = [at for at, step in enumerate(steps) if any(_shows(one, model) for one in _plugins(step))]
    decisions = _decisions(index, steps, trained)
    if plugin.name != "deploy" or not shown or not decisions:
        return
    if all(steps_before(decision, steps).isdisjoint(shown) for decision in decisions):
        yield (
            f"{steps[decisions[0]].shown()} does not wait for {steps[shown[0]].shown()}, so a person decides "
            f"before model {model} is shown: name it there in depends_on"
        )


def _shows(plugin: Plugin, model: str) -> bool:
    followed = plugin.option("model")
    return plugin.name == "notify" and followed in (None, model)


def _decisions(index: int, steps: Sequence[Step], trained: Sequence[Training]) -> list[int]:
    """The indices of the block and input steps before a step, without those that trainings unblock."""
    by_training = {training.unblock for training in trained}
    return [
        at
        for at in sorted(steps_before(index, steps))
        if steps[at].kind in ("block", "input")
        and steps[at].key not in by_training - {""}
        # A block that is skipped lets everything behind it pass.
        and steps[at].conditions <= steps[index].conditions
    ]


@dataclass(frozen=True)
class _Reader:
    """A deploy step: where it is, and the keys of the fields that it may read (see ``handoff.fields``)."""

    index: int
    own: frozenset[str]
    plain: frozenset[str]


def _readers(steps: Sequence[Step], trained: Sequence[Training]) -> Iterator[_Reader | None]:
    """The deploy steps; None for each whose model or endpoint the file does not say."""
    for index, step in enumerate(steps):
        for plugin in _plugins(step):
            if plugin.name == "deploy":
                prefix, endpoint = _key_prefix(plugin, trained), plugin.option("endpoint")
                if prefix is None or endpoint is None or has_variable(endpoint):
                    yield None
                    continue
                own = frozenset(prefix + endpoint_field(key, endpoint) for key in _FIELDS)
                yield _Reader(index, own, frozenset(prefix + key for key in _FIELDS))


def _shared_fields(readers: Sequence[_Reader | None], steps: Sequence[Step]) -> Iterator[tuple[Step, str]]:
    """Whether a person who decides elsewhere can change the fields that a deploy step is about to read."""
    asking = {at: step.fields.keys() for at, step in enumerate(steps) if step.kind in ("block", "input")}
    for reader in readers:
        if reader is None:
            continue
        before, deploys = steps_before(reader.index, steps), steps[reader.index]
        read = reader.own if any(asking[at] & reader.own for at in before & asking.keys()) else reader.plain
        for at, keys in asking.items():
            ordered = at in before or reader.index in steps_before(at, steps)
            if keys & read and not ordered and not may_exclude(steps[at], deploys):
                deploy = deploys.shown()
                yield (
                    steps[at],
                    f"it asks for {min(keys & read)}, which {deploy} reads and may find changed: let it wait "
                    f"for {deploy}, or give each endpoint fields with its name, such as {max(reader.own)}",
                )


def _unread_fields(readers: Sequence[_Reader | None], steps: Sequence[Step]) -> Iterator[tuple[Step, str]]:
    """Whether a person is asked for a decision that no deploy step reads, so that a rejection is lost, or in
    values that it does not know.
    """
    known = [reader for reader in readers if reader is not None]
    if len(known) < len(readers):
        return
    for at, step in enumerate(steps):
        after = [one.own | one.plain for one in known if at in steps_before(one.index, steps)]
        read = frozenset().union(*after)
        for key, field in sorted(step.fields.items()) if after and step.kind in ("block", "input") else ():
            if key in read:
                yield from ((step, f"field {key} {text}") for text in _values(key, field))
            elif _ANY_FIELD.fullmatch(key):
                yield step, f"no deploy step after it reads field {key}: {nearest(key, sorted(read))}"


def _shared_gates(steps: Sequence[Step]) -> Iterator[tuple[Step, str]]:
    """Whether two notify steps note the gates of one model at the same time; deploy reads those of the last
    one.
    """
    noting = [
        (at, plugin.option("model"))
        for at, step in enumerate(steps)
        for plugin in step.plugins
        if plugin.name == "notify" and _notes_gates(plugin)
    ]
    for (at, model), (other, other_model) in combinations(noting, 2):
        ordered = at in steps_before(other, steps) or other in steps_before(at, steps)
        if model == other_model and not ordered and not may_exclude(steps[at], steps[other]):
            yield (
                steps[other],
                f"it and {steps[at].shown()} check gates of one model, and deploy knows those of the step "
                "that ends last: let one wait for the other, or put all gates into one step",
            )


def _notes_gates(plugin: Plugin) -> bool:
    options = plugin.options if isinstance(plugin.options, dict) else {}
    return bool(options.get("gates")) and options.get("on-failure") != "warn"


def _values(key: str, field: Mapping[Any, Any]) -> Iterator[str]:
    """Whether the deploy step knows each value that a person can choose for a decision."""
    options = field.get("options")
    if key.rpartition("/")[2] == _DECISION_NAME and isinstance(options, list):
        values = [str(one.get("value")) for one in options if isinstance(one, dict)]
        for value in values:
            if value not in DECISIONS and not has_variable(value):
                yield (
                    f"has the value {value}, with which deploy ends in an error after the person has "
                    f"decided: it knows {' and '.join(DECISIONS)}"
                )


def _key_prefix(plugin: Plugin, trained: Sequence[Training]) -> str | None:
    """The key prefix of the training that a step follows; None if the file does not say which training."""
    claims = [training.claim for training in trained if training.claim is not None]
    model = plugin.option("model")
    if len(claims) < len(trained) or has_variable(model or ""):
        return None
    found = next((claim for claim in claims if model in (None, claim.model)), None)
    if found is None:
        return f"{model}/" if model else ""
    return found.meta_data_prefix
