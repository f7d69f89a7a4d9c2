"""How a training ended: written once; whichever program writes first decides, and the others repeat it."""

from __future__ import annotations

from collections.abc import Mapping

from modelbuild import log
from modelbuild.contract import TrainingResult
from modelbuild.errors import AwsError
from modelbuild.store.attempts import Attempt
from modelbuild.train.head import diagnosis


def write_result_once(attempt: Attempt, result: TrainingResult, environ: Mapping[str, str]) -> TrainingResult:
    """The result as it lies in S3 afterwards: this one without secrets, unless there was one already.

    Where S3 refuses it is this one, too: a build that waits for ever is worse than a result that only the
    build has.
    """
    if result.reason:
        result = result.model_copy(update={"reason": diagnosis.sentence(result.reason, environ)})
    try:
        return attempt.write_result_once(result)
    except AwsError as error:
        log.say(f"result: {error}")
        return result
