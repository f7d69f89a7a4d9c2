"""The annotation ``training`` while a training lasts, and where nothing behind its step will be reached."""

from __future__ import annotations

from collections.abc import Mapping

from modelbuild.annotation import commit_url, render
from modelbuild.aws.batch import BatchJob
from modelbuild.contract import TrainingRequest, TrainingResult
from modelbuild.store.attempts import JobRecord
from modelbuild.train.commit import parameters


def ended(request: TrainingRequest, result: TrainingResult, attempt: int, *, over: bool) -> str:
    """The annotation of a training that has ended, where no notify step writes it.

    Args:
        request: what was trained.
        result: how it ended.
        attempt: the number of the attempt.
        over: whether the build was over by then; else an earlier attempt, or a person, unblocked its step.
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
) -> str:
    """The annotation of a training that is under way, or of one that left no model.

    Args:
        request: what is trained.
        record: the head.
        job: the head as Batch describes it.
        links: ``job_url`` and ``logs_url``.
        repository: where the commit can be seen.
        unblocked: whether an earlier attempt has unblocked the step that waits.
        waits: whether the train step follows the training.
        result: how it ended, if it did.
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
        parameters=parameters.shown(request.parameters),
        **links,
    )
