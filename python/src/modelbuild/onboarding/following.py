"""Whether the steps that notify and deploy follow the right training, and wait for it.

Each model of a build has a chain of its own: its training unblocks a block step, notify shows the model
after that, then a person decides, and then deploy runs. Where the chains of two models are crossed, a person
would approve one model, and the other would be deployed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from modelbuild.onboarding.interpolation import has_variable
from modelbuild.onboarding.pipeline import Plugin, Step, nearest, steps_before
from modelbuild.onboarding.training import Training


def mistakes(steps: Sequence[Step], trained: Sequence[Training]) -> Iterator[tuple[Step, str]]:
    """What is wrong with the steps that follow a training, each with the step."""
    yield from _endpoints(steps)
    for index, step in enumerate(steps):
        for plugin in step.plugins:
            if plugin.name in ("notify", "deploy"):
                yield from ((step, text) for text in _followed(index, plugin, steps, trained))
            if plugin.name == "deploy" and not _decisions(index, steps, trained):
                yield (
                    step,
                    "no person decides before this deploy: put a block step before it and name it in "
                    "depends_on",
                )


def _followed(
    index: int, plugin: Plugin, steps: Sequence[Step], trained: Sequence[Training]
) -> Iterator[str]:
    """Whether a step that follows a training names one of those that there are, and waits for its chain."""
    if any(training.claim is None for training in trained):
        return
    by_name = {training.claim.model: training for training in trained if training.claim is not None}
    model = _model(plugin)
    if model is None and len(by_name) > 1:
        names = ", ".join(by_name)
        yield f"the pipeline trains {names}: say with option model which of them this step follows"
    elif model is not None and not has_variable(model) and by_name and model not in by_name:
        yield f"option model is {model}, which no step trains: {nearest(model, list(by_name))}"
    elif model in by_name or (model is None and by_name):
        name = next(iter(by_name)) if model is None else model
        yield from _chain(index, plugin, steps, trained, name, by_name[name].unblock)


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
            "depends_on lead there"
        )
        return
    shown = [at for at, step in enumerate(steps) if any(_shows(one, model, trained) for one in step.plugins)]
    decisions = _decisions(index, steps, trained)
    if plugin.name != "deploy" or not shown or not decisions:
        return
    if all(steps_before(decision, steps).isdisjoint(shown) for decision in decisions):
        yield (
            f"{steps[decisions[0]].shown()} does not wait for {steps[shown[0]].shown()}, so a person decides "
            f"before model {model} is shown: name it there in depends_on"
        )


def _shows(plugin: Plugin, model: str, trained: Sequence[Training]) -> bool:
    followed = _model(plugin)
    return plugin.name == "notify" and (followed == model or (followed is None and len(trained) == 1))


def _model(plugin: Plugin) -> str | None:
    model = plugin.options.get("model") if isinstance(plugin.options, dict) else None
    return model if isinstance(model, str) else None


def _decisions(index: int, steps: Sequence[Step], trained: Sequence[Training]) -> list[int]:
    """The indices of the steps by which a person decides before a step, without those of trainings."""
    by_training = {training.unblock for training in trained}
    values = steps[index].values
    return [
        at
        for at in sorted(steps_before(index, steps))
        if steps[at].kind in ("block", "input")
        and steps[at].key not in by_training - {""}
        # A block that is skipped lets everything behind it pass.
        and all(steps[at].values.get(name) in (None, values.get(name)) for name in ("if", "branches"))
    ]


def _endpoints(steps: Sequence[Step]) -> Iterator[tuple[Step, str]]:
    """Whether two models of the pipeline are deployed to one endpoint."""
    deployed: dict[str, tuple[Step, object]] = {}
    for step in steps:
        for plugin in step.plugins:
            options = plugin.options if plugin.name == "deploy" and isinstance(plugin.options, dict) else {}
            endpoint, model = options.get("endpoint"), options.get("model")
            if not isinstance(endpoint, str) or has_variable(endpoint):
                continue
            first, other = deployed.setdefault(endpoint, (step, model))
            if other != model:
                yield (
                    step,
                    f"{first.shown()} deploys another model to endpoint {endpoint}: give each model an "
                    "endpoint of its own",
                )
