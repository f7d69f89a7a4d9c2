"""What a W&B run is called, how it is found, and what it is made with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import JsonValue

from modelbuild import git
from modelbuild.contract import TrainingRequest, sha256_of_json, shortened
from modelbuild.errors import ConfigurationError
from modelbuild.text import storable

_ID_CHARACTERS = 128
_TAG_CHARACTERS = 64


@dataclass(frozen=True)
class Description:
    """A run before it has begun. The same id in a project continues the same run.

    Attributes:
        id: unique in the project.
        name: for people.
        project: W&B's project.
        entity: team or user that the run belongs to; None for the default of the API key.
        group: runs of one group are shown together.
        job_type: ``training`` for a build, ``experiment`` for a flow on its own or a notebook, ``candidate``
            for a candidate of a sweep while it is ranked.
        tags: labels of at most 64 characters.
        notes: a text for people.
        config: what the run is made with.
        artifact: the name under which W&B numbers the models of such runs.
        aliases: W&B's aliases of this run's model; by default ``latest``.
    """

    id: str
    name: str
    project: str
    entity: str | None
    group: str
    job_type: Literal["training", "experiment", "candidate"]
    tags: tuple[str, ...]
    notes: str
    config: Mapping[str, JsonValue]
    artifact: str
    aliases: tuple[str, ...] = ()


def of_build(request: TrainingRequest, config: Mapping[str, JsonValue], entity: str | None) -> Description:
    """The run of a build's training; ``config`` is what the request does not know: the hash of the data."""
    build = request.build
    return Description(
        id=_id(f"{build.pipeline}-{request.model}-{request.model_id}"),
        name=f"{request.model} {request.model_id}",
        project=build.pipeline,
        entity=entity,
        group=f"{request.model}-{request.model_id}",
        job_type="training",
        tags=_tags(request.model, build.branch),
        notes=f"Build {build.number} of {build.pipeline}: {build.url}",
        config={
            **_parameters(request.parameters),
            "model": request.model,
            "model_id": request.model_id,
            "commit": build.commit,
            "branch": build.branch,
            "build_url": build.url,
            "artifacts": request.artifacts,
            **config,
        },
        artifact=request.model,
        aliases=("latest", request.model_id),
    )


def of_experiment(
    model: str,
    name: str,
    parameters: Mapping[str, Any],
    config: Mapping[str, JsonValue],
    *,
    project: str,
    entity: str | None = None,
) -> Description:
    """The run of a training that belongs to no build.

    Args:
        model: the model's name in its pipeline.
        name: of the experiment, unique for the model.
        parameters: all parameters. An experiment with those of a build is shown on the build's page.
        config: what else the run is made with.
        project: W&B's project; a build looks for experiments in that of its pipeline's name.
        entity: team or user that the run belongs to; None for the default of the API key.
    """
    return Description(
        id=_id(f"{model}-{name}"),
        name=f"{model} {name}",
        project=project,
        entity=entity,
        group=model,
        job_type="experiment",
        tags=_tags(model, str(config.get("branch", ""))),
        notes="",
        config={**_parameters(parameters), "model": model, **config},
        # The model of an experiment must not become the latest of those of builds.
        artifact=_id(f"{model}-experiment"),
    )


def of_checkout(folder: Path) -> dict[str, JsonValue]:
    """Commit and branch of the checkout that ``folder`` lies in; empty if it lies in none. There is no
    branch where a commit is checked out.
    """
    try:
        branch = git.run(folder, "rev-parse", "--abbrev-ref", "HEAD").decode(errors="replace").strip()
        return {"commit": git.commit_of(folder, "HEAD"), "branch": "" if branch == "HEAD" else branch}
    except ConfigurationError:
        return {}


def _parameters(parameters: Mapping[str, Any]) -> dict[str, JsonValue]:
    values: dict[str, JsonValue] = dict(parameters)
    return {"parameters": values, "parameters_sha256": sha256_of_json(values)}


def _id(text: str) -> str:
    """``text`` without the characters that W&B refuses in an id; other texts have other ids."""
    found = re.sub(r"[^A-Za-z0-9_.\-]", "-", text)
    if found != text:
        found = f"{found}-{sha256_of_json(storable(text))[:8]}"
    return shortened(found, _ID_CHARACTERS)


def _tags(*texts: str) -> tuple[str, ...]:
    # W&B refuses an empty tag, and the same tag twice.
    return tuple(dict.fromkeys(shortened(text, _TAG_CHARACTERS) for text in texts if text))
