from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import scoring as jobs
import trained
from memory import MemoryObjects
from modelbuild.comparison.models import Model, Scored, compare_models
from modelbuild.comparison.predictions import PredictionTable
from modelbuild.contract import Manifest
from modelbuild.contract.report import Comparison
from modelbuild.errors import AwsError, ModelbuildError
from modelbuild.flow import regression
from modelbuild.flow.evaluation import EvaluationRows
from modelbuild.notify import scoring
from modelbuild.notify.models import read_model
from modelbuild.notify.scoring import Scorer
from modelbuild.settings.notify import ScoreSettings

OLD, NEW = trained.truth_of(1_000), trained.truth_of(400, seed=9)
LIVE, OURS = trained.guesses([*OLD, *NEW], 0.7, 1), trained.guesses([*OLD, *NEW], 0.9, 2)
ROWS = len(OLD) + len(NEW)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs in memory need no time between two looks."""
    monkeypatch.setattr(scoring, "LOOK_SECONDS", 0.0)


def answers(first: int = 0) -> dict[str, str]:
    """What the live model answers to each row, by its input."""
    return {json.dumps(f"text of row-{first + at:06}"): label for at, label in enumerate(LIVE)}


@dataclass
class World:
    """A live model, one that was evaluated on more rows, and Batch."""

    lake: MemoryObjects = field(default_factory=MemoryObjects)
    run: jobs.Run = field(default_factory=lambda: jobs.answering(answers()))

    def __post_init__(self) -> None:
        live = trained.evaluated(OLD, LIVE[: len(OLD)])
        self.live = trained.store_model(self.lake, 1, live)
        self.lake.write(self.live.artifact.path, b"the model")
        more = trained.evaluated([*OLD, *NEW], OURS, baselines={"majority": ["positive"] * ROWS})
        self.ours = trained.store_model(self.lake, 2, more)
        self.batch = jobs.ScoringBatch(self.lake, self.run)

    def models(self) -> tuple[Model, Model]:
        """Both, as notify reads them."""
        ours, _ = read_model(self.ours, self.lake)
        live, _ = read_model(self.live, self.lake, self.ours)
        return ours, live

    def score(self, **options: Any) -> Scored | None:
        """What notify's step finds."""
        return Scorer(ScoreSettings(**options), self.lake, lambda: self.batch)(*self.models())

    def comparison(self, **options: Any) -> Comparison:
        """The comparison that the page shows."""
        return compare_models("live", *self.models(), self.score(**options))


def test_all_rows_are_compared_once_the_live_model_has_scored_them() -> None:
    """The figures are those of the live model on all rows, and the page names the job."""
    world = World()
    found = world.comparison()
    expected = trained.evaluated([*OLD, *NEW], LIVE).evaluation.overall.metrics
    assert found.rows == ROWS
    assert found.metrics["macro_f1"].other == pytest.approx(expected["macro_f1"])
    [job] = world.batch.submitted.values()
    assert found.reason == f"on all 1,400 rows, which job {job['name']} scored with the live model"
    assert found.outcome == "better"


def test_the_job_is_the_live_models_own_server() -> None:
    """It runs the image that serves the model, by the command of serving images, with tags of this build."""
    world = World()
    world.score()
    [job] = world.batch.submitted.values()
    assert str(job["name"]).startswith("score-comments-sentiment-1-")
    assert job == {
        "name": job["name"],
        "queue": "modelbuild-default",
        "definition": "modelbuild-score of serve:1",
        "command": ("score",),
        "timeout": 3600,
        "tags": {
            "modelbuild:pipeline": "comments",
            "modelbuild:model": "sentiment",
            "modelbuild:model-id": "2",
        },
    }


def test_a_retried_step_finds_the_scores() -> None:
    """What was scored is not scored again."""
    world = World()
    first = world.comparison()
    assert world.comparison() == first
    assert len(world.batch.submitted) == 1


def test_another_model_with_the_same_rows_takes_no_job() -> None:
    """Scores belong to the live model and the rows, whichever build asked for them first."""
    world = World()
    first = world.comparison()
    again = trained.evaluated([*OLD, *NEW], trained.guesses([*OLD, *NEW], 0.8, 3))
    world.ours = trained.store_model(world.lake, 3, again)
    assert world.comparison().reason == first.reason
    assert len(world.batch.submitted) == 1


def test_a_retried_step_attaches_to_the_job_that_runs() -> None:
    """A step that waited for too long says so; its successor waits for the same job."""
    world = World()
    world.batch.statuses = ["RUNNABLE"] * 3
    clock = iter([0.0, 0.5, 2.0])
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("modelbuild.notify.scoring.time.monotonic", lambda: next(clock))
        found = world.comparison(timeout=1)
    [job] = world.batch.submitted.values()
    assert found.reason == "on the 1,000 of 1,400 rows that it was evaluated on as well"
    assert found.unscored == (f"job {job['name']} is RUNNABLE after 1 s; retry this step when it has ended")
    assert world.comparison().rows == ROWS
    assert len(world.batch.submitted) == 1


