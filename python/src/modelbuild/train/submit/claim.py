"""A train step claims its training in the build's meta-data before it submits a job.

Meta-data has no conditional write. So each step first writes ``asked`` and then reads all claims: two steps
that do so at the same time see each other's claims, and fail if they collide. A retried step finds its own
claim and goes on.
"""

from __future__ import annotations

from collections.abc import Collection

from modelbuild.buildkite import agent
from modelbuild.buildkite.job import JobEnvironment
from modelbuild.buildkite.trainings import REFUSED, Claim, claims
from modelbuild.errors import ConfigurationError
from modelbuild.settings.train import TrainSettings

_ASKED, _HELD = "asked", "held"


def hold(settings: TrainSettings, job: JobEnvironment, keys: Collection[str]) -> None:
    """Claim the training of this step, or find the claim of an earlier run of the step.

    Args:
        settings: the step's options.
        job: the variables of this job.
        keys: the keys of the build's meta-data, read at any time since the job began.

    Raises:
        ConfigurationError: another training of this build collides, or this step has parallel jobs.
        BuildkiteError: the agent's command line failed.
    """
    own = claim_from_settings(settings)
    _require_single_job(job)
    if own.key in keys and agent.get_meta_data(own.key) == _HELD:
        return
    _require_no_collision(keys, own)
    agent.set_meta_data({own.key: _ASKED})
    try:
        _require_no_collision(agent.meta_data_keys(), own)
    except ConfigurationError:
        agent.set_meta_data({own.key: REFUSED})
        raise
    agent.set_meta_data({own.key: _HELD})


def require_free(settings: TrainSettings, job: JobEnvironment, keys: Collection[str]) -> None:
    """Raise the same errors as :func:`hold`, without writing anything.

    Raises:
        ConfigurationError: another training of this build collides, or this step has parallel jobs.
        BuildkiteError: the agent's command line failed.
    """
    own = claim_from_settings(settings)
    _require_single_job(job)
    if own.key not in keys or agent.get_meta_data(own.key) != _HELD:
        _require_no_collision(keys, own)


def claim_from_settings(settings: TrainSettings) -> Claim:
    """The claim of the step with these settings."""
    return Claim.of(
        settings.model_name, settings.model is not None, settings.unblock, settings.flow, settings.artifacts
    )


def _require_no_collision(keys: Collection[str], own: Claim) -> None:
    for other in claims(keys):
        collision = own.collision(other)
        if collision and agent.get_meta_data(other.key) != REFUSED:
            raise ConfigurationError(f"{collision}, and start a new build")


def _require_single_job(job: JobEnvironment) -> None:
    count = job.parallel_jobs
    if count not in ("", "0", "1"):
        raise ConfigurationError(
            f"this step has parallelism {count}, and a train step has one training: remove parallelism"
        )
