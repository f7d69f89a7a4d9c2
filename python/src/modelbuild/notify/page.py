"""The annotation ``training`` of a build without a model to decide on."""

from __future__ import annotations

from modelbuild.annotation import commit_url, render
from modelbuild.buildkite.job import JobEnvironment
from modelbuild.contract import TrainingResult
from modelbuild.report.head_job import HeadJob


def failed(result: TrainingResult, head: HeadJob, job: JobEnvironment) -> str:
    """The annotation of a training without a model."""
    ended = "was cancelled" if result.status == "cancelled" else "failed"
    return _nothing_to_deploy(ended, result.reason, head, job, result.wandb_run_url)


def refused(reason: str, head: HeadJob, job: JobEnvironment) -> str:
    """The annotation of a training whose handoff is not of this build."""
    return _nothing_to_deploy("handed over what is not of this build", reason, head, job)


def _nothing_to_deploy(
    ended: str, reason: str, head: HeadJob, job: JobEnvironment, wandb_run_url: str = ""
) -> str:
    return render(
        "modelbuild.notify",
        "failed.html.j2",
        ended=ended,
        reason=reason,
        wandb_run_url=wandb_run_url,
        job=head,
        number=job.number,
        pipeline=job.pipeline,
        build_url=job.build_url,
        commit=job.commit,
        commit_url=commit_url(job.repository, job.commit),
    )
