"""Writes a training to S3, Batch and Buildkite: the request, its head job, and the annotation.

Everything is written once. So a retried step does not start another training: it shows the one that runs or
its model, and resumes one that failed.
"""

from __future__ import annotations

import hashlib
import json
import re

from modelbuild import log
from modelbuild.aws import console
from modelbuild.aws.batch.jobs import Batch, BatchJob, require_fitting
from modelbuild.buildkite.job import JobEnvironment
from modelbuild.buildkite.trainings import TrainingMetaData
from modelbuild.contract import (
    ATTEMPT,
    PAGE_CONTEXT,
    REQUEST_PIN,
    RUNNING_STYLE,
    SCHEDULE_TIMEOUT,
    STEP_RESOURCES,
    STEP_VARIABLES,
    TRAINING_ANNOTATION,
    TRAINING_TIMEOUT,
    WANDB_ENTITY,
    TrainingRequest,
    TrainingResult,
    shortened,
)
from modelbuild.errors import ConfigurationError, TrainingFailed
from modelbuild.settings.train import TrainSettings
from modelbuild.store.attempts import JobRecord
from modelbuild.store.model import ModelStore
from modelbuild.train.attempts.attempt import Attempts

COMMAND = ("python", "-m", "modelbuild", "head")
# The size of Metaflow's command and variables, and of those that every step gets: 4,400 with short names.
_STEP_BYTES = 5000
STATUS = TrainingResult.field_keys()[0]
# These fields concern the job and not the training: another attempt may have other values.
_JOB_OPTIONS = {"queue", "timeout", "schedule_timeout", "environment", "wandb_entity", "resources", "tags"}


def store_request(store: ModelStore, request: TrainingRequest, archived: bytes) -> TrainingRequest:
    """Store the request once; returns the request in S3: this one, or an equal one of an earlier run of the
    step.

    Raises:
        ConfigurationError: the prefix holds the request of another training, or the request cannot be stored.
        AwsError: S3 refused.
    """
    try:
        request.to_json()
    except ValueError as error:
        raise ConfigurationError(
            f"{store.request_uri} could not be read again ({' '.join(str(error).split())[:200]}): simplify "
            "the parameters of this training"
        ) from error
    if not store.write_source_once(archived):
        earlier = store.find_request()
        if earlier is not None:
            return _same(earlier, request, store.request_uri)
        kept = hashlib.sha256(store.objects.read(store.source_uri)).hexdigest()
        if kept != request.source.sha256:
            raise ConfigurationError(
                f"{store.source_uri} is there already and has other bytes than this commit's files: "
                "build numbers must not repeat under option artifacts, so name another prefix there"
            )
    if store.write_request_once(request):
        return request
    return _same(store.find_request() or request, request, store.request_uri)


def _same(earlier: TrainingRequest, request: TrainingRequest, uri: str) -> TrainingRequest:
    """The earlier request, which must be for the same training."""
    if earlier.build.id != request.build.id:
        raise ConfigurationError(
            f"{uri} asks for the training of another build with this number, {earlier.build.id}, such as "
            "one of a pipeline that was deleted and created again: build numbers must not repeat under "
            "option artifacts, so name another prefix there"
        )
    # Another version of git or zlib may pack the same commit into other bytes: the first archive is kept.
    if earlier != request.model_copy(update={"source": earlier.source}):
        raise ConfigurationError(
            f"{uri} asks for another training than this step ({_difference(earlier, request)}): start a new "
            "build, because a build trains a model once, and a retried step must ask for the same"
        )
    return earlier


def _difference(earlier: TrainingRequest, request: TrainingRequest) -> str:
    """A text with the names of the differing fields."""
    there, here = earlier.model_dump(by_alias=True), request.model_dump(by_alias=True)
    return ", ".join(sorted(key for key in here if key != "source" and here[key] != there[key]))


def find_or_submit_head(
    store: ModelStore,
    batch: Batch,
    request: TrainingRequest,
    settings: TrainSettings,
    definition: str,
    job: JobEnvironment,
) -> JobRecord:
    """The head job of this request: an existing one, or a new one.

    Args:
        store: the store of the model.
        batch: submits the head.
        request: the request.
        settings: the step's options.
        definition: the head's job definition.
        job: the variables of the agent's job that submits.
    """
    name = job_name(request)

    def submit(number: int) -> str:
        require_fitting_steps(settings)
        return batch.submit(
            name,
            queue=settings.queue,
            definition=definition,
            command=COMMAND,
            environment=variables(request, settings, number),
            timeout=settings.timeout,
            tags=tags(request, settings),
        )

    options = settings.model_dump(mode="json", by_alias=True, exclude_none=True, include=_JOB_OPTIONS)
    attempts = Attempts(store, batch, settings.queue, name)
    return attempts.find_or_submit(
        submit,
        {"by": job.job_id, "options": options},
        lambda: _is_unblocked(_meta_data(request)),
        log.info,
        first_run=job.retry_count == "0",
    )


def _meta_data(request: TrainingRequest) -> TrainingMetaData:
    return TrainingMetaData(request.meta_data_prefix)


def _is_unblocked(meta_data: TrainingMetaData) -> bool:
    """Whether the step that waits for the training is unblocked."""
    return meta_data.get(STATUS) is not None


def job_of(batch: Batch, record: JobRecord) -> BatchJob:
    """Batch's description of the head; a substitute if Batch has forgotten it, a week after its end."""
    forgotten = BatchJob(record.job_id, "SUCCEEDED", "Batch has forgotten it", "", {})
    return batch.describe_all([record.job_id]).get(record.job_id, forgotten)


