"""Checks the user who unblocked a deployment.

Buildkite names the user who unblocked a step in the variables ``BUILDKITE_UNBLOCKER…`` of the jobs that
depend on it. A training has an API token, which can unblock any step. So the user who unblocked the
training's step, the owner of that token, must not unblock the deployment.
"""

from __future__ import annotations

from collections.abc import Sequence

from modelbuild import log
from modelbuild.buildkite import agent
from modelbuild.buildkite.job import JobEnvironment
from modelbuild.buildkite.trainings import TrainingMetaData
from modelbuild.contract import CALLBACK_USER, Approver
from modelbuild.errors import VerificationFailed


def pin_callback_user(meta_data: TrainingMetaData, job: JobEnvironment) -> None:
    """Record in meta-data who unblocked the training's step, on which the job of notify depends.

    The first job records it: a job that runs again may depend on other unblocked steps by then.

    Raises:
        BuildkiteError: the agent's command line failed.
    """
    user = job.unblocker_id
    if user and not meta_data.get(CALLBACK_USER):
        meta_data.set({CALLBACK_USER: user})


def require(approvers: Sequence[str], job: JobEnvironment) -> Approver:
    """The user who unblocked this job; the fields are empty if Buildkite names none.

    Args:
        approvers: e-mail addresses or ids of the users who may unblock it; if empty, any other user may.
        job: the variables of this job.

    Raises:
        VerificationFailed: this user unblocked the training too, or is not one of ``approvers``.
        BuildkiteError: the agent's command line failed.
    """
    name, email, user = job.unblocker, job.unblocker_email, job.unblocker_id
    shown = f"{name or 'a user without a name'} <{email or user}>"
    if user and user in _callback_users():
        raise VerificationFailed(
            f"{shown} unblocked this deployment, and the training as well, as the owner of the training's "
            "API token does: start a new build, and let another user unblock a step after notify"
        )
    allowed = {entry.lower() for entry in approvers}
    if allowed and not allowed & ({email.lower(), user.lower()} - {""}):
        by = shown if user or email else "no user"
        raise VerificationFailed(
            f"option approvers allows {', '.join(approvers)} only, and {by} unblocked this deployment: start "
            "a new build, and have an approver unblock it"
        )
    if not user:
        log.info("Buildkite names no user who unblocked this deployment")
    return Approver(name=name, email=email)


def _callback_users() -> set[str]:
    """The ids of the users who unblocked the steps of all trainings of this build."""
    keys = [key for key in agent.meta_data_keys() if f"/{key}".endswith(f"/{CALLBACK_USER}")]
    return {agent.get_meta_data(key) or "" for key in keys}
