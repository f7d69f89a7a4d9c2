"""Builds the ``TrainingRequest`` from the agent's environment, the commit and the options."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from subprocess import Popen
from typing import Any

from pydantic import TypeAdapter, ValidationError

from modelbuild import git
from modelbuild.buildkite import agent, fork
from modelbuild.buildkite.job import JobEnvironment
from modelbuild.contract import (
    SOURCE_FILE,
    Images,
    Source,
    Sweep,
    TrainingRequest,
    model_prefix,
    sha256_of_json,
)
from modelbuild.errors import ConfigurationError
from modelbuild.settings.train import ImageSettings, RepositoryFile, TrainSettings
from modelbuild.train.commit import overrides, parameters, source, steps, sweep_file, syntax, types
from modelbuild.train.submit import claim


def build_request(
    settings: TrainSettings,
    job: JobEnvironment,
    environ: Mapping[str, str],
    checkout: Path,
    meta_data_keys: Callable[[], Collection[str]] = agent.meta_data_keys,
) -> tuple[TrainingRequest, bytes]:
    """Build the request and the source archive that it names.

    Args:
        settings: the step's options.
        job: the variables of this job.
        environ: all variables of this job, of which some set parameters.
        checkout: the working directory of the job.
        meta_data_keys: returns the keys of the build's meta-data.

    Raises:
        ConfigurationError: an option does not fit the commit.
    """
    # This comes before any code of the commit runs.
    fork.require_none(settings.allow_forks, job)
    with types.loading(checkout / posixpath.dirname(settings.flow)) as loaded:
        # The variable may hold HEAD, so the commit is read from the checkout.
        commit = git.commit_of(checkout, job.commit)
        build = job.build(commit)
        archive = source.archive(
            checkout,
            build.commit,
            flow=settings.flow,
            params_file=settings.params_file,
            include=settings.include,
            allow_dirty=settings.allow_dirty,
        )
        archived = archive.content
        read = source.reader(archived)
        flow = read(settings.flow)
        if flow is None:
            raise ConfigurationError(
                f"option flow is {settings.flow}, but commit {build.commit[:12]} has no such file: give its "
                "path from the root of the repository"
            )
        syntax.require(read, settings.flow)
        steps.require(settings.resources, flow, settings.flow)
        # One call lists all keys, because most of the possible keys are not set.
        keys = meta_data_keys()
        resolved, sweep = _parameters(settings, archived, read, environ, keys, loaded)
    claimed = claim.claim_from_settings(settings)
    artifacts = model_prefix(settings.artifacts, build.pipeline, claimed.model, str(build.number))
    request = _checked(
        model=claimed.model,
        meta_data_prefix=claimed.meta_data_prefix,
        model_id=str(build.number),
        build=build,
        source=Source(path=f"{artifacts}/{SOURCE_FILE}", sha256=hashlib.sha256(archived).hexdigest()),
        flow=settings.flow,
        params_file=settings.params_file,
        parameters=resolved.values,
        parameters_sha256=sha256_of_json(resolved.values),
        origins=resolved.origins,
        artifacts=artifacts,
        sweep=sweep,
        unblock=settings.unblock,
        images=_images(settings.image, keys),
        dirty_diff=archive.diff,
    )
    return request, archived


def _checked(**values: Any) -> TrainingRequest:
    try:
        return TrainingRequest(**values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(map(str, first["loc"][:3]))
        raise ConfigurationError(
            f"{field} of this training cannot be stored ({first['msg']}): shorten or simplify it"
        ) from error


def _parameters(
    settings: TrainSettings,
    archived: bytes,
    read: Callable[[str], bytes | None],
    environ: Mapping[str, str],
    keys: Collection[str],
    loaded: Popen[str] | None,
) -> tuple[overrides.Resolved, Sweep | None]:
    """The file's values, overridden by the pipeline's, and these by the build's; and the sweep, if any."""
    name = posixpath.join(posixpath.dirname(settings.flow), settings.params_file)
    text = read(name)
    if text is None:
        raise ConfigurationError(
            f"the commit has no {name}: put the flow's parameters there, or name their file with option "
            "params-file"
        )
    defaults = parameters.parse(text, name)
    names = overrides.BuildNames.of(settings.model)
    _require_named(settings.model, names, environ, keys)
    own = [key for key in keys if key.startswith(names.meta_data)]
    all_overrides = [
        *overrides.from_options(settings.params),
        *overrides.from_environment(environ, defaults, name, names),
        *overrides.from_meta_data(
            {key: agent.get_meta_data(key) or "" for key in own}, defaults, name, names
        ),
    ]
    resolved = overrides.resolve(defaults, all_overrides, name)
    sweep_name = _sweep_file(settings, names, keys)
    if sweep_name is None:
        types.require(resolved, defaults, archived, name, loaded)
        return resolved, None
    sweep = sweep_file.read(_required(read, sweep_name), sweep_name)
    candidates = sweep_file.candidates(sweep, sweep_name, resolved, name)
    sweep_file.require_split(_required(read, settings.flow), settings.flow)
    types.require(resolved, defaults, archived, name, loaded, candidates)
    return resolved, sweep


def _sweep_file(settings: TrainSettings, names: overrides.BuildNames, keys: Collection[str]) -> str | None:
    """The file of the sweep: the build's, by meta-data ``sweep``, or option ``sweep``; None for no sweep.

    Raises:
        ConfigurationError: the build names no file of the repository.
    """
    key = f"{names.meta_data.removesuffix('params/')}sweep"
    chosen = (agent.get_meta_data(key) or "").strip() if key in keys else ""
    if not chosen:
        return settings.sweep
    try:
        return TypeAdapter[str](RepositoryFile).validate_python(chosen)
    except ValidationError as error:
        raise ConfigurationError(
            f"meta-data {key} is {chosen[:200]!r}: give the path of a YAML file from the repository's root"
        ) from error


def _required(read: Callable[[str], bytes | None], name: str) -> bytes:
    text = read(name)
    if text is None:
        raise ConfigurationError(
            f"the commit has no {name}, or option include leaves it out: correct option sweep, or include it"
        )
    return text


def _require_named(
    model: str | None, names: overrides.BuildNames, environ: Mapping[str, str], keys: Collection[str]
) -> None:
    """Refuse a parameter without a model's name when the trainings of the build have names."""
    unnamed = overrides.BuildNames()
    if model is None:
        return
    set_by = [key for key in environ if key.startswith(unnamed.variables) and environ[key].strip()]
    set_by += [f"meta-data {key}" for key in keys if key.startswith(unnamed.meta_data)]
    if set_by:
        raise ConfigurationError(
            f"{min(set_by)} sets a parameter of no model: with option model, this step reads variables "
            f"{names.variables}… and meta-data {names.meta_data}…"
        )


def _images(settings: ImageSettings, keys: Collection[str]) -> Images:
    """The images, by digest if the build has recorded one in meta-data."""

    def pinned(reference: str) -> str:
        key = f"image/{reference}"
        return (agent.get_meta_data(key) if key in keys else None) or reference

    return Images(
        default=pinned(settings.default),
        train_gpu=pinned(settings.train_gpu),
        serve=pinned(settings.serve),
    )
