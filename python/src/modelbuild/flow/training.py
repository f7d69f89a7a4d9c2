"""The training of a flow: its prefix in S3, its request, and the errors of its command line."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping

from pydantic import JsonValue

from modelbuild import log
from modelbuild.aws.identity import session
from modelbuild.aws.storage import Storage
from modelbuild.contract import StepEnvironment, TrainingRequest, sha256_of_json, split_s3_uri
from modelbuild.errors import ConfigurationError, ModelbuildError, VerificationFailed
from modelbuild.flow.batch import check_resources
from modelbuild.flow.process import environment
from modelbuild.settings import AwsSettings
from modelbuild.store.model import ModelStore


def main(flow: Callable[[], object], *, needs_artifacts: bool = False) -> None:
    """Run a Metaflow flow's command line; print a user's mistake as one sentence and exit with its code.

    Args:
        flow: the flow's class.
        needs_artifacts: whether the flow requires ``ARTIFACTS``, like a flow that takes a snapshot.
    """
    try:
        if {"run", "resume"} & set(sys.argv[1:]):
            own = environment.read()
            if needs_artifacts or own.model_id is not None:
                require_prefix(own.artifacts)
            check_resources(steps(flow))
        flow()
    except ModelbuildError as error:
        log.warn(str(error))
        sys.exit(error.exit_code)


def steps(flow: object) -> list[str]:
    """The names of a flow's steps.

    Raises:
        ConfigurationError: a step has the name of a method or an attribute that the flow inherits.
    """
    bases = getattr(flow, "__mro__", ())
    names = [name for base in bases for name, value in vars(base).items() if _is_step(value)]
    for base in bases[1:]:
        methods = {name for name, value in vars(base).items() if not _is_step(value)}
        attributes = {*inspect.get_annotations(base)} - methods
        for kind, taken in (("a method", methods), ("an attribute", attributes)):
            if found := sorted(taken.intersection(names)):
                raise ConfigurationError(
                    f"step {found[0]} has the name of {kind} of {base.__name__}: give the step another name"
                )
    return names


def _is_step(value: object) -> bool:
    # A parameter file of Metaflow answers each name with a proxy.
    return getattr(value, "is_step", None) is True


def prefix(own: StepEnvironment, run_id: str) -> str:
    """The S3 prefix, without a slash at its end, below which this training writes.

    For a build it is ``ARTIFACTS``. A flow on its own writes to a folder of its run below ``ARTIFACTS``, or
    to no prefix if that is not set.

    Raises:
        ConfigurationError: ``ARTIFACTS`` is no S3 location, or a build has none.
    """
    if own.model_id is not None:
        return require_prefix(own.artifacts)
    return f"{require_prefix(own.artifacts)}/{run_id}" if own.artifacts else ""


def require_prefix(text: str) -> str:
    """An S3 prefix without a slash at its end.

    Raises:
        ConfigurationError: ``text`` is no S3 prefix.
    """
    root = text.rstrip("/")
    try:
        split_s3_uri(root)
    except ValueError as error:
        setting = f"is {root!r}" if root else "is not set"
        raise ConfigurationError(
            f"ARTIFACTS {setting}; set it to an S3 prefix of yours, such as s3://bucket/scratch/you."
        ) from error
    return root


def require_request(store: ModelStore, parameters: Mapping[str, JsonValue]) -> TrainingRequest:
    """The request of the build, which must have these parameters.

    Raises:
        NotFound: there is no request.
        VerificationFailed: the request is invalid or of another prefix, or has other parameters.
    """
    request = store.request()
    actual = sha256_of_json(dict(parameters))
    if actual != request.parameters_sha256:
        raise VerificationFailed(
            f"The flow runs with parameters of SHA-256 {actual}, but {store.request_uri} asks for "
            f"{request.parameters_sha256}; pass it the request's own parameters."
        )
    return request


def storage() -> Storage:
    """S3 with the identity of this process."""
    return Storage(session(AwsSettings()))
