"""How a training ended: written once; whoever comes first decides, and the rest repeat it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import ValidationError

from modelbuild import log
from modelbuild.aws.storage import NotFound, Storage
from modelbuild.contract import REQUEST_FILE, RESULT_FILE, TrainingRequest, TrainingResult
from modelbuild.errors import AwsError, ConfigurationError
from modelbuild.train.head import diagnosis


def unsuccessful(status: Literal["failed", "cancelled"], reason: str) -> TrainingResult:
    """The result of a training that left no model."""
    return TrainingResult.model_validate({"training/status": status, "training/reason": reason})


def read_request(storage: Storage, artifacts: str) -> TrainingRequest:
    """What was asked for.

    Raises:
        NotFound: nothing was asked for there.
        ConfigurationError: another version of modelbuild asked for it, or it belongs elsewhere.
    """
    uri = f"{artifacts}/{REQUEST_FILE}"
    try:
        request = TrainingRequest.model_validate_json(storage.read(uri))
    except ValidationError as error:
        raise ConfigurationError(
            f"{uri} is not a request of this version of modelbuild: build the image of the head from the "
            "commit that is trained"
        ) from error
    require_prefix(request, artifacts)
    return request


def read_request_of_any_version(storage: Storage, artifacts: str) -> TrainingRequest:
    """The request, as far as this version of modelbuild knows it: enough to deliver a result to its build.

    Raises:
        NotFound: nothing was asked for there.
        ConfigurationError: it does not say whom to tell, or names the build of another prefix.
    """
    uri = f"{artifacts}/{REQUEST_FILE}"
    try:
        request = TrainingRequest.model_validate_json(storage.read(uri), extra="ignore")
    except ValidationError as error:
        raise ConfigurationError(f"{uri} is not a request of modelbuild: start a new build") from error
    require_prefix(request, artifacts)
    return request


def require_prefix(request: TrainingRequest, artifacts: str) -> None:
    """Refuse a request that lies under the prefix of another build.

    Raises:
        ConfigurationError: pipeline, model id, artifacts or source do not match the prefix.
    """
    if found := request.misplaced(artifacts):
        raise ConfigurationError(
            f"{artifacts}/{REQUEST_FILE} was not written by the train step of this build, because {found}: "
            "nothing is done for it; start a new build"
        )


def read_result(storage: Storage, artifacts: str) -> TrainingResult | None:
    """The result that lies in S3, if there is one; what is there and can't be read counts as a failure.

    Raises:
        AwsError: S3 refused.
    """
    uri = f"{artifacts}/{RESULT_FILE}"
    try:
        return TrainingResult.model_validate_json(storage.read(uri))
    except NotFound:
        return None
    except ValidationError:
        return unsuccessful("failed", f"{uri} is not a result: the flow must write what the contract says")


def write_result_once(
    storage: Storage, artifacts: str, result: TrainingResult, environ: Mapping[str, str]
) -> TrainingResult:
    """The result as it lies in S3 afterwards: this one without secrets, unless there was one already.

    Where S3 refuses it is this one, too: a build that waits for ever is worse than a result that only the
    build has.
    """
    if result.reason:
        result = result.model_copy(update={"reason": diagnosis.sentence(result.reason, environ)})
    try:
        if storage.write_once(f"{artifacts}/{RESULT_FILE}", result.to_json().encode()):
            return result
        return read_result(storage, artifacts) or result
    except AwsError as error:
        log.say(f"result: {error}")
        return result
