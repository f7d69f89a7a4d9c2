"""Makes the entries of the tables from the records of models, sweeps and experiments."""

from __future__ import annotations

from collections.abc import Mapping

from modelbuild.contract import (
    Leaderboard,
    LeaderboardRow,
    Manifest,
    Metric,
    TrainingRequest,
    parameters_by_name,
)
from modelbuild.contract.report import Interval
from modelbuild.experiments.models import Experiment
from modelbuild.leaderboard.records import Entry, EvaluationRows


def of_manifest(manifest: Manifest) -> tuple[EvaluationRows, Entry]:
    """A model on the rows of its evaluation."""
    evaluation = manifest.evaluation
    rows = EvaluationRows(
        sha256=evaluation.dataset_sha256,
        kind="test",
        rows=evaluation.overall.rows,
        rows_are=evaluation.rows_are,
        metric=evaluation.metric(evaluation.primary),
    )
    entry = _of_request(manifest.request).model_copy(
        update={
            "created_at": manifest.created_at,
            "wandb_url": manifest.wandb.url,
            "data_sha256": manifest.data.sha256,
            "metrics": evaluation.overall.metrics,
        }
    )
    return rows, entry


def of_sweep(
    board: Leaderboard, request: TrainingRequest, offered: Mapping[str, Entry]
) -> tuple[EvaluationRows, list[Entry]]:
    """The candidates of a sweep that can be ranked, on its validation rows.

    Args:
        board: the leaderboard of the sweep.
        request: the request of the sweep.
        offered: the models of the candidates that have become one, by their ids.
    """
    metric = Metric(
        name=board.metric,
        title=board.metric_title,
        better="higher" if board.higher_is_better else "lower",
    )
    rows = EvaluationRows(sha256=board.validation_sha256, kind="validation", metric=metric)
    sweep = _of_request(request)
    # A leaderboard has no time of its own; its models were made at about the same time.
    ended = max((entry.created_at for entry in offered.values()), default="")
    data = next((entry.data_sha256 for entry in offered.values()), "")
    ranked = [row for row in board.rows if row.status == "succeeded" and row.metric is not None]
    return rows, [
        sweep.model_copy(
            update={
                "kind": "candidate",
                "name": f"{board.model} {row.model_id}",
                "model_id": row.model_id,
                "created_at": ended,
                "parameters": {**sweep.parameters, **row.values},
                "metrics": {**row.metrics, board.metric: row.metric},
                "interval": _interval(row),
                "data_sha256": data,
                "wandb_url": model.wandb_url if (model := offered.get(row.model_id)) else "",
            }
        )
        for row in ranked
    ]


def with_interval_of_sweep(entry: Entry, board: Leaderboard | None) -> Entry:
    """A model with the interval on the test rows, if its sweep has computed it."""
    selection = board.selection if board else None
    if selection is None or selection.model_id != entry.model_id:
        return entry
    if selection.low is None or selection.high is None:
        return entry
    return entry.model_copy(update={"interval": Interval(low=selection.low, high=selection.high)})


def of_experiment(experiment: Experiment) -> Entry:
    """An experimental run of W&B."""
    return Entry(
        kind="experiment",
        name=experiment.name,
        model=experiment.model,
        branch=experiment.branch,
        commit=experiment.commit,
        creator=experiment.creator,
        created_at=experiment.created,
        wandb_url=experiment.url,
        data_sha256=experiment.data_sha256,
        parameters=parameters_by_name(experiment.parameters),
        metrics=dict(experiment.metrics),
    )


def _of_request(request: TrainingRequest) -> Entry:
    build = request.build
    return Entry(
        kind="model",
        name=f"{request.model} {request.model_id}",
        model=request.model,
        model_id=request.model_id,
        branch=build.branch,
        commit=build.commit,
        creator=build.creator,
        build_url=build.url,
        parameters=parameters_by_name(request.parameters),
        metrics={},
    )


def _interval(row: LeaderboardRow) -> Interval | None:
    return None if row.low is None or row.high is None else Interval(low=row.low, high=row.high)
