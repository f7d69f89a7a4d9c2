"""The train steps of a pipeline, with the options and variables that the agent would pass to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pydantic import JsonValue

from modelbuild.buildkite.trainings import Claim
from modelbuild.errors import ConfigurationError
from modelbuild.onboarding.interpolation import (
    completed,
    completed_environment,
    completed_variables,
    has_variable,
)
from modelbuild.onboarding.pipeline import Pipeline, Step, environment, read
from modelbuild.settings.train import TrainSettings, model_name

# Buildkite sets these for a job, and a pipeline file cannot change them.
_BUILDKITES = "BUILDKITE"


def trainings(steps: Sequence[Step]) -> Iterator[tuple[Step, JsonValue]]:
    """The train steps, each with its options from the file."""
    for step in steps:
        for plugin in step.plugins:
            if plugin.name == "train":
                yield step, plugin.options


def claim_of(options: JsonValue) -> Claim | None:
    """The claim that a train step will make; None if its options are wrong or not interpolated yet.

    Raises:
        ConfigurationError: the model's name is invalid.
    """
    values = options if isinstance(options, dict) else {}
    texts = [values.get(name) for name in ("flow", "unblock", "artifacts")]
    flow, unblock, artifacts = (text if isinstance(text, str) else "" for text in texts)
    model = values.get("model")
    named = isinstance(model, str)
    if not flow or not unblock or any(has_variable(text) for text in (flow, unblock, str(model or ""))):
        return None
    return Claim.of(
        model_name(model if isinstance(model, str) else None, flow), named, unblock, flow, artifacts
    )


def conflicts(steps: Sequence[Step]) -> Iterator[tuple[Step, str]]:
    """The collisions of trainings in one build, each with the later step."""
    claimed: list[tuple[Step, Claim]] = []
    for step, options in trainings(steps):
        for name, one in (("matrix", None), ("parallelism", 1)):
            if step.values.get(name) not in (None, one):
                yield (
                    step,
                    f"{name} would train several times, and a train step has one training: remove {name}",
                )
        try:
            own = claim_of(options)
        except ConfigurationError as error:
            yield step, str(error)
            continue
        if own is None:
            continue
        for other, claim in claimed:
            if own == claim:
                yield step, f"line {other.line} has a step that trains the same: remove one of them"
            elif collision := own.collision(claim):
                yield step, f"{collision} (line {other.line})"
        claimed.append((step, own))


def environment_of(pipeline: Pipeline, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables for the interpolation of the pipeline: the agent's, overridden by its own ``env:``.

    Raises:
        ConfigurationError: the agent would refuse ``env:``, or lacks a variable that it requires.
    """
    return {**environ, **completed_environment(pipeline.env, environ)}


def settings(options: JsonValue, environ: Mapping[str, str]) -> TrainSettings:
    """The options of a train step, interpolated and validated.

    Raises:
        ConfigurationError: an option is wrong, or a variable that the pipeline requires is not set.
    """
    return TrainSettings.from_options(completed(options, environ))


def of_pipeline(
    file: Path, environ: Mapping[str, str], model: str | None = None
) -> tuple[TrainSettings, dict[str, str]]:
    """The options of the train step in a pipeline file, and the environment of its job.

    Args:
        file: the pipeline.
        environ: the variables for its interpolation.
        model: the model of the training, if there are several.

    Raises:
        ConfigurationError: the file is no pipeline, no step or several steps match, or an option is wrong.
    """
    pipeline = read(file)
    for step, text in conflicts(pipeline.steps):
        raise ConfigurationError(f"{file}:{step.line}: {step.shown()}: {text}")
    completing = environment_of(pipeline, environ)
    found = [(step, options) for step, options in trainings(pipeline.steps)]
    if model is not None:
        found = [(step, options) for step, options in found if _trains(options, completing, model)]
    if len(found) > 1:
        raise ConfigurationError(f"{len(found)} steps of {file} train: say which model is meant with --model")
    for step, options in found:
        try:
            own = environment(step.values.get("env"))
        except ValueError as error:
            raise ConfigurationError(f"{file}:{step.line}: env: {error}") from error
        variables = completed_variables(own, completing)
        kept = {name: value for name, value in environ.items() if name.startswith(_BUILDKITES)}
        return settings(options, completing), {**completing, **variables, **kept}
    trained = "trains" if model is None else f"trains model {model}"
    raise ConfigurationError(f"no step of {file} {trained}: add one, or name another file with --pipeline")


def _trains(options: JsonValue, environ: Mapping[str, str], model: str) -> bool:
    return settings(options, environ).model_name == model
