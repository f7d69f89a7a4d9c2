"""The training that a flow runs for: its place in S3, its request, and how it starts and fails."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from metaflow import current  # type: ignore[attr-defined]
from pydantic import JsonValue, ValidationError

from modelbuild import log
from modelbuild.aws.identity import session
from modelbuild.aws.storage import Storage
from modelbuild.contract import REQUEST_FILE, TrainingRequest, sha256_of_json, split_s3_uri
from modelbuild.errors import ConfigurationError, ModelbuildError, VerificationFailed
from modelbuild.flow.batch import check_resources
from modelbuild.settings import AwsSettings


def main(flow: Callable[[], object]) -> None:
    """Run a Metaflow flow's command line; what the user got wrong is one sentence and an exit code."""
    try:
        if {"run", "resume"} & set(sys.argv[1:]):
            _root(os.environ)
            bases = getattr(flow, "__mro__", ())
            check_resources(
                [name for base in bases for name, value in vars(base).items() if hasattr(value, "is_step")]
            )
        flow()
    except ModelbuildError as error:
        log.warn(str(error))
        sys.exit(error.exit_code)


def prefix(environ: Mapping[str, str], run_id: str) -> str:
    """The S3 prefix, without a slash at its end, below which this training writes.

    For a build it is ``ARTIFACTS``; a flow on its own writes below ``ARTIFACTS`` into a folder of its run.

    Raises:
        ConfigurationError: ``ARTIFACTS`` is not set, or not an S3 location.
    """
    root = _root(environ)
    return root if "MODEL_ID" in environ else f"{root}/{run_id}"


def _root(environ: Mapping[str, str]) -> str:
    root = environ.get("ARTIFACTS", "").rstrip("/")
    try:
        split_s3_uri(root)
    except ValueError as error:
        said = f"is {root!r}" if root else "is not set"
        raise ConfigurationError(
            f"ARTIFACTS {said}; set it to an S3 prefix of yours, such as s3://bucket/scratch/you."
        ) from error
    return root


def request(
    storage: Storage, artifacts: str, parameters: Mapping[str, JsonValue], environ: Mapping[str, str]
) -> TrainingRequest | None:
    """What the build asked for, or None for a flow on its own.

    Raises:
        ConfigurationError: the request cannot be read as one, or is that of another prefix.
        NotFound: there is no request in ``artifacts``.
        VerificationFailed: the flow runs with other parameters than the request has.
    """
    if "MODEL_ID" not in environ:
        return None
    uri = f"{artifacts}/{REQUEST_FILE}"
    try:
        asked = TrainingRequest.model_validate_json(storage.read(uri))
    except ValidationError as error:
        raise ConfigurationError(f"{uri} is not a training request: {error.errors()[0]['msg']}.") from error
    if found := asked.misplaced(artifacts):
        raise ConfigurationError(f"{uri} was not written by the train step of this build: {found}.")
    actual = sha256_of_json(dict(parameters))
    if actual != asked.parameters_sha256:
        raise VerificationFailed(
            f"The flow runs with parameters of SHA-256 {actual}, but {uri} asks for "
            f"{asked.parameters_sha256}; pass it the request's own parameters."
        )
    return asked


def storage() -> Storage:
    """S3 as this process's own identity sees it."""
    return Storage(session(AwsSettings()))


def current_request(parameters: Mapping[str, JsonValue]) -> TrainingRequest | None:
    """What this process's build asked for, or None for a flow on its own; see :func:`request`."""
    if "MODEL_ID" not in os.environ:
        return None
    return request(storage(), prefix(os.environ, str(current.run_id)), parameters, os.environ)


@contextmanager
def timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Note under ``name`` how many seconds the block takes."""
    start = time.monotonic()
    yield
    seconds[name] = round(time.monotonic() - start, 3)
