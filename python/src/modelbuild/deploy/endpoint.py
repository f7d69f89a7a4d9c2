"""Brings an endpoint from its current configuration to the planned one, and waits until it runs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from modelbuild import log
from modelbuild.aws.sagemaker import AlreadyExists, Endpoint, SageMaker
from modelbuild.aws.storage import NotFound
from modelbuild.clock import SYSTEM_CLOCK, Clock
from modelbuild.deploy.configuration import create_model_and_config, until_seen
from modelbuild.deploy.plan import Plan
from modelbuild.deploy.watch import Deleted, EndpointWatch, RolledBack, StillChanging
from modelbuild.errors import AwsError, EndpointFailed, ModelbuildError, VerificationFailed


@dataclass(frozen=True)
class Served:
    """An endpoint that runs the planned configuration.

    Attributes:
        endpoint: SageMaker's description of it.
        previous_config: the configuration before this deployment, also if an earlier run of the step changed
            it; empty for a new endpoint.
        changed: whether this deployment changed the endpoint, in this or in an earlier run of the step.
    """

    endpoint: Endpoint
    previous_config: str
    changed: bool


class UpdateNotFollowed(ModelbuildError):
    """This step cannot wait for the endpoint any longer; SageMaker goes on, and then serves the plan.

    Attributes:
        reason: why: AWS refused, or option ``timeout`` is over.
        previous_config: as in ``Served``.
    """

    def __init__(self, reason: AwsError | StillChanging, previous_config: str) -> None:
        super().__init__(str(reason))
        self.reason = reason
        self.previous_config = previous_config


class _Unseen(AwsError):
    """AWS refused to change the endpoint, and then to describe it: it may be changing."""


def require_own(endpoint: str, owner_tags: Mapping[str, str], sagemaker: SageMaker) -> None:
    """Refuse an endpoint that belongs to another model or another pipeline.

    Args:
        endpoint: its name.
        owner_tags: the tags of the model to deploy, from :func:`modelbuild.deploy.plan.owner_tags`.
        sagemaker: SageMaker as an identity of production sees it.

    Raises:
        VerificationFailed: its last deployment was of another model.
        AwsError: SageMaker refused.
    """
    try:
        found = sagemaker.endpoint(endpoint)
    except NotFound:
        return
    _require_owner(endpoint, sagemaker.tags(found.arn), owner_tags)


def _require_owner(endpoint: str, tags: Mapping[str, str], owner_tags: Mapping[str, str]) -> None:
    for key, value in owner_tags.items():
        if tags.get(key, value) != value:
            raise VerificationFailed(
                f"endpoint {endpoint} has tag {key} {tags[key]}, but the training of this build has {value}: "
                "correct option endpoint, or remove the tag if the endpoint is to serve this model from "
                "now on"
            )


def ensure_endpoint(plan: Plan, sagemaker: SageMaker, timeout: float, clock: Clock = SYSTEM_CLOCK) -> Served:
    """Bring the endpoint to the plan: create it, update it, or wait for a running update.

    Args:
        plan: what to run where.
        sagemaker: SageMaker as an identity of production sees it.
        timeout: seconds that all of it may take.
        clock: what time is and how it passes.

    Raises:
        EndpointFailed: another program still changes the endpoint after ``timeout`` seconds, or has deleted
            it, or SageMaker reports a failure.
        VerificationFailed: a model or configuration of the plan's name has other properties, or the endpoint
            has become that of another model in the meantime.
        UpdateNotFollowed: the update to the plan has begun, or may have; then SageMaker refused, or the time
            was over.
        AwsError: SageMaker refused before the update began.
    """
    create_model_and_config(plan, sagemaker)
    watch = EndpointWatch(plan.endpoint, plan.name, sagemaker, clock, clock.now() + timeout)
    before = watch.until_stable()
    if before is None and _create(plan, sagemaker, watch, clock):
        return _followed(watch, "")
    before = before or watch.until_stable()
    if before is None:
        raise EndpointFailed(
            f"SageMaker has an endpoint of the name {plan.endpoint} in other capitals, or deleted it a "
            "moment ago: write option endpoint as SageMaker does, or retry this step"
        )
    # If the endpoint has the plan's configuration already, only the tag knows the previous one.
    previous = before.config if before.config != plan.name else sagemaker.previous(plan.name)
    if before.config == plan.name and before.status == "InService" and not before.pending_config:
        log.info(f"endpoint {plan.endpoint} runs {plan.name} already")
        return Served(before, previous, False)
    if _changes_to(before, plan.name):
        log.info(f"endpoint {plan.endpoint} is being updated to {plan.name} already")
    else:
        # If this step is killed before it has checked the answers, its retry needs the previous
        # configuration.
        sagemaker.record_previous(plan.name, previous)
        _claim(before, plan, sagemaker)
        try:
            update = partial(sagemaker.update_endpoint, plan.endpoint, plan.name)
            _begin(partial(until_seen, update, clock), watch)
        except _Unseen as error:
            raise UpdateNotFollowed(error, previous) from error
        log.info(f"updating endpoint {plan.endpoint} from {before.config}")
    return _followed(watch, previous)


def _followed(watch: EndpointWatch, previous: str) -> Served:
    """What is served when the update that this deployment began has ended."""
    try:
        return Served(watch.until_served(previous), previous, True)
    except (AwsError, StillChanging) as error:
        raise UpdateNotFollowed(error, previous) from error


def _begin(change: Callable[[], None], watch: EndpointWatch) -> None:
    """Have SageMaker begin a change of the endpoint.

    An answer may be lost; SageMaker then refuses the request that is sent again, because the endpoint is
    changing. So after any error but one about names, the endpoint itself tells whether the change has begun.

    Raises:
        AwsError: SageMaker refused, and the endpoint does not change.
    """
    try:
        change()
    except (AlreadyExists, NotFound):
        raise
    except AwsError as error:
        try:
            begun = watch.has_begun()
        except AwsError as refused:
            raise _Unseen(f"{error}, and it is not known whether it has begun ({refused})") from error
        if not begun:
            raise
        log.info(f"SageMaker has begun the change, although it said: {error}")


def _create(plan: Plan, sagemaker: SageMaker, watch: EndpointWatch, clock: Clock) -> bool:
    """Start the creation of the endpoint; False where another deployment has created it in the meantime."""
    sagemaker.record_previous(plan.name, "")
    try:
        create = partial(sagemaker.create_endpoint, plan.endpoint, plan.name, plan.owner_tags)
        _begin(partial(until_seen, create, clock), watch)
    except _Unseen as error:
        raise UpdateNotFollowed(error, "") from error
    except AlreadyExists:
        log.info(f"endpoint {plan.endpoint} was created by another deployment in the meantime")
        return False
    log.info(f"creating endpoint {plan.endpoint}")
    return True


def _claim(endpoint: Endpoint, plan: Plan, sagemaker: SageMaker) -> None:
    """Require that the endpoint is that of the plan's model, and tag it so where it has no owner.

    The tags are read again here, because a deployment of another model may have created or tagged the
    endpoint since the step began. AddTags has no condition: of two models that are deployed for the first
    time to one endpoint without an owner, in the same second, both may pass.
    """
    tags = sagemaker.tags(endpoint.arn)
    _require_owner(plan.endpoint, tags, plan.owner_tags)
    if not plan.owner_tags.items() <= tags.items():
        sagemaker.tag(endpoint.arn, plan.owner_tags)


def has_begun(plan: Plan, sagemaker: SageMaker, clock: Clock = SYSTEM_CLOCK) -> bool:
    """Whether the endpoint runs the plan, or is on its way to it.

    Raises:
        AwsError: SageMaker refused.
    """
    return EndpointWatch(plan.endpoint, plan.name, sagemaker, clock, clock.now()).has_begun()


def rollback_when_served(
    plan: Plan, previous: str, sagemaker: SageMaker, timeout: float, clock: Clock = SYSTEM_CLOCK
) -> None:
    """Wait for the update to the plan to end, if it has begun, because SageMaker takes no other one before
    that, and then put the endpoint back as :func:`rollback` does; each may take ``timeout`` seconds.
    """
    watch = EndpointWatch(plan.endpoint, plan.name, sagemaker, clock, clock.now() + timeout)
    try:
        if watch.has_begun():
            watch.until_served(previous)
    except RolledBack as error:
        log.info(str(error))
    rollback(plan, previous, sagemaker, timeout, clock)


def rollback(
    plan: Plan, previous: str, sagemaker: SageMaker, timeout: float, clock: Clock = SYSTEM_CLOCK
) -> None:
    """Put an endpoint that runs the plan back to its previous configuration, unless it runs that already.

    Args:
        plan: the plan that it runs now.
        previous: the name of the configuration that it ran before.
        sagemaker: SageMaker as an identity of production sees it.
        timeout: the maximum time in seconds.
        clock: what time is and how it passes.

    Raises:
        Deleted: there is no endpoint any more.
        EndpointFailed: the endpoint runs another configuration by now and was not changed, or SageMaker could
            not update it.
        RolledBack: the previous configuration does not come into service any more.
        NotFound: the previous configuration does not exist any more.
        AwsError: SageMaker refused.
    """
    try:
        found = sagemaker.endpoint(plan.endpoint)
    except NotFound:
        raise Deleted(plan.endpoint) from None
    if found.status == "Deleting":
        raise Deleted(plan.endpoint)
    if found.config == previous and not found.pending_config:
        log.info(f"endpoint {plan.endpoint} runs {previous}")
        return
    if found.config != plan.name or found.pending_config:
        raise EndpointFailed(
            f"another program has updated endpoint {plan.endpoint} to "
            f"{found.pending_config or found.config}, so it was not changed"
        )
    watch = EndpointWatch(plan.endpoint, previous, sagemaker, clock, clock.now() + timeout)
    _begin(lambda: sagemaker.update_endpoint(plan.endpoint, previous), watch)
    log.info(f"putting endpoint {plan.endpoint} back to {previous}")
    watch.until_served(plan.name)


def _changes_to(endpoint: Endpoint, config: str) -> bool:
    """Whether the running deployment ends in the configuration."""
    return config == endpoint.pending_config or (endpoint.status == "Creating" and endpoint.config == config)
