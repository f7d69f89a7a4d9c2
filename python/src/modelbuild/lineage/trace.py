"""Where a model came from and where it went, from the files that lie beside it."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

from pydantic import BaseModel

from modelbuild import agent_yaml
from modelbuild.aws.storage import Storage, read_record
from modelbuild.contract import (
    DEPLOYMENT_FILE,
    JOB_FILE,
    MANIFEST_FILE,
    REQUEST_FILE,
    RESULT_FILE,
    Deployment,
    Manifest,
    Record,
    Scores,
    TrainingRequest,
    TrainingResult,
    attempt_prefix,
)
from modelbuild.deployments import DeploymentHistory, root_of
from modelbuild.errors import AwsError, ConfigurationError, VerificationFailed
from modelbuild.text import one_line

_MODEL_ID = re.compile(r"[1-9][0-9]*(\.[1-9][0-9]*)?", re.ASCII)
_NAMED_MODELS = 5
_LABEL_WIDTH = 14


class Trace(Record):
    """What is on record about one model; what is not there yet is ``None``.

    Attributes:
        deployment: the newest deployment of the model.
        replaced_by: the deployment that came after it to the same endpoint.
        history_error: why the endpoint's history could not be read, so that this is not known.
    """

    request: TrainingRequest
    result: TrainingResult | None
    manifest: Manifest | None
    deployment: Deployment | None
    replaced_by: Deployment | None = None
    history_error: str = ""


class _Head(BaseModel):
    """What is read of ``job.json``: the newest attempt at the training."""

    attempt: int = 1


def trace(artifacts: str, model_id: str, storage: Storage, production: Storage) -> Trace:
    """Read everything that is on record about a model.

    Args:
        artifacts: where the pipeline's models lie: ``s3://<bucket>/models/<pipeline>``.
        model_id: the model's id.
        storage: S3 as an identity of the data lake's account sees it.
        production: S3 as an identity sees it that may read the histories of endpoints.

    Raises:
        ConfigurationError: there is no such model.
        VerificationFailed: a file is not what its name says, or is about another model.
        AwsError: S3 refused.
    """
    root = artifacts.rstrip("/")
    if not _MODEL_ID.fullmatch(model_id):
        raise ConfigurationError(
            f"{model_id!r} is no model id: give the number of the build that made the model, such as 1234"
        )
    place = f"{root}/{model_id}"
    request = read_record(storage, f"{place}/{REQUEST_FILE}", TrainingRequest)
    if request is None:
        raise ConfigurationError(f"there is no model {model_id} in {root}: {_known(storage, root)}")
    if found := request.misplaced(place):
        raise VerificationFailed(f"{place}/{REQUEST_FILE} belongs elsewhere ({found}): its files were moved")
    head = read_record(storage, f"{place}/{JOB_FILE}", _Head) or _Head()
    deployment = read_record(storage, f"{place}/{DEPLOYMENT_FILE}", Deployment)
    replaced_by, history_error = _replacement(deployment, production)
    return Trace(
        request=request,
        result=read_record(storage, f"{attempt_prefix(place, head.attempt)}/{RESULT_FILE}", TrainingResult),
        manifest=read_record(storage, f"{place}/{MANIFEST_FILE}", Manifest),
        deployment=deployment,
        replaced_by=replaced_by,
        history_error=history_error,
    )


def _replacement(deployment: Deployment | None, production: Storage) -> tuple[Deployment | None, str]:
    """What came after a deployment to its endpoint, and why that could not be found out, if it could not."""
    if deployment is None:
        return None, ""
    history = DeploymentHistory(production, root_of(deployment), deployment.endpoint)
    try:
        return history.read(deployment.number + 1), ""
    except AwsError as error:
        return None, str(error)


def render(found: Trace) -> str:
    """The trace as text for people."""
    return "\n".join(_lines(found))


def _known(storage: Storage, root: str) -> str:
    """Which models there are, the newest first."""
    ids = {
        model_id
        for uri, _ in storage.list(f"{root}/")
        for model_id, _, file in [uri.removeprefix(f"{root}/").partition("/")]
        if file == REQUEST_FILE and _MODEL_ID.fullmatch(model_id)
    }
    newest = sorted(ids, key=lambda one: [int(part) for part in one.split(".")], reverse=True)
    if not newest:
        return "no model lies there, so correct --artifacts or the credentials' account"
    more = ", …" if len(newest) > _NAMED_MODELS else ""
    return f"it has {', '.join(newest[:_NAMED_MODELS])}{more}"


def _lines(found: Trace) -> Iterator[str]:
    request, build = found.request, found.request.build
    yield f"Model {request.model_id} of {build.pipeline}"
    yield _row("build", build.url)
    yield _row("commit", f"{build.commit} on {build.branch}")
    yield _row("message", build.message.split("\n")[0])
    yield _row("creator", build.creator)
    yield _row("flow", request.flow)
    yield _row("parameters", f"SHA-256 {request.parameters_sha256}")
    yield _block(agent_yaml.dump(request.parameters, allow_unicode=True))
    yield from _training(found)
    yield from _deployment(found)


def _training(found: Trace) -> Iterator[str]:
    if found.result is None:
        yield _row("training", "not finished")
        return
    reason = f": {found.result.reason}" if found.result.reason else ""
    yield _row("training", f"{found.result.status}{reason}")
    if found.manifest is None:
        return
    manifest = found.manifest
    yield _row("data", f"{manifest.data.rows:,} rows, SHA-256 {manifest.data.sha256}")
    yield _row("query", f"Athena execution {manifest.data.execution_id}")
    yield _block(manifest.data.query)
    yield _row("image", manifest.runtime.image or "not known")
    yield _row("quality", _quality(manifest.evaluation.overall))
    for name, scores in manifest.evaluation.baselines.items():
        yield _row("", f"{_quality(scores)} by {name}")
    yield _row("W&B run", manifest.wandb.url or f"{manifest.wandb.id} (recorded offline)")
    yield _row("model", manifest.artifact.path)
    yield _row("", f"SHA-256 {manifest.artifact.sha256}")


def _deployment(found: Trace) -> Iterator[str]:
    deployment, replaced_by = found.deployment, found.replaced_by
    if deployment is None:
        yield _row("deployment", "not deployed")
        return
    approver = deployment.approver
    email = f" <{approver.email}>" if approver.email else ""
    yield _row("approver", f"{approver.name}{email}" if approver.name else "nobody is on record")
    if found.history_error:
        yield _row("deployment", f"endpoint {deployment.endpoint}, from {deployment.deployed_at}")
        yield _row("", f"whether it still serves this model is not known: {found.history_error}")
    elif replaced_by is None:
        yield _row("deployment", f"endpoint {deployment.endpoint} since {deployment.deployed_at}")
    else:
        until = f"until {replaced_by.deployed_at}"
        yield _row("deployment", f"endpoint {deployment.endpoint}, from {deployment.deployed_at} {until}")
        yield _row("", f"replaced by model {replaced_by.model_id} of {replaced_by.pipeline}")
    yield _row("", f"config {deployment.endpoint_config}")
    yield _row("", f"image {deployment.image}")
    yield _row("", deployment.model_path)


def _quality(scores: Scores) -> str:
    return f"macro-F1 {scores.macro_f1:.3f}, accuracy {scores.accuracy:.3f} on {scores.rows:,} rows"


def _row(label: str, text: str) -> str:
    return f"  {label:{_LABEL_WIDTH}}{one_line(text)}".rstrip()


def _block(text: str) -> str:
    lines = "\n".join(one_line(line) for line in text.strip().split("\n"))
    return textwrap.indent(lines, " " * (_LABEL_WIDTH + 4))
