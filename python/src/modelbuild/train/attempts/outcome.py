"""Writes the result of an attempt once: the first program that writes it decides."""

from __future__ import annotations

from modelbuild import log
from modelbuild.contract import TrainingResult
from modelbuild.errors import AwsError
from modelbuild.store.attempts import Attempt
from modelbuild.train.head import diagnosis


def write_result_once(attempt: Attempt, result: TrainingResult) -> TrainingResult:
    """Write the result without secrets, unless one exists; returns the result that is in S3 afterwards.

    If S3 refuses, this result is returned too: a build that waits for ever is worse than a result that only
    the build has.
    """
    if result.reason:
        result = result.model_copy(update={"reason": diagnosis.sentence(result.reason)})
    try:
        return attempt.write_result_once(result)
    except AwsError as error:
        log.info(f"result: {error}")
        return result
