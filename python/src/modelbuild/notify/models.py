"""Reads the models that a new one is compared with: the live one, and earlier ones of its pipeline."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from modelbuild.aws.failures import NotFound
from modelbuild.comparison import predictions
from modelbuild.comparison.models import Model
from modelbuild.contract import Deployment, Manifest, model_prefix
from modelbuild.contract.report import TrendPoint
from modelbuild.errors import AwsError, VerificationFailed
from modelbuild.store import records
from modelbuild.store.deployments import DeploymentHistory
from modelbuild.store.model import ModelStore
from modelbuild.store.objects import Objects
from modelbuild.store.pipeline import PipelineStore
from modelbuild.store.ranking import Ranking
from modelbuild.store.sweep import SweepStore
from modelbuild.text import counted

TREND = 20
"""How many of the newest models the trend shows."""

_TRIES = 10
"""How many of the best models are looked at, because some may be gone."""

_THREADS = 16


@dataclass(frozen=True)
class Live:
    """The live model of an endpoint.

    Attributes:
        deployment: the endpoint's newest deployment.
        model: the deployed model; None if its manifest cannot be read.
        problems: what could not be read, in sentences.
    """

    deployment: Deployment
    model: Model | None
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class Earlier:
    """An earlier model of the pipeline."""

    store: ModelStore
    manifest: Manifest
    deployed: bool


def find_live(
    history: DeploymentHistory, new: Manifest, lake: Objects, production: Objects, root: str
) -> Live | None:
    """The model that an endpoint serves; None before its first deployment.

    Args:
        history: the endpoint's deployments.
        new: the manifest of the model to compare with the live one.
        lake: S3 of the account that trains.
        production: S3 of the account that serves, which keeps a copy of each deployed manifest.
        root: the prefix of the models in the account that trains.

    Raises:
        AwsError: the history cannot be read.
        VerificationFailed: it is no history.
    """
    deployment = history.newest()
    if deployment is None:
        return None
    prefix = model_prefix(root, deployment.pipeline, deployment.model, deployment.model_id)
    store = ModelStore(lake, prefix)
    refused: tuple[str, ...] = ()
    try:
        manifest = _deployed_manifest(lake, store.manifest_uri, deployment)
    except NotFound:
        # The bucket's retention may have deleted it; production has a copy.
        manifest = None
    except (AwsError, VerificationFailed) as error:
        manifest, refused = None, (f"The live model is known by its copy in production, because {error}.",)
    if manifest is None:
        try:
            manifest = _deployed_manifest(production, deployment.manifest, deployment)
        except (AwsError, VerificationFailed) as error:
            return Live(deployment, None, (f"The manifest of the live model cannot be read: {error}.",))
    model, problems = read_model(manifest, lake, new)
    return Live(deployment, model, (*refused, *problems))


def _deployed_manifest(objects: Objects, uri: str, deployment: Deployment) -> Manifest:
    """The manifest that was deployed, from one of the accounts.

    Raises:
        NotFound: it is not there.
        AwsError: S3 refused.
        VerificationFailed: it is not the one that was deployed.
    """
    content = objects.read(uri)
    found = hashlib.sha256(content).hexdigest()
    if found != deployment.manifest_sha256:
        raise VerificationFailed(f"{uri} has SHA-256 {found}, but {deployment.manifest_sha256} was deployed")
    return records.parse(content, uri, Manifest)


def read_model(
    manifest: Manifest, objects: Objects, new: Manifest | None = None
) -> tuple[Model, tuple[str, ...]]:
    """A model with its predictions, and a sentence if they cannot be read.

    Args:
        manifest: of the model.
        objects: S3 of the account that trains.
        new: the manifest of the model that it is compared with; then only the columns that the comparison
            needs are read.
    """
    uri = manifest.predictions.path
    try:
        content = objects.read(uri)
        found = hashlib.sha256(content).hexdigest()
        if found != manifest.predictions.sha256:
            raise VerificationFailed(
                f"{uri} has SHA-256 {found}, but its manifest names {manifest.predictions.sha256}"
            )
        return Model(manifest, predictions.read(content, uri, _columns(manifest, new))), ()
    except (AwsError, VerificationFailed) as error:
        request = manifest.request
        problem = f"The predictions of {request.model} {request.model_id} cannot be read: {error}."
        return Model(manifest, None), (problem,)


def _columns(manifest: Manifest, new: Manifest | None) -> Sequence[str] | None:
    if new is None:
        return None
    same_rows = manifest.evaluation.dataset_sha256 == new.evaluation.dataset_sha256
    row_metrics = (f"metric:{metric.name}" for metric in new.evaluation.overall_metrics)
    # Where the rows differ, the shared ones are found by their inputs too, which are most of the file.
    return ("id", "truth", "prediction", *row_metrics, *(() if same_rows else ("input",)))


def find_earlier(pipeline: PipelineStore, model: str, model_id: str) -> tuple[list[Earlier], tuple[str, ...]]:
    """The newest models of a name that earlier builds trained, the newest first, and a sentence if some
    cannot be read.

    An earlier sweep is represented by the candidate that was deployed, or else by the best one. The model's
    own sweep is left out, because only one candidate of a sweep shows figures on the test rows.
    """
    try:
        ids = pipeline.ids(model)
    except AwsError as error:
        return [], (f"The earlier models cannot be listed: {error}.",)
    sweeps = {_build_of(one) for one in ids if one != _build_of(one)}
    builds = dict.fromkeys(_build_of(one) for one in ids)
    newest = [build for build in builds if _is_earlier(build, model_id)][: TREND - 1]
    with ThreadPoolExecutor(_THREADS) as threads:
        read = list(threads.map(lambda build: _earlier(pipeline, model, build, build in sweeps), newest))
    return [one for one in read if isinstance(one, Earlier)], _unreadable(read)


def _unreadable(read: Sequence[object]) -> tuple[str, ...]:
    """Sentences about the earlier models that could not be read."""
    invalid = sum(isinstance(one, records.InvalidRecord) for one in read)
    refused = [one for one in read if isinstance(one, AwsError)]
    sentences = []
    if invalid:
        are = "is" if invalid == 1 else "are"
        sentences.append(f"{counted(invalid, 'earlier model')} {are} of another version of modelbuild.")
    if refused:
        sentences.append(f"{counted(len(refused), 'earlier model')} cannot be read: {refused[0]}.")
    return tuple(sentences)


def _build_of(model_id: str) -> str:
    return model_id.partition(".")[0]


def _is_earlier(model_id: str, other: str) -> bool:
    """Whether an earlier build trained a model: a step that is retried does not show later ones."""
    return int(_build_of(model_id)) < int(_build_of(other))


def _earlier(
    pipeline: PipelineStore, model: str, build: str, is_sweep: bool
) -> Earlier | records.InvalidRecord | AwsError | None:
    """The model of a build, or a candidate of its sweep; None if there is none, or why it cannot be read."""
    try:
        model_id = _of_sweep(pipeline, model, build) if is_sweep else build
        if not model_id:
            return None
        store = pipeline.model(model, model_id)
        manifest = store.manifest()
        if manifest is None:
            return None
        return Earlier(store, manifest, _is_deployed(store))
    except (records.InvalidRecord, AwsError) as error:
        return error


def _of_sweep(pipeline: PipelineStore, model: str, build: str) -> str:
    """The id of the candidate of a sweep that was deployed, else of the best one; empty if it has none, or
    cannot be read.
    """
    store = pipeline.model(model, build)
    try:
        found = SweepStore(store.objects, store.prefix).leaderboard()
    except records.InvalidRecord:
        return ""
    offered = [row.model_id for row in found.offered] if found else []
    best = offered[0] if offered else ""
    return next((one for one in offered if _is_deployed(pipeline.model(model, one))), best)


def _is_deployed(store: ModelStore) -> bool:
    return store.objects.exists(store.deployment_uri)


def find_best(pipeline: PipelineStore, manifest: Manifest) -> tuple[Manifest | None, tuple[str, ...]]:
    """The best of all models of this name that earlier builds trained and that were evaluated on the same
    rows as ``manifest``, and a sentence if it cannot be found.
    """
    request = manifest.request
    try:
        ranked = Ranking.of(pipeline.objects, manifest).best()
        ids = [one for one in ranked if _is_earlier(one, request.model_id)]
        for one in ids[:_TRIES]:
            found = _readable_manifest(pipeline.model(request.model, one))
            if found is not None and _is_comparable(found, manifest):
                return found, ()
    except AwsError as error:
        return None, (f"The best earlier model cannot be read: {error}.",)
    return None, ()


def _readable_manifest(store: ModelStore) -> Manifest | None:
    try:
        return store.manifest()
    except records.InvalidRecord:
        return None


def trend(earlier: Sequence[Earlier], manifest: Manifest) -> tuple[TrendPoint, ...]:
    """The primary metric of the newest earlier models and of this one, the oldest first."""
    primary = manifest.evaluation.primary
    points = [
        TrendPoint(
            model_id=one.manifest.request.model_id,
            value=one.manifest.evaluation.overall.metrics[primary],
            comparable=_is_comparable(one.manifest, manifest),
            deployed=one.deployed,
        )
        for one in reversed(earlier)
        if primary in one.manifest.evaluation.overall.metrics
    ]
    own = TrendPoint(
        model_id=manifest.request.model_id,
        value=manifest.evaluation.overall.metrics[primary],
        comparable=True,
        deployed=False,
    )
    return (*points, own)


def _is_comparable(other: Manifest, manifest: Manifest) -> bool:
    return (
        other.evaluation.dataset_sha256 == manifest.evaluation.dataset_sha256
        and other.evaluation.primary == manifest.evaluation.primary
    )
