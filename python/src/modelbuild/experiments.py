"""The experimental runs in W&B: those that were made with the parameters of a training, or all of a project.

W&B's SDK asks W&B in a process of its own, which is killed when its time is up: a slow W&B does not hold the
step. :func:`main` is that process: it reads a :class:`Query` from standard input and writes an
:class:`Answer` to standard output.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

from pydantic import Field, JsonValue, ValidationError

from modelbuild import log
from modelbuild.bearer import usable_address
from modelbuild.contract import PREDICTIONS_FILE, WANDB_ENTITY, Manifest, Metric, Sha256, split_s3_uri
from modelbuild.contract.record import Record, Text
from modelbuild.errors import ConfigurationError
from modelbuild.process import startup
from modelbuild.settings.notify import WandbSettings

WANDB_API = "https://api.wandb.ai"
_BASE_URL = "WANDB_BASE_URL"

SECONDS = 20.0
"""How long W&B may take."""

# It imports the same modules as this process, whatever the variables for Python say.
_START = f"import sys; sys.path[:] = sys.argv[1:]; from {__name__} import main; main()"
_FAILED = "W&B was not asked, because the process that asks it failed"
_RUNS_AT_ONCE = 100
_MOST_RUNS = 500
_REASON_CHARACTERS = 200
# An SDK that cannot reach W&B says so before its process is killed.
_SHARE_OF_THE_SDK = 0.5


class Query(Record):
    """The experiments to look for."""

    entity: str | None
    """The team or user whose runs they are; None for the default of the API key."""
    project: str
    """W&B's project."""
    parameters_sha256: Sha256 | None = None
    """The hash of the parameters that they have in common with the model; None for any parameters."""
    dataset_sha256: Sha256 | None = None
    """The hash of the evaluation rows of the model; None for any rows."""
    primary: Metric | None = None
    """The metric by which they are compared with the model; None for the newest first, whatever they have."""
    most: int = Field(20, ge=1, le=1000)
    """How many runs are read, the newest first."""


class Experiment(Record):
    """A finished experimental run."""

    name: Text
    url: Text
    created: Text
    """When it began, as W&B says it: ``2026-11-23T10:00:00Z``."""
    metrics: dict[Text, float]
    """The numbers of its summary, with the names of :func:`modelbuild.flow.tracking.run.summary`."""
    dataset_sha256: Text
    """The hash of its evaluation rows; empty if it is not known."""
    predictions: Text = ""
    """Where its predictions should be in S3; empty if it is not known."""
    model: Text = ""
    commit: Text = ""
    branch: Text = ""
    creator: Text = ""
    """W&B's name of the user who made the run."""
    data_sha256: Text = ""
    parameters: dict[Text, JsonValue] = Field(default_factory=dict)


class Answer(Record):
    """The experiments, those on the same evaluation rows first, and of these the best one first."""

    experiments: tuple[Experiment, ...] = ()
    unavailable: tuple[Text, ...] = ()
    """Sentences about experiments that could not be read, or about W&B."""


Find: TypeAlias = Callable[[Manifest], Answer]
"""Finds the experiments with the parameters of a model."""


