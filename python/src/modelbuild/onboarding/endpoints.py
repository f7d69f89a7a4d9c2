"""Whether the deploy steps of a pipeline keep endpoints apart.

A build's decisions, annotations and keys of meta-data, and the history in a production account, know an
endpoint by its name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from modelbuild.onboarding.interpolation import has_variable
from modelbuild.onboarding.pipeline import Plugin, Step, may_exclude


def mistakes(steps: Sequence[Step]) -> Iterator[tuple[Step, str]]:
    """What is wrong with the endpoints that deploy steps name, each with the step."""
    deployed: dict[str, tuple[Step, Plugin]] = {}
    for step in steps:
        for plugin in step.plugins:
            endpoint = plugin.option("endpoint")
            if plugin.name != "deploy" or endpoint is None or has_variable(endpoint):
                continue
            first, other = deployed.setdefault(endpoint.lower(), (step, plugin))
            if other is not plugin:
                yield from ((step, text) for text in _collision(first, other, step, plugin))
            for name, one in (("matrix", None), ("parallelism", 1)):
                if step.values.get(name) not in (None, one):
                    yield (
                        step,
                        f"{name} makes several jobs that all deploy to endpoint {endpoint}: remove {name}, "
                        "or write {{matrix}} in option endpoint",
                    )


def _collision(first: Step, other: Plugin, step: Step, plugin: Plugin) -> Iterator[str]:
    """Whether two deploy steps mean the same endpoint, or two endpoints by the same name."""
    named, endpoint = other.option("endpoint"), plugin.option("endpoint")
    if other.option("model") != plugin.option("model"):
        yield (
            f"{first.shown()} deploys another model to endpoint {named}: give each model an endpoint of "
            "its own"
        )
    elif named != endpoint:
        yield (
            f"{first.shown()} deploys to endpoint {named}, and SageMaker has no two endpoints whose names "
            f"differ in capitals only: write {named}, or another name"
        )
    elif other.option("artifacts") != plugin.option("artifacts") and not may_exclude(first, step):
        yield (
            f"{first.shown()} deploys to an endpoint {named} with other artifacts: give endpoints in two "
            "accounts or regions different names"
        )