def test_a_job_that_failed_is_repeated_by_the_next_step() -> None:
    """The reason is Batch's, and the rows that both models know are compared."""

    def killed(*_: object) -> None:
        raise ModelbuildError("OutOfMemoryError: Container killed due to memory usage")

    world = World(run=killed)
    found = world.comparison()
    [job] = world.batch.submitted.values()
    assert found.rows == len(OLD)
    assert found.unscored == (
        f"job {job['name']} failed (OutOfMemoryError: Container killed due to memory usage); see its log"
    )
    world.comparison()
    assert len(world.batch.submitted) == 2


def test_a_model_that_does_not_take_the_rows_is_compared_on_shared_ones() -> None:
    """The server's own reason is on the page, and no other job tries again."""
    world = World(run=jobs.answering({}, problem="the model does not take row 7, which has no field 'area'"))
    found = world.comparison()
    assert found.rows == len(OLD)
    assert found.unscored == "the model does not take row 7, which has no field 'area'"
    assert world.comparison() == found
    assert len(world.batch.submitted) == 1


def test_without_a_shared_row_the_reason_is_said() -> None:
    """Models that cannot be compared say why, and why scoring did not help."""
    world = World(run=jobs.answering({}, problem="it is broken"))
    other = trained.evaluated(NEW, OURS[: len(NEW)], first=10_000)
    world.ours = trained.store_model(world.lake, 3, other)
    found = world.comparison()
    assert found.outcome == "not comparable"
    assert (found.reason, found.unscored) == ("it was evaluated on 1,000 other rows", "it is broken")


def test_rows_without_a_shared_one_are_compared_when_scored() -> None:
    """The newest evaluation rows decide, whatever the live model was evaluated on."""
    world = World(run=jobs.answering({**answers(), **answers(first=10_000)}))
    other = trained.evaluated([*OLD, *NEW], OURS, first=10_000)
    world.ours = trained.store_model(world.lake, 3, other)
    assert world.comparison().rows == ROWS


def test_a_server_that_answers_otherwise_than_recorded_is_not_believed() -> None:
    """Rows with a recorded prediction are scored again: another answer than the flow's is no comparison."""
    turned = dict.fromkeys(answers(), "neutral")
    world = World(run=jobs.answering(turned))
    found = world.comparison()
    assert found.rows == len(OLD)
    assert re.fullmatch(
        r"its server answers \d+ of 200 rows otherwise than its flow recorded", found.unscored
    )


def test_scores_of_other_rows_are_not_believed() -> None:
    """What lies at the place of the scores must be of this model and of these rows."""
    world = World()
    world.score()
    [uri] = [uri for uri in world.lake.objects if uri.endswith("scores.json")]
    written = json.loads(world.lake.read(uri))
    world.lake.write(uri, json.dumps({**written, "rows_sha256": "0" * 64}).encode())
    assert "is of another model or of other rows" in world.comparison().unscored
    world.lake.write(uri, json.dumps({**written, "predictions": ["neutral"]}).encode())
    assert "has 1 predictions for 1,600 rows" in world.comparison().unscored
    world.lake.write(uri, json.dumps({**written, "predictions": [0.5] * 1_600}).encode())
    assert "with values of another type than this model" in world.comparison().unscored
    world.lake.write(uri, b"{}")
    assert "is not a scoring of this version" in world.comparison().unscored


def test_what_batch_refuses_is_a_reason() -> None:
    """A missing permission costs the comparison on all rows, and not the page."""
    world = World()

    def refuse() -> Any:
        raise AwsError("could not set up a client for Batch (AccessDenied): allow it")

    scorer = Scorer(ScoreSettings(), world.lake, refuse)
    scored = scorer(*world.models())
    assert scored == Scored(problem="could not set up a client for Batch (AccessDenied): allow it")


def test_a_stack_without_the_definition_is_named() -> None:
    """A user with a stack from before jobs could score learns what to do."""
    world = World()
    world.batch.definitions.deployed = False
    assert world.comparison().unscored.endswith(
        "there is no job definition modelbuild-score in us-east-1: deploy infra/training.yaml again"
    )


def test_a_model_that_was_deleted_is_not_asked_for() -> None:
    """No machine is started for a model whose archive is gone."""
    world = World()
    world.lake.delete(world.live.artifact.path)
    assert world.comparison().unscored.endswith("model.tar.gz is not there any more")
    assert not world.batch.submitted


def with_inputs(model: Model, *, kept: bool) -> Model:
    """A model whose predictions have the inputs, or not."""
    assert model.predictions is not None
    table = model.predictions.table
    return replace(model, predictions=PredictionTable(table if kept else table.drop_columns(["input"])))


def test_private_inputs_cannot_be_scored() -> None:
    """Where the predictions hold no inputs there is nothing to send, and the page says so."""
    world = World()
    ours, live = world.models()
    scored = Scorer(ScoreSettings(), world.lake, lambda: world.batch)(with_inputs(ours, kept=False), live)
    assert scored == Scored(problem="the predictions of this model do not hold the inputs of the rows")
    assert not world.batch.submitted


