"""Asks W&B for experimental runs, in a process of its own (:mod:`modelbuild.experiments.process`).

W&B's SDK runs in that process. The process is killed when its time is up, so a slow W&B does not hold the
step.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeAlias

from pydantic import ValidationError

from modelbuild.bearer import usable_address
from modelbuild.contract import WANDB_ENTITY, Manifest
from modelbuild.errors import ConfigurationError
from modelbuild.experiments import process
from modelbuild.experiments.models import Answer, Query, unavailable
from modelbuild.settings.notify import WandbSettings

WANDB_API = "https://api.wandb.ai"
_BASE_URL = "WANDB_BASE_URL"

SECONDS = 20.0
"""How long W&B may take."""

# It imports the same modules as this process, whatever the variables for Python say.
_START = f"import sys; sys.path[:] = sys.argv[1:]; from {process.__name__} import main; main()"
_FAILED = "W&B was not asked, because the process that asks it failed"
_MOST_RUNS = 500
# The SDK's part of the time: if it cannot reach W&B, it reports that before its process is killed.
_SHARE_OF_THE_SDK = 0.5


Find: TypeAlias = Callable[[Manifest], Answer]
"""Finds the experiments with the parameters of a model."""


@contextmanager
def finding(settings: WandbSettings | None, environ: Mapping[str, str]) -> Iterator[Find]:
    """Yields a function that finds experiments as option ``wandb`` says; without the option, it finds none.

    Args:
        settings: the option.
        environ: the variables of the step's process, among them the key of W&B.
    """
    if settings is None:
        yield lambda _: Answer()
        return
    key = environ.get(settings.api_key, "").strip()
    if not key:
        yield lambda _: unavailable(f"variable {settings.api_key} is not set (option wandb.api-key)")
        return
    base_url, named = settings.base_url, "option wandb.base-url"
    if base_url is None:
        base_url, named = environ.get(_BASE_URL) or WANDB_API, _BASE_URL
    with asking(base_url, key, named=named) as ask:
        yield lambda manifest: ask(_query(manifest, settings))


def of_project(project: str, environ: Mapping[str, str]) -> Answer:
    """All experiments of a project, the newest first; none where ``WANDB_API_KEY`` is not set.

    Args:
        project: W&B's project.
        environ: the variables of W&B: key, address and entity.
    """
    key = environ.get("WANDB_API_KEY", "").strip()
    if not key:
        return Answer()
    with asking(environ.get(_BASE_URL) or WANDB_API, key) as ask:
        return ask(Query(entity=environ.get(WANDB_ENTITY) or None, project=project, most=_MOST_RUNS))


def _query(manifest: Manifest, settings: WandbSettings) -> Query:
    request, evaluation = manifest.request, manifest.evaluation
    return Query(
        entity=settings.entity,
        project=settings.project or request.build.pipeline,
        parameters_sha256=request.parameters_sha256,
        dataset_sha256=evaluation.dataset_sha256,
        primary=evaluation.metric(evaluation.primary),
    )


@contextmanager
def asking(
    base_url: str, api_key: str, *, named: str = _BASE_URL, seconds: float = SECONDS
) -> Iterator[Callable[[Query], Answer]]:
    """Start the process that asks W&B, and end it with the block; yields a function that asks it one query.

    The SDK takes a second to load: a caller that starts the process early waits less for the answer. If
    something prevents an answer, the answer has a sentence about it.

    Args:
        base_url: the address of W&B's API, to which the key is sent. It must come from the step's own
            settings, never from what a training wrote.
        api_key: the key; empty for none.
        named: the option or variable that holds the address, for messages.
        seconds: how long the answer to the query may take.
    """
    try:
        usable_address(base_url, named, WANDB_API)
    except ConfigurationError as error:
        sentence = f"W&B was not asked, because {error}"
        yield lambda _: unavailable(sentence)
        return
    with tempfile.TemporaryDirectory(prefix="modelbuild-", ignore_cleanup_errors=True) as folder:
        try:
            child = subprocess.Popen(
                [sys.executable, "-I", "-X", "utf8", "-c", _START, *filter(None, sys.path)],
                env=_variables(base_url, api_key, folder, seconds),
                cwd=folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                # The SDK's own messages are for programs that call it.
                stderr=subprocess.DEVNULL,
                encoding="utf-8",
                errors="replace",
            )
        except OSError:
            yield lambda _: unavailable(_FAILED)
            return
        with child:
            try:
                yield lambda query: _ask_process(child, query, seconds)
            finally:
                child.kill()


def _ask_process(child: subprocess.Popen[str], query: Query, seconds: float) -> Answer:
    try:
        return Answer.model_validate_json(child.communicate(query.to_json(), seconds)[0])
    except subprocess.TimeoutExpired:
        return unavailable(f"W&B did not answer within {seconds:.0f} seconds")
    except (OSError, ValidationError):
        return unavailable(_FAILED)


def _variables(base_url: str, api_key: str, folder: str, seconds: float) -> Mapping[str, str]:
    """The variables of the process: the SDK writes to ``folder``, and gives up before it is killed."""
    return {
        **os.environ,
        _BASE_URL: base_url,
        "WANDB_API_KEY": api_key,
        "WANDB_SILENT": "true",
        "WANDB_ERROR_REPORTING": "false",
        "WANDB_HTTP_TIMEOUT": str(max(1, int(seconds * _SHARE_OF_THE_SDK))),
        "WANDB__GRAPHQL_RETRY_MAX": "1",
        "WANDB__GRAPHQL_RETRY_WAIT_MIN_SECONDS": "0.2",
        **dict.fromkeys(("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"), folder),
    }