@contextmanager
def finding(settings: WandbSettings | None, environ: Mapping[str, str]) -> Iterator[Find]:
    """What finds experiments as option ``wandb`` says; without the option there are none.

    Args:
        settings: the option.
        environ: the variables of the step's process, among them the key of W&B.
    """
    if settings is None:
        yield lambda _: Answer()
        return
    key = environ.get(settings.api_key, "").strip()
    if not key:
        yield lambda _: _unavailable(f"variable {settings.api_key} is not set (option wandb.api-key)")
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
    """Start the process that asks W&B, and end it with the block; yields what asks it, once.

    The SDK takes a second to load: a caller that starts the process early waits less for the answer. Whatever
    prevents an answer is a sentence of it.

    Args:
        base_url: the address of W&B's API, to which the key is sent. It must come from the step's own
            settings, never from what a training wrote.
        api_key: the key; empty for none.
        named: what has the address, for a sentence about it.
        seconds: how long the answer to the query may take.
    """
    try:
        usable_address(base_url, named, WANDB_API)
    except ConfigurationError as error:
        sentence = f"W&B was not asked, because {error}"
        yield lambda _: _unavailable(sentence)
        return
    with tempfile.TemporaryDirectory(prefix="modelbuild-", ignore_cleanup_errors=True) as folder:
        try:
            process = subprocess.Popen(
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
            yield lambda _: _unavailable(_FAILED)
            return
        with process:
            try:
                yield lambda query: _ask_process(process, query, seconds)
            finally:
                process.kill()


def _ask_process(process: subprocess.Popen[str], query: Query, seconds: float) -> Answer:
    try:
        return Answer.model_validate_json(process.communicate(query.to_json(), seconds)[0])
    except subprocess.TimeoutExpired:
        return _unavailable(f"W&B did not answer within {seconds:.0f} seconds")
    except (OSError, ValidationError):
        return _unavailable(_FAILED)


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


def _unavailable(sentence: str) -> Answer:
    return Answer(unavailable=(f"Experiments: {sentence}.",))


def _ask() -> Answer:
    """Load W&B's SDK and log in, and then answer the query of standard input."""
    try:
        import wandb
    except ImportError:
        return _unavailable("the plugins' environment lacks the package wandb")
    try:
        if not wandb.login(prompt=False):
            return _unavailable("this step has no key of W&B")
        api = wandb.Api()
        query = Query.model_validate_json(sys.stdin.read())
        same = {"config.parameters_sha256": query.parameters_sha256} if query.parameters_sha256 else {}
        found = api.runs(
            f"{query.entity}/{query.project}" if query.entity else query.project,
            filters={**same, "jobType": "experiment"},
            order="-created_at",
            per_page=min(query.most, _RUNS_AT_ONCE),
            lazy=False,
        )
        return _answer(query, [found[index] for index in range(min(len(found), query.most))])
    except Exception as error:  # noqa: BLE001 - whatever the SDK raises, the page has no experiments
        lines = log.redact(str(error)).strip().splitlines() or [type(error).__name__]
        return _unavailable(f"W&B did not give them ({lines[0][:_REASON_CHARACTERS].rstrip('.')})")


def _answer(query: Query, runs: list[Any]) -> Answer:
    experiments, unavailable = [], []
    for run in runs:
        asked = query.parameters_sha256 in (None, run.config.get("parameters_sha256"))
        # A server may ignore what it does not know in filters.
        if not asked or run.job_type != "experiment":
            continue
        found = _experiment(run)
        if run.state == "running":
            unavailable.append(f"Experiment {run.name} is still running.")
        elif query.primary is None or query.primary.name in found.metrics:
            experiments.append(found)
        elif run.state == "finished":
            unavailable.append(f"Experiment {run.name} has no {query.primary.title}.")
    if query.primary is not None:
        experiments = _best_first(experiments, query.primary, query.dataset_sha256)
    return Answer(experiments=tuple(experiments), unavailable=tuple(unavailable))


def _experiment(run: Any) -> Experiment:
    config = run.config

    def text(name: str) -> str:
        return str(config.get(name) or "")

    parameters = config.get("parameters")
    return Experiment(
        name=run.name,
        url=run.url,
        created=run.created_at,
        metrics=_numbers(run.summary._json_dict),
        dataset_sha256=text("evaluation_dataset_sha256"),
        predictions=_predictions(config.get("artifacts")),
        model=text("model"),
        commit=text("commit"),
        branch=text("branch"),
        creator=str(getattr(getattr(run, "user", None), "username", None) or ""),
        data_sha256=text("data_sha256"),
        parameters=parameters if isinstance(parameters, dict) else {},
    )


def _best_first(
    experiments: list[Experiment], primary: Metric, dataset_sha256: str | None
) -> list[Experiment]:
    """Those on the rows of the model first, and of these the best one first."""

    def rank(experiment: Experiment) -> tuple[bool, float]:
        gain = primary.gain(experiment.metrics[primary.name], 0.0)
        return experiment.dataset_sha256 != dataset_sha256, -gain

    return sorted(experiments, key=rank)


def _numbers(summary: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in summary.items()
        if name[:1] != "_" and type(value) in (int, float) and math.isfinite(value)
    }


def _predictions(artifacts: object) -> str:
    try:
        _, key = split_s3_uri(str(artifacts))
    except ValueError:
        return ""
    return f"{artifacts}/{PREDICTIONS_FILE}" if key else ""


def main() -> None:
    """Answer the query of standard input."""
    startup.skip_garbage_collection()
    # Whatever the SDK prints is no part of the answer.
    answer = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    with answer:
        answer.write(_ask().model_dump_json())
