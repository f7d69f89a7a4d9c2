"""A block step that a training unblocks, as its fields and the meta-data of the build show it."""

from __future__ import annotations

from modelbuild.contract import TrainingResult
from modelbuild_local.buildkite.state import Job

_STATUS = TrainingResult.field_keys()[0]


def waits_for_training(job: Job) -> bool:
    """Whether a training unblocks a manual job, which its fields show."""
    return _prefix(job) is not None


def training_status(job: Job) -> str:
    """The status of the training that unblocked a step: ``succeeded``, ``failed`` or ``cancelled``; empty for
    any other step, and before the training has ended.
    """
    waited = job.state == "unblocked" and waits_for_training(job)
    return training_value(job, _STATUS) if waited else ""


def training_value(job: Job, key: str) -> str:
    """Meta-data of the training that unblocks a step."""
    return job.build.meta_data.get(f"{_prefix(job) or ''}{key}", "")


def _prefix(job: Job) -> str | None:
    """The prefix of the meta-data of the training that unblocks a step; None if no training does."""
    return TrainingResult.prefix_of(field.key for field in job.fields)
