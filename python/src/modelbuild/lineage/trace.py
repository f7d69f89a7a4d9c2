"""Traces a model to its build and its deployments, from the files below its prefix."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator

from modelbuild.contract import (
    Build,
    Decision,
    Deployment,
    Manifest,
    Record,
    TrainingRequest,
    TrainingResult,
    figure_with_interval,
    sweep_prefix,
)
from modelbuild.errors import AwsError, VerificationFailed
from modelbuild.formats import agent_yaml
from modelbuild.lineage.models import CandidatePlace, FoundModel, find_model
from modelbuild.store.decisions import DecisionStore
from modelbuild.store.deployments import DeploymentHistory, root_of
from modelbuild.store.model import ModelStore
from modelbuild.store.objects import Objects
from modelbuild.store.pipeline import PipelineStore, is_model_id
from modelbuild.store.sweep import SweepStore
from modelbuild.text import one_line

_LABEL_WIDTH = 14
_NOT_KEPT = "not kept, so it cannot be deployed"


class Trace(Record):
    """The records of one model; a record that does not exist yet is ``None``.

    Attributes:
        result: how its training ended; of a candidate, how its sweep did.
        deployment: the newest deployment of the model.
        elsewhere: where other endpoints, for which people decided to deploy it, serve it now, the newest
            deployment of each; only of those whose histories lie beside that of ``deployment``.
        decisions: what people decided on the model, for each endpoint.
        candidate: its place on the leaderboard of its sweep; None for a model of no sweep.
        replaced_by: the next deployment to the same endpoint.
        history_error: why the endpoint's history cannot be read, or lacks the next deployment;
            ``replaced_by`` is then unknown.
    """

    request: TrainingRequest
    result: TrainingResult | None
    manifest: Manifest | None
    deployment: Deployment | None
    decisions: tuple[Decision, ...] = ()
    candidate: CandidatePlace | None = None
    elsewhere: tuple[Deployment, ...] = ()
    replaced_by: Deployment | None = None
    history_error: str = ""


def trace(
    artifacts: str, model_id: str, objects: Objects, production: Objects, model: str | None = None
) -> Trace:
    """Read all records of a model.

    Args:
        artifacts: the prefix of the pipeline's models: ``s3://<bucket>/models/<pipeline>``.
        model_id: the model's id.
        objects: S3 with an identity of the data lake's account.
        production: S3 with an identity that may read the histories of endpoints.
        model: the model's name; None for the only one that has this id.

    Raises:
        ConfigurationError: there is no such model, or several have this id.
        VerificationFailed: a file holds no such record, or the record of another model; or a candidate is not
            of its sweep.
        AwsError: S3 refused.
    """
    pipeline = PipelineStore(objects, artifacts.rstrip("/"))
    found = find_model(pipeline, model, model_id)
    store = found.store
    # The training of a candidate is that of its sweep.
    trained = ModelStore(objects, sweep_prefix(store.prefix))
    job = trained.job()
    decisions = DecisionStore(objects, store.prefix).all()
    deployment, replaced_by, history_error = _in_history(store.deployment(), production)
    return Trace(
        request=found.request,
        result=trained.attempt(job.attempt if job else 1).result(),
        manifest=_manifest(found, trained),
        deployment=deployment,
        decisions=decisions,
        candidate=found.candidate,
        elsewhere=() if history_error else tuple(_elsewhere(deployment, decisions, production)),
        replaced_by=replaced_by,
        history_error=history_error,
    )


def _manifest(found: FoundModel, trained: ModelStore) -> Manifest | None:
    """The manifest of a model; for a candidate that is not offered, that of its training for the ranking."""
    if found.candidate is None or found.candidate.row.offered:
        own = found.store.manifest()
        if own is not None and _build(own.request) != _build(found.request):
            raise VerificationFailed(
                f"the build in {found.store.manifest_uri} is not the one of {found.request.build.url}: the "
                "flow must publish the request that it was given; start a new build"
            )
        return own
    sweep = SweepStore(trained.objects, trained.prefix)
    manifest = sweep.manifest(found.candidate.row.candidate.number)
    # Its parameters may differ from the request's: successive halving ends a training early.
    if manifest is not None and _identity(manifest.request) != _identity(found.request):
        raise VerificationFailed(
            f"the manifest of candidate {found.request.model_id} in {trained.prefix}/sweep is of model "
            f"{manifest.request.model_id} of {manifest.request.build.url}, commit "
            f"{manifest.request.build.commit}: the flow must not change it; start a new build"
        )
    return manifest


def _build(request: TrainingRequest) -> tuple[str, str, str]:
    return request.build.id, request.build.commit, request.build.creator


def _identity(request: TrainingRequest) -> tuple[str, str, Build]:
    return request.artifacts, request.model_id, request.build


def _in_history(
    deployment: Deployment | None, production: Objects
) -> tuple[Deployment | None, Deployment | None, str]:
    """The newest deployment of a model to the endpoint of ``deployment``, the one that replaced it, and why
    the history does not tell which one that is.
    """
    if deployment is None:
        return None, None, ""
    history = DeploymentHistory(production, root_of(deployment), deployment.endpoint)
    try:
        newest = history.newest()
        if newest is None or _model_of(newest) == _model_of(deployment):
            # A step that was killed has a record in the history, and none beside its model.
            return newest or deployment, None, ""
        following = history.read(deployment.number + 1)
    except (AwsError, VerificationFailed) as error:
        return deployment, None, str(error)
    if following is None and newest.number > deployment.number:
        return (
            deployment,
            None,
            f"{history.folder} has no deployment {deployment.number + 1} any more, and ends with "
            f"{newest.number}, of model {newest.model} {newest.model_id}",
        )
    return deployment, following, ""


def _elsewhere(
    deployment: Deployment | None, decisions: Iterable[Decision], production: Objects
) -> Iterator[Deployment]:
    """The newest deployments of other endpoints that serve the deployed model now."""
    if deployment is None:
        return
    for endpoint in _others(deployment, decisions):
        try:
            found = DeploymentHistory(production, root_of(deployment), endpoint).newest()
        except (AwsError, VerificationFailed):
            continue
        if found is not None and _model_of(found) == _model_of(deployment):
            yield found


def _others(deployment: Deployment, decisions: Iterable[Decision]) -> list[str]:
    """The other endpoints for which people decided to deploy the model."""
    return [
        one.endpoint for one in decisions if one.decision == "deploy" and one.endpoint != deployment.endpoint
    ]


def _model_of(deployment: Deployment) -> tuple[str, str, str]:
    return deployment.pipeline, deployment.model, deployment.model_id


def render(trace: Trace) -> str:
    """The trace as text."""
    return "\n".join(_lines(trace))


def _lines(trace: Trace) -> Iterator[str]:
    request, build = trace.request, trace.request.build
    yield f"Model {request.model} {request.model_id} of {build.pipeline}"
    yield _row("build", build.url)
    yield _row("commit", f"{build.commit} on {build.branch}")
    yield _row("message", build.message.split("\n")[0])
    yield _row("creator", build.creator)
    if values := request.swept:
        sweep, _, number = request.model_id.partition(".")
        yield _row("sweep", f"candidate {number} of the sweep of build {sweep}, which set")
        yield _block(agent_yaml.dump(values, allow_unicode=True))
    if trace.candidate is not None:
        yield from _candidate(trace.candidate)
    yield _row("flow", request.flow)
    yield _row("parameters", f"SHA-256 {request.parameters_sha256}")
    yield _block(agent_yaml.dump(request.parameters, allow_unicode=True))
    yield from _training(trace)
    yield from _deployment(trace)


def _training(trace: Trace) -> Iterator[str]:
    if trace.result is None:
        yield _row("training", "not finished")
        return
    reason = f": {trace.result.reason}" if trace.result.reason else ""
    what = "" if trace.candidate is None else "of the sweep: "
    yield _row("training", f"{what}{trace.result.status}{reason}")
    if trace.request.sweep is not None and trace.result.status == "succeeded":
        # A flow can write the result.
        best = trace.result.env.get("MODEL_ID", "")
        yield _row("best", f"model {best}" if is_model_id(best) else "not known")
    if trace.manifest is None:
        if trace.candidate is not None:
            yield _row("model", _NOT_KEPT)
        return
    manifest, is_kept = trace.manifest, trace.candidate is None or trace.candidate.row.offered
    yield _row("data", f"{manifest.data.rows:,} rows, SHA-256 {manifest.data.sha256}")
    if manifest.data.athena_execution_id is not None:
        yield _row("query", f"Athena execution {manifest.data.athena_execution_id}")
        yield _block(manifest.data.source)
    else:
        yield _row("", manifest.data.source)
    yield _row("image", manifest.runtime.image or "not known")
    evaluation = manifest.evaluation
    yield _row("quality", evaluation.describe(evaluation.overall))
    for name, quality in evaluation.baselines.items():
        yield _row("", f"{evaluation.describe(quality)} by {name}")
    yield _row("W&B run", manifest.wandb.url or f"{manifest.wandb.id} (not in W&B)")
    yield _row("model", manifest.artifact.path if is_kept else _NOT_KEPT)
    yield _row("", f"SHA-256 {manifest.artifact.sha256}")


def _candidate(candidate: CandidatePlace) -> Iterator[str]:
    row = candidate.row
    among = f"of {candidate.candidates:,} by {candidate.metric_title} on the validation rows"
    if row.rank is None:
        yield _row("rank", f"none {among}: {row.status}")
        if row.reason:
            yield _row("", row.reason)
    else:
        yield _row("rank", f"{row.rank:,} {among}")
    if row.metric is not None:
        value = figure_with_interval(row.metric, row.low, row.high)
        yield _row("", f"{candidate.metric_title} {value} there")


def _deployment(trace: Trace) -> Iterator[str]:
    deployment, replaced_by = trace.deployment, trace.replaced_by
    yield from _rejections(trace.decisions)
    if deployment is None:
        yield _row("deployment", "not deployed")
        return
    approver = deployment.approver
    email = f" <{approver.email}>" if approver.email else ""
    yield _row("approver", f"{approver.name}{email}" if approver.name else "not recorded")
    if deployment.reason:
        yield _row("reason", deployment.reason)
    if trace.history_error:
        yield _row("deployment", f"endpoint {deployment.endpoint}, from {deployment.deployed_at}")
        yield _row("", f"whether it still serves this model is not known: {trace.history_error}")
    elif replaced_by is None:
        yield _row("deployment", f"endpoint {deployment.endpoint} since {deployment.deployed_at}")
    else:
        until = f"until {replaced_by.deployed_at}"
        yield _row("deployment", f"endpoint {deployment.endpoint}, from {deployment.deployed_at} {until}")
        yield _row(
            "", f"replaced by model {replaced_by.model} {replaced_by.model_id} of {replaced_by.pipeline}"
        )
    yield _row("", f"config {deployment.endpoint_config}")
    yield _row("", f"image {deployment.image}")
    yield _row("", deployment.model_path)
    since = {one.endpoint: one.deployed_at for one in trace.elsewhere}
    for endpoint in _others(deployment, trace.decisions):
        if endpoint in since:
            yield _row("", f"endpoint {endpoint} since {since[endpoint]}")
        else:
            yield _row(
                "", f"approved for endpoint {endpoint} as well: it is not known to serve this model now"
            )


def _rejections(decisions: Iterable[Decision]) -> Iterator[str]:
    for decision in decisions:
        if decision.decision == "reject":
            by = decision.approver.name or "a user without a name"
            reason = decision.reason or "no reason was given"
            what = f"for endpoint {decision.endpoint}, by {by} at {decision.decided_at}"
            yield _row("rejected", f"{what}: {reason}")


def _row(label: str, text: str) -> str:
    return f"  {label:{_LABEL_WIDTH}}{one_line(text)}".rstrip()


def _block(text: str) -> str:
    lines = "\n".join(one_line(line) for line in text.strip().split("\n"))
    return textwrap.indent(lines, " " * (_LABEL_WIDTH + 4))
