"""Checks Batch for a training: the head's job definition, and queues that can run the jobs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from modelbuild.aws.account import Account, Compute, JobDefinition, Queue
from modelbuild.aws.quotas import Quota
from modelbuild.contract import LOG_GROUP
from modelbuild.errors import ConfigurationError, ModelbuildError
from modelbuild.onboarding import quotas
from modelbuild.onboarding.checks import Check, run_check
from modelbuild.settings.train import HEAD_QUEUE

TOKEN = "BUILDKITE_API_TOKEN"

# Variables of the head and its steps that have no defaults; the stack sets all of them.
_QUEUES = {"METAFLOW_BATCH_JOB_QUEUE": "modelbuild-default", "GPU_JOB_QUEUE": "modelbuild-gpu"}
_SETTINGS = (
    "AWS_DEFAULT_REGION",
    "METAFLOW_DEFAULT_DATASTORE",
    "METAFLOW_DATASTORE_SYSROOT_S3",
    "METAFLOW_ECS_S3_ACCESS_IAM_ROLE",
    "BUILDKITE_SECRET_ARN",
    "WANDB_SECRET_ARN",
    *_QUEUES,
)
_STACK = "deploy the stack infra/training.yaml"


def examine(account: Account, queue: str, allowed: Callable[[Quota], float]) -> Iterator[Check]:
    """Check the definition and the queue of heads, which share a name, and the queues of the steps.

    Args:
        account: the account that has them.
        queue: their name.
        allowed: reads the number of vCPUs that a quota of EC2 allows; raises ``AwsError`` when AWS refuses.
    """
    definition: JobDefinition | None = None
    try:
        definition = account.definition(queue)
        yield from _definition(queue, definition, account.region)
    except ModelbuildError as error:
        yield Check(False, f"job definition: {error}")
    environment = definition.environment if definition else {}
    queues = {environment.get(setting) or default: 1.0 for setting, default in _QUEUES.items()}
    for name, vcpus in ({queue: definition.vcpus if definition else 1.0} | queues).items():
        yield run_check(f"queue {name}", partial(_queue, account, name, vcpus))
    if queue != HEAD_QUEUE:
        yield Check(
            True,
            f"queue {queue}: the function modelbuild-ended sees heads in {HEAD_QUEUE} only: run modelbuild "
            f"reconcile --queue {queue} on a schedule, which answers for heads that died or wait too long",
        )
    yield from quotas.examine(_queues_of(account, [queue, *queues]), allowed)


def _queues_of(account: Account, names: Sequence[str]) -> dict[str, Queue]:
    """The queues that exist and can be read; the checks above name each other one."""
    found: dict[str, Queue] = {}
    for name in names:
        with contextlib.suppress(ModelbuildError):
            if (queue := account.queue(name)) is not None:
                found[name] = queue
    return found


def _definition(name: str, definition: JobDefinition | None, region: str) -> Iterator[Check]:
    subject = f"job definition {name}"
    if definition is None:
        yield Check(
            False, f"{subject}: there is no active one in {region}: {_STACK}, or correct option queue"
        )
        return
    wrong = [
        (not definition.job_role, "has no job role, so the head may not read its request"),
        (not definition.execution_role, "has no execution role, so Batch cannot take its secret"),
        (
            TOKEN not in definition.secrets,
            f"has no secret {TOKEN}, so the head cannot unblock the build",
        ),
        (
            definition.log_group != LOG_GROUP,
            f"does not write its log to {LOG_GROUP}, where links lead and option wait reads it",
        ),
        *(
            (not definition.environment.get(setting), f"does not set {setting}, which flows need")
            for setting in _SETTINGS
        ),
    ]
    for is_so, what in wrong:
        if is_so:
            yield Check(False, f"{subject}: {definition.arn} {what}: {_STACK} again")
    datastore = definition.environment.get("METAFLOW_DEFAULT_DATASTORE")
    if datastore and datastore != "s3":
        yield Check(
            False, f"{subject}: METAFLOW_DEFAULT_DATASTORE is {datastore}: set it to s3, which steps share"
        )
    if not any(is_so for is_so, _ in wrong):
        yield Check(True, f"{subject}: {definition.arn} as {definition.job_role}, with secret {TOKEN}")


def _queue(account: Account, name: str, vcpus: float) -> str:
    queue = account.queue(name)
    if queue is None:
        raise ConfigurationError(f"it does not exist in {account.region}: {_STACK}, or correct its name")
    why = obstacle(queue, vcpus)
    if why:
        raise ConfigurationError(why)
    most = max(compute.vcpus or 0 for compute in queue.computes)
    return f"ENABLED and VALID{f', with up to {most} vCPUs' if most else ''}"


def obstacle(queue: Queue, vcpus: float) -> str:
    """The reason why a job with this many vCPUs would never run in a queue, with the fix; empty if it would
    run.
    """
    if queue.state != "ENABLED":
        return f"it is {queue.state} and takes no job: enable it"
    if queue.status != "VALID":
        reason = f" ({queue.reason})" if queue.reason else ""
        return f"it is {queue.status}{reason}, so jobs wait for ever: repair its compute environments"
    wrong = [(compute.name, _compute(compute, vcpus)) for compute in queue.computes]
    # Batch tries them in order.
    if not all(why for _, why in wrong):
        return ""
    reason = "; ".join(f"compute environment {name} {why}" for name, why in wrong)
    return f"jobs wait there for ever, as {reason or f'it has no compute environment: {_STACK} again'}"


def _compute(compute: Compute, vcpus: float) -> str:
    if compute.state != "ENABLED":
        return f"is {compute.state}: enable it"
    if compute.status != "VALID":
        return f"is {compute.status}{f' ({compute.reason})' if compute.reason else ''}: repair it"
    if compute.vcpus is not None and compute.vcpus < vcpus:
        return f"has at most {compute.vcpus} vCPUs, and a job takes {vcpus:g}: raise its maximum"
    return ""
