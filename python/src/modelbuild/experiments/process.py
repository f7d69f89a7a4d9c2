"""The process that asks W&B: :func:`main` reads a query from standard input, and writes an answer to standard
output.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from modelbuild import log
from modelbuild.contract import PREDICTIONS_FILE, Metric, split_s3_uri
from modelbuild.experiments.models import Answer, Experiment, Query, unavailable
from modelbuild.formats.validation import first_error
from modelbuild.process import startup

_RUNS_AT_ONCE = 100
_REASON_CHARACTERS = 200


def _ask() -> Answer:
    """Load W&B's SDK and log in, and then answer the query of standard input."""
    try:
        import wandb
    except ImportError:
        return unavailable("the plugins' environment lacks the package wandb")
    try:
        if not wandb.login(prompt=False):
            return unavailable("this step has no key of W&B")
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
        return unavailable(f"W&B did not give them ({lines[0][:_REASON_CHARACTERS].rstrip('.')})")


def _answer(query: Query, runs: list[Any]) -> Answer:
    experiments, sentences = [], []
    for run in runs:
        has_parameters = query.parameters_sha256 in (None, run.config.get("parameters_sha256"))
        # A server may ignore what it does not know in filters.
        if not has_parameters or run.job_type != "experiment":
            continue
        # One run that another program wrote, with values that no record takes, does not cost the others.
        try:
            found = _experiment(run)
            found.to_json()
        except (ValueError, AttributeError, OverflowError, TypeError) as error:
            sentences.append(f"Experiment {run.name} cannot be read ({_why(error)}).")
            continue
        if run.state == "running":
            sentences.append(f"Experiment {run.name} is still running.")
        elif query.primary is None or query.primary.name in found.metrics:
            experiments.append(found)
        elif run.state == "finished":
            sentences.append(f"Experiment {run.name} has no {query.primary.title}.")
    if query.primary is not None:
        experiments = _best_first(experiments, query.primary, query.dataset_sha256)
    return Answer(experiments=tuple(experiments), unavailable=tuple(sentences))


def _why(error: Exception) -> str:
    reason = first_error(error) if isinstance(error, ValidationError) else type(error).__name__
    return reason[:_REASON_CHARACTERS]


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
