"""The annotation ``training`` of a build without a model to decide on."""

from __future__ import annotations

from collections.abc import Sequence

from modelbuild.annotation import commit_url, render, terminal
from modelbuild.buildkite.job import JobEnvironment
from modelbuild.contract import Failure, Leaderboard, TrainingResult
from modelbuild.report.build import HeadJob
from modelbuild.report.candidates import counts, unranked


def failed(
    result: TrainingResult,
    head: HeadJob,
    job: JobEnvironment,
    failure: Failure | None = None,
    leaderboard: Leaderboard | None = None,
) -> str:
    """The annotation of a training without a model.

    Args:
        result: how the training ended.
        head: the Batch job that ran the flow.
        job: the variables of the step's job.
        failure: what the head saw of the flow; not shown unless it is about this result.
        leaderboard: how the candidates ended, if the training was a sweep.
    """
    if result.status == "cancelled":
        return _nothing_to_deploy("was cancelled", result.reason, head, job, result.wandb_run_url)
    if leaderboard is not None:
        return _nothing_to_deploy(
            "failed", result.reason, head, job, result.wandb_run_url, leaderboard=leaderboard
        )
    if failure is None or not failure.explains(result.reason):
        return _nothing_to_deploy("failed", result.reason, head, job, result.wandb_run_url)
    ended = f"failed in step {failure.step}" if failure.step else "failed"
    return _nothing_to_deploy(ended, failure.reason, head, job, result.wandb_run_url, failure.log)


def refused(reason: str, head: HeadJob, job: JobEnvironment) -> str:
    """The annotation of a training whose handoff is not of this build."""
    return _nothing_to_deploy("handed over what is not of this build", reason, head, job)


def _nothing_to_deploy(
    ended: str,
    reason: str,
    head: HeadJob,
    job: JobEnvironment,
    wandb_run_url: str = "",
    lines: Sequence[str] = (),
    leaderboard: Leaderboard | None = None,
) -> str:
    above = render(
        "modelbuild.notify",
        "failed.html.j2",
        ended=ended,
        reason=reason,
        job=head,
        number=job.number,
        pipeline=job.pipeline,
        counts=counts(leaderboard) if leaderboard else "",
        unranked=unranked(leaderboard) if leaderboard else [],
    )
    below = render(
        "modelbuild.notify",
        "failed_below.html.j2",
        of_the_code=bool(lines),
        wandb_run_url=wandb_run_url,
        job=head,
        number=job.number,
        build_url=job.build_url,
        commit=job.commit,
        commit_url=commit_url(job.repository, job.commit),
    )
    return f"{above}{terminal(lines) if lines else ''}{below}"
