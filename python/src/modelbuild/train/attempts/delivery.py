"""Delivers the result of an attempt to its build, and notes in S3 that it was delivered."""

from __future__ import annotations

from collections.abc import Mapping

from modelbuild import callback, log
from modelbuild.aws.storage import Storage
from modelbuild.contract import DELIVERED_FILE, TrainingRequest, TrainingResult, attempt_prefix, document
from modelbuild.errors import AwsError, ModelbuildError
from modelbuild.train.attempts import attempt


def deliver_result(
    storage: Storage,
    number: int,
    request: TrainingRequest,
    result: TrainingResult,
    environ: Mapping[str, str],
    deadline: float = callback.DEADLINE_SECONDS,
) -> str:
    """Deliver a result to its build and write ``delivered.json``; the answer says for people how it went.

    Args:
        storage: where the result lies.
        number: the number of the attempt that has ended.
        request: the request of the training.
        result: the result of the attempt.
        environ: where Buildkite's address and token are.
        deadline: seconds after which to give up.

    Raises:
        BuildkiteError: Buildkite could not be told.
    """

    def outdated() -> bool:
        try:
            newest = attempt.recorded(storage, request.artifacts)
        except ModelbuildError as error:
            log.say(f"result: {error}")
            return False
        return newest is not None and newest.attempt > number

    turns = callback.shared_rate_limiter(storage, request.artifacts)

    def deliver() -> callback.Delivery:
        return callback.deliver(
            request, result, environ=environ, deadline=deadline, turns=turns, outdated=outdated
        )

    told = deliver()
    note = document({"training/status": result.status})
    try:
        storage.write_once(f"{attempt_prefix(request.artifacts, number)}/{DELIVERED_FILE}", note.encode())
    except AwsError as error:
        # The build has the result. Without the note, the next reconciliation looks at this training once
        # more.
        log.say(f"result: {error}")
    if not told.unblocked and result.status == "succeeded":
        # A train step that was retried before the note was written relies on this result. After any other
        # result, a retried step makes a new attempt.
        told = deliver()
    if told.end in ("before", "over"):
        # In the other cases notify writes the annotation, a later attempt has it, or there is no page.
        from modelbuild.train.submit import page

        body = page.ended(request, result, number, over=told.end == "over")
        style = "success" if result.status == "succeeded" else "error"
        callback.correct_page(request, body, style, environ=environ, turns=turns)
    return told.said
