"""Finds a model of a pipeline by its id."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from modelbuild.contract import LeaderboardRow, Record, TrainingRequest
from modelbuild.errors import ConfigurationError, VerificationFailed
from modelbuild.handoff.candidates import candidate_request
from modelbuild.store.model import ModelStore
from modelbuild.store.pipeline import PipelineStore, is_model_id
from modelbuild.store.sweep import SweepStore

_NAMED_MODELS = 5


class CandidatePlace(Record):
    """The place of a candidate on the leaderboard of its sweep, which for some has no rank.

    Attributes:
        row: its row.
        candidates: how many candidates the sweep has.
        metric_title: of the objective.
    """

    row: LeaderboardRow
    candidates: int
    metric_title: str


@dataclass(frozen=True)
class FoundModel:
    """A model, or a candidate of a sweep that did not become one.

    Attributes:
        store: its files; a candidate that is not offered has none.
        request: what it was trained with.
        candidate: its place on the leaderboard of its sweep; None for other models, and before there is one.
    """

    store: ModelStore
    request: TrainingRequest
    candidate: CandidatePlace | None = None


def find_model(pipeline: PipelineStore, model: str | None, model_id: str) -> FoundModel:
    """The model with its request, which for a candidate must be the one that its sweep's request makes.

    Args:
        pipeline: where the models lie.
        model: the model's name; None for the only one that has this id.
        model_id: the model's id.

    Raises:
        ConfigurationError: there is no such model, or several have this id.
        VerificationFailed: the candidate's request, or its place on the leaderboard, is not of the sweep.
        AwsError: S3 refused.
    """
    if not is_model_id(model_id):
        raise ConfigurationError(
            f"{model_id!r} is no model id: give the number of the build that made the model, such as 1234"
        )
    names = pipeline.models() if model is None else [model]
    stores = {name: pipeline.model(name, model_id) for name in names}
    candidates = {name: _candidate(pipeline, name, model_id) for name in names}
    found = [name for name, store in stores.items() if store.has_request() or candidates[name]]
    if len(found) > 1:
        raise ConfigurationError(
            f"models {', '.join(found)} of {pipeline.root} have id {model_id}: say which with --model"
        )
    if not found:
        raise ConfigurationError(
            f"there is no model {model_id if model is None else f'{model} {model_id}'} in {pipeline.root}: "
            f"{_recorded_models(pipeline, model)}"
        )
    name, store, candidate = found[0], stores[found[0]], candidates[found[0]]
    sweep, is_candidate, number = model_id.partition(".")
    if not is_candidate:
        return FoundModel(store, store.request())
    of_sweep = pipeline.model(name, sweep)
    return FoundModel(store, _candidate_request(of_sweep, store, int(number), candidate), candidate)


def _candidate_request(
    of_sweep: ModelStore, store: ModelStore, number: int, place: CandidatePlace | None
) -> TrainingRequest:
    """The request that the sweep makes for a candidate.

    A flow can write the candidate's own request, and the leaderboard, but not the request of the sweep.
    """
    own = store.find_request()
    if place is not None:
        leaderboard = SweepStore(of_sweep.objects, of_sweep.prefix).leaderboard_uri
        values, source = place.row.values, f"candidate {place.row.model_id} in {leaderboard}"
    else:
        values, source = ({} if own is None else own.swept), store.request_uri
    request = candidate_request(of_sweep.request(), number, values, source)
    if own not in (None, request):
        raise VerificationFailed(
            f"{store.request_uri} is not the request that {of_sweep.request_uri} makes with the values of "
            f"{source}: the flow must not change it; start a new build"
        )
    return request


def _candidate(pipeline: PipelineStore, model: str, model_id: str) -> CandidatePlace | None:
    """The candidate of this id, or None if there is no such candidate, or its sweep has ranked none yet."""
    sweep, is_candidate, _ = model_id.partition(".")
    store = pipeline.model(model, sweep)
    board = SweepStore(store.objects, store.prefix).leaderboard() if is_candidate else None
    row = next((row for row in board.rows if row.model_id == model_id), None) if board else None
    if board is None or row is None:
        return None
    return CandidatePlace(row=row, candidates=len(board.rows), metric_title=board.metric_title)


def _recorded_models(pipeline: PipelineStore, model: str | None) -> str:
    """A text that lists the pipeline's models, the newest of each name first."""
    names = pipeline.models()
    shown = []
    for name in [model] if model in names else names:
        ids = (one for one in pipeline.ids(str(name)) if pipeline.model(str(name), one).has_request())
        newest = list(islice(ids, _NAMED_MODELS + 1))
        more = ", …" if len(newest) > _NAMED_MODELS else ""
        shown += [f"{name} {', '.join(newest[:_NAMED_MODELS])}{more}"] if newest else []
    if not shown:
        return "no model lies there, so correct --artifacts or the credentials' account"
    return f"it has {'; '.join(shown)}"
