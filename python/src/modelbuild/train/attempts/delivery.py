"""Delivers the result of an attempt to its build, and records the delivery in S3."""

from __future__ import annotations

from modelbuild import log
from modelbuild.buildkite.access import ApiAccess
from modelbuild.callback.delivery import DEADLINE_SECONDS, Delivery, deliver
from modelbuild.callback.page import correct_page
from modelbuild.callback.rate_limiter import shared_rate_limiter
from modelbuild.contract import TrainingRequest, TrainingResult
from modelbuild.errors import AwsError, ModelbuildError, VerificationFailed
from modelbuild.store.attempts import Attempt
from modelbuild.store.model import ModelStore


def deliver_result(
    store: ModelStore,
    number: int,
    request: TrainingRequest,
    result: TrainingResult,
    access: ApiAccess,
    deadline: float = DEADLINE_SECONDS,
) -> str:
    """Deliver a result to its build and write ``delivered.json``; returns a line for the log.

    Args:
        store: the store of the model.
        number: the number of the attempt that has ended.
        request: the request of the training.
        result: the result of the attempt.
        access: the API of Buildkite.
        deadline: seconds after which the delivery fails.

    Raises:
        BuildkiteError: the result could not be delivered.
    """

    def outdated() -> bool:
        try:
            newest = store.job()
        except ModelbuildError as error:
            log.info(f"result: {error}")
            return False
        return newest is not None and newest.attempt > number

    own = store.attempt(number)
    rate_limiter = shared_rate_limiter(store.objects, store.prefix)

    def deliver_once() -> Delivery:
        return deliver(
            request, result, access=access, deadline=deadline, rate_limiter=rate_limiter, outdated=outdated
        )

    unblocked_by_flow = _was_unblocked(own)
    delivery = deliver_once()
    try:
        own.record_delivered(result, step_unblocked=delivery.unblocked)
    except AwsError as error:
        # The build has the result. Without the record, the next reconciliation only checks this training
        # again.
        log.info(f"result: {error}")
    if not delivery.unblocked and result.status == "succeeded":
        # A step that was retried before the record was written relies on this result. After any other result,
        # a retried step starts a new attempt.
        delivery = deliver_once()
    if delivery.end == "over" or (delivery.end == "before" and number > 1 and not unblocked_by_flow):
        # In the other cases notify writes the annotation, or a later attempt does, or there is no page. Where
        # this attempt's own flow has unblocked the step, notify may have shown the model by then.
        from modelbuild.train.submit import page

        body = page.ended(request, result, number, over=delivery.end == "over")
        style = "success" if result.status == "succeeded" else "error"
        correct_page(request, body, style, access=access, rate_limiter=rate_limiter)
    return delivery.summary


def _was_unblocked(attempt: Attempt) -> bool:
    """Whether the flow of this attempt, or an earlier start of its head, has unblocked the step."""
    try:
        return attempt.unblocked_step()
    except (AwsError, VerificationFailed) as error:
        log.info(f"result: {error}")
        return False
