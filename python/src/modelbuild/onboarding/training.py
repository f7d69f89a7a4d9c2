"""The steps that train, with their options and variables as the agent would hand them over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pydantic import JsonValue

from modelbuild.errors import ConfigurationError
from modelbuild.onboarding.interpolation import completed, completed_environment, completed_variables
from modelbuild.onboarding.pipeline import Pipeline, Step, environment, read
from modelbuild.settings.train import TrainSettings

# Buildkite sets these for a job, whatever a pipeline file says.
_BUILDKITES = "BUILDKITE"


def trainings(steps: Sequence[Step]) -> Iterator[tuple[Step, JsonValue]]:
    """The steps that train, each with its options as they stand in the file."""
    for step in steps:
        for plugin in step.plugins:
            if plugin.name == "train":
                yield step, plugin.options


def conflicts(steps: Sequence[Step]) -> Iterator[tuple[Step, str]]:
    """What would make several trainings in one build, each with its step; a build has one training."""
    first: Step | None = None
    for step, _ in trainings(steps):
        if first is not None:
            yield (
                step,
                f"line {first.line} has a step that trains already, and a build has one training: give this "
                "one a pipeline of its own",
            )
        first = first or step
        for name, one in (("matrix", None), ("parallelism", 1)):
            if step.values.get(name) not in (None, one):
                yield step, f"{name} would train several times, and a build has one training: remove {name}"


def environment_of(pipeline: Pipeline, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that complete the pipeline: its own ``env:`` above those of the agent.

    Raises:
        ConfigurationError: the agent would refuse ``env:``, or lacks a variable that it requires.
    """
    return {**environ, **completed_environment(pipeline.env, environ)}


def settings(options: JsonValue, environ: Mapping[str, str]) -> TrainSettings:
    """Options of a step that trains, with its variables completed.

    Raises:
        ConfigurationError: an option is wrong, or a variable that the pipeline requires is not set.
    """
    return TrainSettings.from_options(completed(options, environ))


def of_pipeline(file: Path, environ: Mapping[str, str]) -> tuple[TrainSettings, dict[str, str]]:
    """The options of the step that trains in a pipeline file, and the environment of its job.

    Raises:
        ConfigurationError: the file is no pipeline, nothing trains in it, or more than once; or an option
            is wrong.
    """
    pipeline = read(file)
    for step, text in conflicts(pipeline.steps):
        raise ConfigurationError(f"{file}:{step.line}: {step.shown()}: {text}")
    for step, options in trainings(pipeline.steps):
        completing = environment_of(pipeline, environ)
        try:
            own = environment(step.values.get("env"))
        except ValueError as error:
            raise ConfigurationError(f"{file}:{step.line}: env: {error}") from error
        given = completed_variables(own, completing)
        kept = {name: value for name, value in environ.items() if name.startswith(_BUILDKITES)}
        return settings(options, completing), {**completing, **given, **kept}
    raise ConfigurationError(f"no step of {file} trains: add one, or name another file with --pipeline")