def job_name(request: TrainingRequest) -> str:
    """``<pipeline>-<model>-<model id>`` in characters that Batch allows, at most 128."""
    name = f"{request.build.pipeline}-{request.model}-{request.model_id}"
    return shortened(re.sub(r"[^A-Za-z0-9_-]", "_", name), 128)


def require_fitting_steps(settings: TrainSettings) -> None:
    """Refuse options that would make the overrides of the flow's steps too large.

    Raises:
        ConfigurationError: Batch would refuse such a job, hours after the head was submitted.
    """
    require_fitting((), _step_environment(settings), reserved_bytes=_STEP_BYTES)


def _step_environment(settings: TrainSettings) -> dict[str, str]:
    """The variables that the options set for the head and the steps."""
    sizes = {step: size.model_dump(exclude_none=True) for step, size in settings.resources.items()}
    return {
        **settings.environment,
        **({STEP_VARIABLES: " ".join(sorted(settings.environment))} if settings.environment else {}),
        **({STEP_RESOURCES: json.dumps(sizes, separators=(",", ":"))} if sizes else {}),
    }


def variables(request: TrainingRequest, settings: TrainSettings, number: int = 1) -> dict[str, str]:
    """The variables of the head of an attempt, without those of its job definition."""
    return {
        **_step_environment(settings),
        # Metaflow tags the jobs of steps only with this variable.
        "METAFLOW_BATCH_EMIT_TAGS": "true",
        "METAFLOW_BATCH_DEFAULT_TAGS": json.dumps(tags(request, settings), separators=(",", ":")),
        TRAINING_TIMEOUT: str(settings.timeout),
        **({SCHEDULE_TIMEOUT: str(settings.schedule_timeout)} if settings.schedule_timeout else {}),
        **console.inherited(),
        **({WANDB_ENTITY: settings.wandb_entity} if settings.wandb_entity else {}),
        "MODEL_ID": request.model_id,
        "ARTIFACTS": request.artifacts,
        "UNBLOCK_STEP": request.unblock,
        ATTEMPT: str(number),
    }


def tags(request: TrainingRequest, settings: TrainSettings) -> dict[str, str]:
    """The tags of the jobs of head and steps, by which jobs and costs can be found."""
    values = {
        **settings.tags,
        "modelbuild:pipeline": request.build.pipeline,
        "modelbuild:model": request.model,
        "modelbuild:model-id": request.model_id,
        "modelbuild:build": request.build.url,
        "modelbuild:commit": request.build.commit,
    }
    # Batch allows an equals sign, but Metaflow cannot pass it.
    return {key: re.sub(r"[^\w .:/+@-]", "_", value)[:256] for key, value in values.items()}


def show(
    store: ModelStore,
    batch: Batch,
    request: TrainingRequest,
    record: JobRecord,
    repository: str,
    waits: bool,
) -> None:
    """Show the training's job and state on the build page and in the log.

    Raises:
        TrainingFailed: the training has failed already.
    """
    meta_data = _meta_data(request)
    job = job_of(batch, record)
    links = _links(record, job)
    meta_data.set(
        {
            "train/job/id": job.id,
            "train/job/url": links["job_url"],
            "train/logs/url": links["logs_url"],
            "train/artifacts": request.artifacts,
            REQUEST_PIN: hashlib.sha256(request.to_json().encode()).hexdigest(),
            "train/attempt": str(record.attempt),
        }
    )
    result = store.attempt(record.attempt).result() if job.ended else None
    trained = result is not None and result.status == "succeeded"
    unblocked = _is_unblocked(meta_data)
    # In a late run of this step, notify has written an annotation with more content.
    if not job.ended and (not unblocked or record.attempt > 1):
        annotate(request, record, job, repository, unblocked=unblocked, waits=waits)
        if record.attempt > 1 and (context := meta_data.get(PAGE_CONTEXT)):
            # It says how an earlier attempt ended.
            meta_data.remove_annotation(context)
    state = "has been trained" if trained else "failed to train" if job.ended else "is being trained"
    log.open_group(f":weight_lifter: Model {request.model} {request.model_id} {state}")
    log.info(f"Batch job  {job.id} ({job.status}{': ' + job.reason if job.reason else ''})")
    log.info(f"           {links['job_url']}")
    log.info(f"Log        {links['logs_url']}")
    log.info(f"Artifacts  {request.artifacts}")
    if record.attempt > 1:
        log.info(f"Attempt    {record.attempt}, which goes on from the last good step of the flow")
    if job.ended and not trained:
        raise TrainingFailed(
            f"the training of model {request.model} {request.model_id} failed "
            f"({job.reason or 'see its log'}): retry this "
            "step to go on from the last good step of the flow"
        )
    if trained or waits:
        return
    if unblocked:
        log.info(
            f"This agent is free now. Step {request.unblock!r} was unblocked by an earlier attempt: retry "
            "the steps behind it when this one has ended."
        )
    else:
        log.info(f"This agent is free now. When the training ends, step {request.unblock!r} is unblocked.")


def _links(record: JobRecord, job: BatchJob) -> dict[str, str]:
    return {
        "job_url": console.job_url(record.region, job.id),
        "logs_url": console.logs_url(record.region, job.log_stream, record.queue),
    }


def annotate(
    request: TrainingRequest,
    record: JobRecord,
    job: BatchJob,
    repository: str,
    *,
    unblocked: bool = False,
    waits: bool = False,
    result: TrainingResult | None = None,
) -> None:
    """Annotate the build with the training; see :func:`modelbuild.train.submit.page.training`."""
    # Imported after the submission, because templates take time to load.
    from modelbuild.train.submit import page

    body = page.training(
        request, record, job, _links(record, job), repository, unblocked=unblocked, waits=waits, result=result
    )
    _meta_data(request).annotate(
        body, context=TRAINING_ANNOTATION, style="error" if result else RUNNING_STYLE
    )
