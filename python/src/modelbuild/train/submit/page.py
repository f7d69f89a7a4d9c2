"""The annotation ``training`` while the training runs, and when the build will not reach notify."""

from __future__ import annotations

from collections.abc import Mapping

from modelbuild.annotation import commit_url, render
from modelbuild.aws.batch.jobs import BatchJob
from modelbuild.contract import TrainingRequest, TrainingResult
from modelbuild.store.attempts import JobRecord
from modelbuild.train.commit import parameters
from modelbuild.train.head.stage import Stage


def ended(request: TrainingRequest, result: TrainingResult, attempt: int, *, over: bool) -> str:
    """The annotation of a training that has ended, when no notify step writes it.

    Args:
        request: the request.
        result: the result.
        attempt: the number of the attempt.
        over: whether the build was over at that time; if not, an earlier attempt or a person had unblocked
            its step.
    """
    return render(
        "modelbuild.train", "ended.html.j2", request=request, result=result, attempt=attempt, over=over
    )


def training(
    request: TrainingRequest,
    record: JobRecord,
    job: BatchJob,
    links: Mapping[str, str],
    repository: str,
    *,
    unblocked: bool = False,
    waits: bool = False,
    result: TrainingResult | None = None,
    stage: Stage | None = None,
) -> str:
    """The annotation of a training that runs, or that ended without a model.

    Args:
        request: the request.
        record: the record of the head.
        job: Batch's description of the head.
        links: ``job_url`` and ``logs_url``.
        repository: the address of the repository.
        unblocked: whether an earlier attempt has unblocked the waiting step.
        waits: whether the train step follows the training.
        result: the result, or None while it runs.
        stage: where its flow is, once the head knows it.
    """
    return render(
        "modelbuild.train",
        "training.html.j2",
        request=request,
        commit_url=commit_url(repository, request.build.commit),
        record=record,
        job=job,
        unblocked=unblocked,
        waits=waits,
        result=result,
        stage=stage,
        parameters=parameters.shown(request.parameters),
        **links,
    )
