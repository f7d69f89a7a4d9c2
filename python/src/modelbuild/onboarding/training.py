"""The train steps of a pipeline, with the options and variables that the agent would pass to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from modelbuild.buildkite.trainings import Claim
from modelbuild.errors import ConfigurationError
from modelbuild.onboarding.interpolation import (
    has_variable,
    interpolated,
    interpolated_environment,
    interpolated_variables,
)
from modelbuild.onboarding.matrix import options_of_jobs
from modelbuild.onboarding.pipeline import Pipeline, Step, environment, may_exclude, read
from modelbuild.settings.train import TrainSettings, model_name

# Buildkite sets these for a job, and a pipeline file cannot change them.
_BUILDKITES = "BUILDKITE"


@dataclass(frozen=True)
class Training:
    """A step that trains, as it stands in a pipeline file.

    Attributes:
        step: the step.
        options: its options.
        claim: what it will claim of its build; None where options are wrong, or interpolated by the agent.
        mistake: why its model has no name; empty where it has one.
    """

    step: Step
    options: JsonValue
    claim: Claim | None = None
    mistake: str = ""

    @property
    def unblock(self) -> str:
        """The key of the step that it unblocks; empty where the option is no text."""
        return _text(self.options, "unblock") or ""


def trainings(steps: Sequence[Step]) -> list[Training]:
    """The trainings of the steps; a step with a matrix has one for each of its jobs."""
    return [
        _training(step, options)
        for step in steps
        for plugin in step.plugins
        if plugin.name == "train"
        for options in options_of_jobs(plugin.options, step.values.get("matrix"))
    ]


def _training(step: Step, options: JsonValue) -> Training:
    flow, unblock, artifacts = (_text(options, name) or "" for name in ("flow", "unblock", "artifacts"))
    model = _text(options, "model")
    if not flow or not unblock or any(has_variable(text) for text in (flow, unblock, model or "")):
        return Training(step, options)
    try:
        claim = Claim.of(model_name(model, flow), model is not None, unblock, flow, artifacts)
    except ConfigurationError as error:
        return Training(step, options, mistake=str(error))
    return Training(step, options, claim)


def _text(options: JsonValue, name: str) -> str | None:
    value = options.get(name) if isinstance(options, dict) else None
    return value if isinstance(value, str) else None


def conflicts(found: Sequence[Training]) -> Iterator[tuple[Step, str]]:
    """The collisions of trainings in one build, each with the later step.

    Trainings that may be in different builds only, by ``if`` or ``branches``, do not collide.
    """
    claimed: list[tuple[Step, Claim]] = []
    for training in found:
        step, own = training.step, training.claim
        if step.values.get("parallelism") not in (None, 1):
            yield (
                step,
                "parallelism would train several times, and a train step has one training: remove "
                "parallelism",
            )
        if step.values.get("matrix") is not None and _is_repeated(training, found):
            yield (
                step,
                "matrix would train several times, and a train step has one training of a model: remove "
                "matrix, or write {{matrix}} in options model and unblock",
            )
        if training.mistake:
            yield step, training.mistake
        if own is None:
            continue
        for other, claim in claimed:
            if may_exclude(step, other):
                continue
            if own == claim and other is step:
                continue
            if own == claim:
                yield step, f"line {other.line} has a step that trains the same: remove one of them"
            elif collision := own.collision(claim):
                yield step, f"{collision} (line {other.line})"
        claimed.append((step, own))


def _is_repeated(training: Training, found: Sequence[Training]) -> bool:
    """Whether several jobs of a step train the same, or its matrix cannot be read."""
    others = [one for one in found if one.step is training.step and one is not training]
    return not others or any(
        one.options == training.options or (one.claim is not None and one.claim == training.claim)
        for one in others
    )


def environment_of(pipeline: Pipeline, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables for the interpolation of the pipeline: the agent's, overridden by its own ``env:``.

    Raises:
        ConfigurationError: the agent would refuse ``env:``, or lacks a variable that it requires.
    """
    return {**environ, **interpolated_environment(pipeline.env, environ)}


def settings(options: JsonValue, environ: Mapping[str, str]) -> TrainSettings:
    """The options of a train step, interpolated and validated.

    Raises:
        ConfigurationError: an option is wrong, or a variable that the pipeline requires is not set.
    """
    return TrainSettings.from_options(interpolated(options, environ))


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
    trained = trainings(pipeline.steps)
    for step, text in conflicts(trained):
        raise ConfigurationError(f"{file}:{step.line}: {step.shown()}: {text}")
    pipeline_environ = environment_of(pipeline, environ)
    found = [(training.step, training.options) for training in trained]
    if model is not None:
        found = [(step, options) for step, options in found if _trains(options, pipeline_environ, model)]
    if len(found) > 1:
        if model is None:
            raise ConfigurationError(
                f"{len(found)} steps of {file} train: say which model is meant with --model"
            )
        raise ConfigurationError(
            f"{len(found)} steps of {file} train model {model}, and only Buildkite knows which of them a "
            "build has: name a file with one of them with --pipeline"
        )
    for step, options in found:
        try:
            own = environment(step.values.get("env"))
        except ValueError as error:
            raise ConfigurationError(f"{file}:{step.line}: env: {error}") from error
        variables = interpolated_variables(own, pipeline_environ)
        kept = {name: value for name, value in environ.items() if name.startswith(_BUILDKITES)}
        return settings(options, pipeline_environ), {**pipeline_environ, **variables, **kept}
    what = "trains" if model is None else f"trains model {model}"
    raise ConfigurationError(f"no step of {file} {what}: add one, or name another file with --pipeline")


def _trains(options: JsonValue, environ: Mapping[str, str], model: str) -> bool:
    return settings(options, environ).model_name == model
