"""The options of the steps that train, as the agent would hand them over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pydantic import JsonValue

from modelbuild.errors import ConfigurationError
from modelbuild.onboarding.interpolation import completed
from modelbuild.onboarding.pipeline import Step, read
from modelbuild.settings.train import TrainSettings


def trainings(steps: Sequence[Step]) -> Iterator[tuple[Step, JsonValue]]:
    """The steps that train, each with its options as they stand in the file."""
    for step in steps:
        for plugin in step.plugins:
            if plugin.name == "train":
                yield step, plugin.options


def settings(options: JsonValue, environ: Mapping[str, str]) -> TrainSettings:
    """Options of a step that trains, with its variables completed.

    Raises:
        ConfigurationError: an option is wrong, or a variable that the pipeline requires is not set.
    """
    return TrainSettings.from_options(completed(options, environ))


def of_pipeline(file: Path, environ: Mapping[str, str]) -> list[TrainSettings]:
    """The options of each step that trains in a pipeline file.

    Raises:
        ConfigurationError: the file is no pipeline, nothing trains in it, or an option is wrong.
    """
    found = [settings(options, environ) for _, options in trainings(read(file))]
    if not found:
        raise ConfigurationError(f"no step of {file} trains: add one, or name another file with --pipeline")
    return found