def test_a_metric_of_the_flow_alone_needs_no_job() -> None:
    """Predictions that do not give the recorded metric say nothing about another model by it."""
    world = World()
    ours, live = world.models()
    quality = ours.evaluation.overall
    overall = quality.model_copy(update={"metrics": {**quality.metrics, "macro_f1": 0.123}})
    evaluation = ours.evaluation.model_copy(update={"overall": overall})
    other = replace(ours, manifest=ours.manifest.model_copy(update={"evaluation": evaluation}))
    scored = Scorer(ScoreSettings(), world.lake, lambda: world.batch)(other, live)
    assert scored == Scored(problem="only its flow can compute macro-F1 of the predictions")
    assert not world.batch.submitted


def test_without_recorded_inputs_the_answers_are_taken_as_they_are() -> None:
    """A live model whose predictions hold no inputs has no rows by which its answers could be checked."""
    world = World()
    ours, live = world.models()
    scored = Scorer(ScoreSettings(), world.lake, lambda: world.batch)(ours, with_inputs(live, kept=False))
    assert scored is not None
    assert scored.predictions is not None
    assert len(scored.predictions) == ROWS


def test_numbers_are_compared_with_a_tolerance() -> None:
    """A regression's recorded prediction may be rounded otherwise by another CPU."""
    known = pa.chunked_array([pa.array([1.0, 200.0])])
    scoring._require_recorded(known, pa.array([1.0004, 200.1]))
    with pytest.raises(scoring._NotScored, match="answers 1 of 2 rows otherwise"):
        scoring._require_recorded(known, pa.array([1.0, 210.0]))


def test_a_server_may_answer_with_a_fraction_where_this_model_has_whole_numbers() -> None:
    """A regression of counts predicts whole numbers by chance, or only in one of the two versions."""
    lake, counts = MemoryObjects(), list(range(60))

    def stored(number: int, rows: int, predicted: list[Any]) -> Manifest:
        ids = [f"row-{at:06}" for at in range(rows)]
        found = regression.evaluate(
            EvaluationRows(ids=ids, inputs=[*ids], truth=counts[:rows], description=""),
            [{"value": value} for value in predicted],
            baselines={},
        )
        return trained.store_model(lake, number, found)

    live = stored(1, 40, [count + 0.5 for count in counts[:40]])
    ours, _ = read_model(stored(2, 60, counts), lake)
    lake.write(live.artifact.path, b"the model")
    answers = {json.dumps(f"row-{at:06}"): at + 0.5 for at in counts}
    batch = jobs.ScoringBatch(lake, jobs.answering(answers))
    read, _ = read_model(live, lake, ours.manifest)
    scored = Scorer(ScoreSettings(), lake, lambda: batch)(ours, read)
    assert scored is not None
    assert scored.problem == ""
    found = compare_models("live", ours, read, scored)
    assert (found.rows, found.metrics["rmse"].other) == (60, 0.5)


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_the_tolerance_is_a_part_of_the_spread_of_the_numbers(scale: float) -> None:
    """A server that answers one number to all rows is refused, however small or large the numbers are."""
    numbers = 20 + np.random.default_rng(0).normal(size=200)
    known = pa.chunked_array([pa.array(numbers * scale)])
    scoring._require_recorded(known, pa.array((numbers * scale).astype(np.float32), pa.float64()))
    for wrong in (0.0, 20.0):
        with pytest.raises(scoring._NotScored, match="of 200 rows otherwise"):
            scoring._require_recorded(known, pa.array([wrong * scale] * 200))


def fewer_rows(world: World) -> Manifest:
    """A model that was evaluated on some of the live model's rows."""
    return trained.store_model(world.lake, 3, trained.evaluated(OLD[:500], OURS[:500]))


def same_rows(world: World) -> Manifest:
    """A model that was evaluated on the live model's rows."""
    return trained.store_model(world.lake, 3, trained.evaluated(OLD, OURS[: len(OLD)]))


@pytest.mark.parametrize("made", [fewer_rows, same_rows])
def test_nothing_is_scored_where_no_answer_is_missing(made: Any) -> None:
    """Where the live model's recorded predictions are enough, no job is submitted."""
    world = World()
    world.ours = made(world)
    assert world.score() is None
    assert not world.batch.submitted


def test_without_time_to_wait_nothing_is_scored() -> None:
    """With a timeout of 0 the rows that both models know are compared, as the page says."""
    world = World()
    found = world.comparison(timeout=0)
    assert found.reason == "on the 1,000 of 1,400 rows that it was evaluated on as well"
    assert not world.batch.submitted


def test_a_live_model_without_its_predictions_is_scored_on_the_same_rows() -> None:
    """If the predictions file is gone, the server's answers give the interval that it would have given."""
    world = World()
    world.ours = same_rows(world)
    world.lake.delete(world.live.predictions.path)
    found = world.comparison()
    assert found.rows == len(OLD)
    assert found.metrics["macro_f1"].interval is not None
    assert found.metrics["macro_f1"].other == pytest.approx(world.live.evaluation.overall.metrics["macro_f1"])
