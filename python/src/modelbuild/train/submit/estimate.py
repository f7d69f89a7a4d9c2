"""What a sweep would train and cost, before it is submitted."""

from __future__ import annotations

from pydantic import BaseModel, JsonValue

from modelbuild.contract import Manifest, TrainingRequest, parameters_by_name
from modelbuild.report.cost import Prices, cost, read_prices
from modelbuild.store.model import ModelStore
from modelbuild.store.objects import Objects
from modelbuild.store.pipeline import PipelineStore
from modelbuild.sweep import space

_SNAPSHOT_STEP = "start"


class Estimate(BaseModel):
    """The duration and the cost of a sweep, if each candidate takes what an earlier model took."""

    like_model: str
    seconds: float
    cost: float | None
    currency: str


class SweepPlan(BaseModel):
    """What a sweep trains; with method ``tpe``, the candidates of the first round and how many follow."""

    candidates: list[dict[str, JsonValue]]
    chosen_later: int
    offered: int
    estimate: Estimate | None
    """None if the pipeline has no model of this name yet."""


def plan_sweep(request: TrainingRequest, objects: Objects) -> SweepPlan | None:
    """What the sweep of a request would train; None for one training.

    Raises:
        AwsError: S3 refused.
    """
    sweep = request.sweep
    if sweep is None:
        return None
    defaults = parameters_by_name(request.parameters)
    known = space.candidates(sweep, defaults)
    later = max(0, (sweep.candidates or 0) - len(known)) if sweep.method == "tpe" else 0
    total = len(known) + later
    offered = min(sweep.offered, total)
    manifest = _newest(request, objects)
    return SweepPlan(
        candidates=[candidate.values for candidate in known],
        chosen_later=later,
        offered=offered,
        estimate=None
        if manifest is None
        else _estimate(manifest, total + offered, sweep.max_parallel, read_prices()),
    )


def _newest(request: TrainingRequest, objects: Objects) -> Manifest | None:
    """The newest model of the same name and pipeline."""
    root = request.artifacts.rsplit("/", 2)[0]
    store = PipelineStore(objects, root)
    stores = (ModelStore(objects, f"{root}/{request.model}/{one}") for one in store.ids(request.model))
    return next((found for one in stores if (found := one.manifest()) is not None), None)


def _estimate(manifest: Manifest, trainings: int, parallel: int, prices: Prices) -> Estimate:
    steps = [run for run in manifest.steps if run.step != _SNAPSHOT_STEP]
    known = [line.price for line in cost(steps, prices) if line.price is not None]
    seconds = sum(run.seconds for run in steps)
    return Estimate(
        like_model=f"{manifest.request.model} {manifest.request.model_id}",
        seconds=round(seconds * trainings / min(parallel, trainings), 1),
        cost=round(sum(known) * trainings, 4) if known else None,
        currency=prices.currency,
    )
