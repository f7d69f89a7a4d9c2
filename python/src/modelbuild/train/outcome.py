"""How a training ended: written once, then told; whoever comes first decides, and the rest repeat it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Literal

from pydantic import ValidationError

from modelbuild.aws.storage import NotFound, Storage
from modelbuild.contract import (
    DELIVERED_FILE,
    REQUEST_FILE,
    RESULT_FILE,
    TrainingRequest,
    TrainingResult,
)
from modelbuild.errors import AwsError, ConfigurationError, TrainingFailed
from modelbuild.train import diagnosis


def ended(status: Literal["failed", "cancelled"], reason: str) -> TrainingResult:
    """The result of a training that left no model."""
    return TrainingResult.model_validate({"training/status": status, "training/reason": reason})


def request_at(storage: Storage, artifacts: str) -> TrainingRequest:
    """What was asked for.

    Raises:
        NotFound: nothing was asked for there.
        ConfigurationError: another version of modelbuild asked for it.
    """
    uri = f"{artifacts}/{REQUEST_FILE}"
    try:
        return TrainingRequest.model_validate_json(storage.read(uri))
    except ValidationError as error:
        raise ConfigurationError(
            f"{uri} is not a request of this version of modelbuild: build the image of the head from the "
            "commit that is trained"
        ) from error


def stored(storage: Storage, artifacts: str) -> TrainingResult | None:
    """The result that lies in S3, if there is one.

    Raises:
        TrainingFailed: what lies there is no result.
    """
    uri = f"{artifacts}/{RESULT_FILE}"
    try:
        return TrainingResult.model_validate_json(storage.read(uri))
    except NotFound:
        return None
    except ValidationError as error:
        raise TrainingFailed(f"{uri} is not a result: the flow must write what the contract says") from error


def settle(
    storage: Storage, artifacts: str, result: TrainingResult, environ: Mapping[str, str]
) -> TrainingResult:
    """The result as it lies in S3 afterwards: this one without secrets, unless there was one already.

    Where S3 refuses it is this one, too: a build that waits for ever is worse than a result that only the
    build has.
    """
    if result.reason:
        clean = diagnosis.without_secrets(" ".join(result.reason.split()), environ)[:500]
        result = result.model_copy(update={"reason": clean})
    try:
        if storage.write_once(f"{artifacts}/{RESULT_FILE}", result.to_json().encode()):
            return result
        return stored(storage, artifacts) or result
    except TrainingFailed as error:
        return ended("failed", str(error))
    except AwsError as error:
        print(f"result: {error}", flush=True)
        return result


def tell(
    storage: Storage,
    artifacts: str,
    request: TrainingRequest,
    result: TrainingResult,
    environ: Mapping[str, str],
    deadline: float | None = None,
) -> None:
    """Deliver the result, and write down that nobody waits for it any more.

    Args:
        storage: where the result lies.
        artifacts: under which it lies.
        request: what was asked for.
        result: what is to be told.
        environ: where Buildkite's address and token are.
        deadline: seconds after which to give up, by default a day.

    Raises:
        BuildkiteError: Buildkite could not be told.
    """
    # The step that submits a training asks for its outcome, and tells nobody.
    from modelbuild import callback

    if deadline is None:
        deadline = callback.DEADLINE_SECONDS
    turns = callback.shared_turns(storage, artifacts)
    callback.deliver(request, result, environ=environ, deadline=deadline, turns=turns)
    note = json.dumps({"training/status": result.status}) + "\n"
    try:
        storage.write_once(f"{artifacts}/{DELIVERED_FILE}", note.encode())
    except AwsError as error:
        # The build knows: without the note, only the next reconciliation looks once more.
        print(f"result: {error}", flush=True)
