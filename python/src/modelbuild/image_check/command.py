"""Runs the checks of an image or of a server, and prints an outcome on each line."""

from __future__ import annotations

import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from types import FrameType

from pydantic import JsonValue, ValidationError
from pydantic_core import from_json

from modelbuild import log
from modelbuild.answers import Identity
from modelbuild.contract import CUSTOM_ATTRIBUTES_HEADER
from modelbuild.errors import ConfigurationError, VerificationFailed
from modelbuild.image_check import container_checks, server_checks
from modelbuild.image_check.engine import find_engine
from modelbuild.image_check.model import CheckedModel, copy
from modelbuild.image_check.outcome import Outcome
from modelbuild.image_check.server import Answer, Server
from modelbuild.image_check.session import Session


def check_image(image: str, model: CheckedModel, program: str | None, seconds: float) -> bool:
    """Check an image; returns whether no check failed.

    Args:
        image: its name.
        model: what its containers get.
        program: docker or podman; by default the first that works.
        seconds: how long ``/ping`` may take to be answered with 200.

    Raises:
        ConfigurationError: no engine works, or the image is not on this machine.
    """
    signal.signal(signal.SIGTERM, _exit)
    engine = find_engine(program)
    engine.require_image(image)
    with tempfile.TemporaryDirectory(prefix="modelbuild-check-") as folder:
        original, scratch = copy(model, Path(folder) / "model"), Path(folder) / "changed"
        scratch.mkdir()
        return _report(
            container_checks.examine(container_checks.Image(engine, image, model, original, scratch, seconds))
        )


def check_server(url: str, model: CheckedModel, names: Mapping[str, str], seconds: float) -> bool:
    """Check a server that runs already; returns whether no check failed.

    Args:
        url: its address.
        model: what it serves.
        names: what the user gave of model, model_id and pipeline; the rest is what the answer to
            ``/ping`` has, or the first answer of ``/invocations``.
        seconds: how long ``/ping`` may take to be answered with 200.

    Raises:
        ConfigurationError: the address or a name cannot be right.
    """
    server = Server.at(url)
    return _report(_examine_server(server, url, model, names, seconds))


def _examine_server(
    server: Server, url: str, model: CheckedModel, names: Mapping[str, str], seconds: float
) -> Generator[Outcome, None, None]:
    if not server.await_health(seconds):
        text = (
            f"{url}/ping was not answered with 200 within {seconds:g} s; start the server, or raise --timeout"
        )
        yield Outcome("failed", "start", text)
        return
    yield from server_checks.examine(Session(server, model, _identity(server, names)), seconds)
    for subject in ("start", "SIGTERM", *container_checks.CHECKS):
        yield Outcome("not checked", subject, "give IMAGE in place of --url")


def read_instances(texts: Sequence[str]) -> list[JsonValue]:
    """The instances that the user gave, each as JSON.

    Raises:
        ConfigurationError: one is no JSON.
    """
    try:
        return [from_json(text) for text in texts]
    except ValueError as error:
        raise ConfigurationError(
            f"--instance is not JSON ({error}): put a text between double quotes, as in '\"It works.\"'"
        ) from error


def _identity(server: Server, names: Mapping[str, str]) -> Identity | None:
    """The identity that the user or /ping names; None where they do not name it completely."""
    try:
        found = {**_named_by(server.ping()), **names}
    except VerificationFailed:
        found = dict(names)
    try:
        return Identity.model_validate(found)
    except ValidationError as error:
        wrong = {str(one["loc"][0]): one for one in error.errors(include_url=False)}
    for name, value in names.items():
        if name in wrong:
            option = f"--{name.replace('_', '-')}"
            raise ConfigurationError(f"{option} is {value!r}: {wrong[name]['msg']}")
    return None


def _named_by(answer: Answer) -> dict[str, str]:
    """The names in header X-Amzn-SageMaker-Custom-Attributes of an answer."""
    attributes = answer.headers.get(CUSTOM_ATTRIBUTES_HEADER.lower(), "")
    pairs = dict(part.partition("=")[::2] for part in attributes.split(";"))
    keys = {"model": "MODEL", "model_id": "MODEL_ID", "pipeline": "PIPELINE"}
    return {name: pairs[key] for name, key in keys.items() if key in pairs}


def _report(outcomes: Generator[Outcome, None, None]) -> bool:
    count = Counter[str]()
    # Closed also when a signal comes between two checks: the generator holds a container.
    with closing(outcomes):
        for outcome in outcomes:
            log.info(str(outcome))
            count[outcome.status] += 1
    log.info(f"{count['ok']} ok, {count['failed']} failed, {count['not checked']} not checked")
    return not count["failed"]


def _exit(number: int, frame: FrameType | None) -> None:
    """End as Ctrl-C does, which removes the container."""
    del frame
    sys.exit(128 + number)
