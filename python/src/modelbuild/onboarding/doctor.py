"""``modelbuild doctor``: finds, on an agent, problems that would make a first training fail."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from modelbuild.aws.account import Account
from modelbuild.aws.identity import caller, session
from modelbuild.aws.quotas import Quotas
from modelbuild.aws.storage import Storage
from modelbuild.buildkite import agent, fork
from modelbuild.buildkite.access import ApiAccess
from modelbuild.buildkite.job import PullRequest
from modelbuild.buildkite.rest import Rest
from modelbuild.contract import TrainingResult
from modelbuild.errors import ConfigurationError, ModelbuildError
from modelbuild.onboarding import batch, chaining, check, scoring, training
from modelbuild.onboarding.batch import TOKEN
from modelbuild.onboarding.checks import Check, no_identity, run_check
from modelbuild.onboarding.pipeline import Pipeline, read
from modelbuild.settings.train import TrainSettings

MINIMUM_AGENT = (3, 108)
SCOPES = ("read_builds", "write_builds")


def examine(file: Path, environ: Mapping[str, str]) -> Iterator[Check]:
    """Check the agent, the pipeline in ``file``, AWS with the identities of its train steps, and the REST
    token.

    For each train step, it writes and deletes an object below option artifacts, and changes nothing else.
    """
    yield run_check("agent", _agent)
    try:
        pipeline = read(file)
    except ConfigurationError as error:
        yield Check(False, f"pipeline: {error}")
        pipeline = Pipeline((), {})
    else:
        yield from _pipeline(file, pipeline)
    variables = dict(environ)
    try:
        variables = training.environment_of(pipeline, environ)
    except ConfigurationError as error:
        yield Check(False, f"env of {file}: {error}")
    found: list[TrainSettings] = []
    for one in training.trainings(pipeline.steps):
        try:
            found.append(training.settings(one.options, variables))
        except ConfigurationError as error:
            yield Check(False, f"options of {one.step.shown()} ({file}:{one.step.line}): {error}")
    for settings in found:
        try:
            fork.require_none(settings.allow_forks, PullRequest.read(environ))
        except ConfigurationError as error:
            yield Check(False, f"pull request: {error}")
    if not found:
        yield Check(False, "AWS: not checked, because no train step can be read: fix that and run this again")
    yield from chaining.examine(pipeline.steps, variables)
    yield from dict.fromkeys(_accounts(found, pipeline, variables))
    yield run_check("API token", lambda: _token(ApiAccess.read(environ)))


def _accounts(
    found: Sequence[TrainSettings], pipeline: Pipeline, variables: Mapping[str, str]
) -> Iterator[Check]:
    """The lines about AWS; steps that share an account have the same ones."""
    for settings in found:
        yield from _aws(settings)
    yield from scoring.examine(pipeline.steps, variables)


def _agent() -> str:
    version = agent.version()
    found = re.search(r"(\d+)\.(\d+)", version)
    if found is None:
        raise ConfigurationError(
            f"buildkite-agent --version said {version!r}, which is no version: install the agent"
        )
    if (int(found[1]), int(found[2])) < MINIMUM_AGENT:
        raise ConfigurationError(
            f"buildkite-agent is {version}, which finds no plugin in a folder of a repository: update it to "
            f"{'.'.join(map(str, MINIMUM_AGENT))} or newer"
        )
    return version


def _pipeline(file: Path, pipeline: Pipeline) -> Iterator[Check]:
    found = check.findings(pipeline)
    for finding in found:
        yield Check(False, f"pipeline {file}:{finding.line}: {finding.text}")
    keys = list(dict.fromkeys(one.unblock for one in training.trainings(pipeline.steps) if one.unblock))
    if not keys and not found:
        yield Check(
            False, f"pipeline {file}: no step trains: add one, or write a pipeline with modelbuild init"
        )
    if keys and not found:
        number = len(TrainingResult.field_keys())
        takes = "takes" if len(keys) == 1 else "take"
        yield Check(
            True, f"pipeline {file}: {', '.join(keys)} {takes} the {number} fields of a training's result"
        )


def _aws(settings: TrainSettings) -> Iterator[Check]:
    try:
        aws = session(settings.aws, agent.oidc_token)
        account = Account(aws)
        yield Check(True, f"identity: {caller(aws)} in {account.region}")
    except ModelbuildError as error:
        yield no_identity(error)
        return
    yield from batch.examine(account, settings.queue, Quotas(aws).vcpus)
    yield run_check(f"bucket {settings.artifacts}", lambda: _bucket(Storage(aws), settings.artifacts))


def _bucket(storage: Storage, artifacts: str) -> str:
    """Write, read and delete an object; check that S3 refuses a second conditional write, as a training
    needs.
    """
    uri = f"{artifacts.rstrip('/')}/modelbuild-doctor-{uuid.uuid4().hex}"
    storage.write_once(uri, b"probe", "text/plain")
    try:
        if storage.write_once(uri, b"again", "text/plain"):
            raise ConfigurationError(
                "it wrote over an object in spite of If-None-Match, so two trainings could mix: use a bucket "
                "of S3, or of a store with conditional writes"
            )
        storage.read(uri)
    finally:
        try:
            storage.delete(uri)
        except ModelbuildError as error:
            raise ConfigurationError(
                f"writing works, but {error}; for this probe alone s3:DeleteObject is needed: allow it, or "
                f"delete {uri} by hand"
            ) from error
    return "written once, read and deleted"


def _token(access: ApiAccess) -> str:
    if not access.token:
        return f"not in this environment, as it should be on an agent; set {TOKEN} to have its scopes checked"
    scopes = Rest.of(access).access_token().scopes
    missing = [scope for scope in SCOPES if scope not in scopes]
    if missing:
        raise ConfigurationError(
            f"it lacks scope {' and '.join(missing)} (it has {', '.join(scopes) or 'none'}): make a token "
            f"with {' and '.join(SCOPES)}, and put it into the secret"
        )
    return f"has {' and '.join(SCOPES)}"
