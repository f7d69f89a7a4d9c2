from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, matthews_corrcoef

import samples
import scoring
import trained
from memory import MemoryObjects
from modelbuild import experiments
from modelbuild.contract import Manifest, Metric, StepRun, TrainingResult, figure
from modelbuild.contract.report import Comparison, Report
from modelbuild.errors import AwsError
from modelbuild.flow.evaluation import Evaluated, EvaluationRows, RowMetric, evaluate
from modelbuild.handoff.manifest import Handoff
from modelbuild.notify import gates
from modelbuild.notify.compile import compile_report
from modelbuild.notify.scoring import Scorer
from modelbuild.report.pictures import expected_pictures
from modelbuild.report.slices import slice_tables
from modelbuild.settings.notify import Gate, NotifySettings, ScoreSettings
from modelbuild.store.deployments import DeploymentHistory
from modelbuild.store.model import ModelStore

OPTIONS: dict[str, Any] = {"compare-with": {"endpoint": "sentiment", "artifacts": trained.PRODUCTION}}
TRUTH = trained.truth_of(1_500)


class World:
    """Both accounts' S3, in memory."""

    def __init__(self) -> None:
        self.lake, self.production = MemoryObjects(), MemoryObjects()
        self.score: Scorer | None = None

    def report(self, manifest: Manifest, environ: Mapping[str, str] | None = None, **options: Any) -> Report:
        """The report on a model, as notify of its build compiles it."""
        request = manifest.request
        store = ModelStore(self.lake, request.artifacts)
        handoff = Handoff(store, TrainingResult(status="succeeded"), manifest, manifest.to_json().encode())
        variables = {
            "BUILDKITE_PIPELINE_SLUG": request.build.pipeline,
            "BUILDKITE_BUILD_NUMBER": request.model_id,
        }
        settings = NotifySettings.from_options({**OPTIONS, **options})
        here = samples.job_environment(**variables)
        with experiments.finding(settings.wandb, environ or {}) as find:
            return compile_report(handoff, settings, here, self.lake, self.production, find, self.score)

    def deployed(self, number: int, right: float, **changes: Any) -> Manifest:
        """A model of which about this part of the predictions is right, live at the endpoint."""
        manifest = self.trained(number, right, **changes)
        trained.deploy(self.lake, self.production, manifest)
        return manifest

    def trained(self, number: int, right: float, **changes: Any) -> Manifest:
        """A model of which about this part of the predictions is right."""
        found = trained.evaluated(TRUTH, trained.guesses(TRUTH, right, number))
        return trained.store_model(self.lake, number, found, **changes)


@pytest.fixture
def world() -> World:
    """Two accounts without a model."""
    return World()


def live_of(report: Report) -> Comparison:
    """The comparison with the live model."""
    found = report.compared_with("live")
    assert found is not None
    return found


def test_the_first_model_has_nothing_to_be_compared_with(world: World) -> None:
    """The page says that no model is live, and shows the baselines."""
    report = world.report(world.trained(1, 0.8))
    assert report.verdict.outcome == "first"
    assert report.verdict.sentence.startswith("Nothing to compare with: endpoint sentiment serves no model")
    assert report.compared_with("live") is None
    baseline = report.compared_with("baseline")
    assert baseline is not None
    assert baseline.outcome == "better"
    assert [point.model_id for point in report.trend] == ["1"]


def test_the_report_has_the_cost_of_each_step(world: World, tmp_path: Path) -> None:
    """Prices are modelbuild's or those of a file; without them the report says why, and is there."""
    steps = (StepRun(step="train", task="2", seconds=3600, cpu=2, memory=4096),)
    manifest = world.trained(1, 0.8).model_copy(update={"steps": steps})
    report = world.report(manifest)
    assert [(line.step, line.seconds, line.resources) for line in report.cost] == [
        ("train", 3600, "2 vCPU, 4 GiB")
    ]
    assert report.currency == "USD"
    path = tmp_path / "prices.yaml"
    path.write_text("{currency: EUR, vcpu-hour: 1, gib-hour: 0.5, gpu-hour: 2}")
    report = world.report(manifest, prices=str(path))
    assert (report.cost[0].price, report.currency) == (4.0, "EUR")
    path.unlink()
    report = world.report(manifest, prices=str(path))
    assert report.cost == ()
    assert [one for one in report.unavailable if one.startswith("the cost of the training (")]


def test_a_better_model_is_told_by_how_much_with_an_interval(world: World) -> None:
    """The interval lies above zero, and the page is green."""
    world.deployed(1, 0.7)
    report = world.report(world.trained(2, 0.9))
    difference = live_of(report).metrics["macro_f1"]
    assert report.verdict.outcome == "better"
    assert report.verdict.style == "success"
    assert difference.interval is not None
    assert 0 < difference.interval.low < difference.gain < difference.interval.high
    assert report.verdict.sentence.startswith("Better than the live model sentiment 1: macro-F1 0.")
    assert live_of(report).rows == 1_500


def test_a_worse_model_is_never_green(world: World) -> None:
    """A model that is worse than live, though better than every baseline, is an error by default."""
    world.deployed(1, 0.9)
    report = world.report(world.trained(2, 0.7))
    assert (report.verdict.outcome, report.verdict.style) == ("worse", "error")
    assert "gain -0." in report.verdict.sentence
    styled = world.report(world.trained(3, 0.7), styles={"worse": "warning"})
    assert styled.verdict.style == "warning"


def test_an_equal_model_shows_no_difference(world: World) -> None:
    """The same predictions are no improvement."""
    live = world.deployed(1, 0.8)
    content = world.lake.read(live.predictions.path)
    same = trained.evaluated(TRUTH, trained.guesses(TRUTH, 0.8, 1))
    assert same.predictions == content
    report = world.report(trained.store_model(world.lake, 2, same))
    assert report.verdict.outcome == "no difference"
    assert "No difference from the live model sentiment 1 that these rows can show" in report.verdict.sentence


def test_models_on_other_rows_are_not_comparable(world: World) -> None:
    """Without a row in common, no figure of the live model stands beside the new one's."""
    world.deployed(1, 0.8)
    truth = trained.truth_of(500, seed=5)
    other = trained.evaluated(truth, trained.guesses(truth, 0.9, 2), first=10_000)
    report = world.report(trained.store_model(world.lake, 2, other))
    assert (report.verdict.outcome, report.verdict.style) == ("not comparable", "warning")
    assert "it was evaluated on 1,500 other rows" in report.verdict.sentence


def test_of_changed_rows_the_shared_ones_are_compared(world: World) -> None:
    """Where rows were added, both models are measured on those that both have predictions for."""
    world.deployed(1, 0.7)
    truth = [*TRUTH, *trained.truth_of(300, seed=9)]
    more = trained.evaluated(truth, trained.guesses(truth, 0.9, 2))
    report = world.report(trained.store_model(world.lake, 2, more))
    assert report.verdict.outcome == "better"
    assert live_of(report).rows == 1_500
    assert "on the 1,500 of 1,800 rows that it was evaluated on as well" in report.verdict.sentence
    assert report.examples is not None
    assert report.examples.differences


def test_of_changed_rows_all_are_compared_where_the_live_model_has_scored_them(world: World) -> None:
    """The verdict, the gates, the slices and the examples are of all rows, and the verdict names the job."""
    live = world.deployed(1, 0.7)
    world.lake.write(live.artifact.path, b"the model")
    truth = [*TRUTH, *trained.truth_of(300, seed=9)]
    # Of the new rows, the live model knows none.
    answers = [*trained.guesses(TRUTH, 0.7, 1), *["negative"] * 300]
    domains = ["old"] * 1_500 + ["new"] * 300
    more = trained.evaluated(truth, trained.guesses(truth, 0.95, 2), domains=domains)
    by_input = {f'"text of row-{number:06}"': label for number, label in enumerate(answers)}
    batch = scoring.ScoringBatch(world.lake, scoring.answering(by_input))
    world.score = Scorer(ScoreSettings(), world.lake, lambda: batch)
    gate = {"metric": "f1", "slice": "class=negative", "maximum-drop": 0.0}
    report = world.report(trained.store_model(world.lake, 2, more), gates=[gate])
    [job] = batch.submitted.values()
    assert report.verdict.outcome == "better"
    assert report.verdict.sentence.endswith(
        f"on all 1,800 rows, which job {job['name']} scored with the live model."
    )
    assert live_of(report).slices["domain"]["new"].outcome == "better"
    assert report.gates[0].passed
    assert report.examples is not None
    right = live_of(report).metrics["accuracy"].gain * 1_800
    assert report.examples.gained - report.examples.lost == round(right)


def test_the_verdict_says_why_the_live_model_was_not_scored(world: World) -> None:
    """A person reads that the comparison is of some rows only, and why it is not of all."""
    live = world.deployed(1, 0.7)
    world.lake.write(live.artifact.path, b"the model")
    batch = scoring.ScoringBatch(world.lake, scoring.answering({}, problem="it is of another task"))
    world.score = Scorer(ScoreSettings(), world.lake, lambda: batch)
    truth = [*TRUTH, *trained.truth_of(300, seed=9)]
    more = trained.evaluated(truth, trained.guesses(truth, 0.9, 2))
    report = world.report(trained.store_model(world.lake, 2, more))
    assert live_of(report).rows == 1_500
    assert report.verdict.details[0] == (
        "The live model could not be scored on all rows: it is of another task."
    )


def test_a_changed_truth_is_another_row(world: World) -> None:
    """A row whose label was corrected is not the same row."""
    world.deployed(1, 0.7)
    truth = ["neutral", *TRUTH[1:]] if TRUTH[0] != "neutral" else ["positive", *TRUTH[1:]]
    corrected = trained.evaluated(truth, trained.guesses(truth, 0.9, 2))
    assert live_of(world.report(trained.store_model(world.lake, 2, corrected))).rows == 1_499


def test_a_baseline_that_wins_a_slice_is_in_the_verdict(world: World) -> None:
    """A model that is better on the whole may be worse where it matters."""
    domains = ["tweets", "reviews"] * 750
    predicted = [
        guess if domain == "reviews" else "neutral"
        for guess, domain in zip(trained.guesses(TRUTH, 0.95, 2), domains, strict=True)
    ]
    vader = trained.guesses(TRUTH, 0.5, 3)
    found = trained.evaluated(TRUTH, predicted, domains=domains, baselines={"vader": vader})
    report = world.report(trained.store_model(world.lake, 2, found))
    assert any(
        sentence.startswith("Baseline vader is better on ") and "domain tweets" in sentence
        for sentence in report.verdict.details
    )


def test_slices_that_became_worse_than_live_are_named(world: World) -> None:
    """A gain on all rows may hide a loss on some."""
    domains = ["tweets"] * 400 + ["reviews"] * 1_100
    before = trained.evaluated(TRUTH, trained.guesses(TRUTH, 0.7, 1), domains=domains)
    trained.deploy(world.lake, world.production, trained.store_model(world.lake, 1, before))
    predicted = [*trained.guesses(TRUTH[:400], 0.3, 2), *trained.guesses(TRUTH[400:], 0.95, 2)]
    after = trained.evaluated(TRUTH, predicted, domains=domains)
    report = world.report(trained.store_model(world.lake, 2, after))
    assert report.verdict.outcome == "better"
    assert "Worse than live on domain tweets." in report.verdict.details


def test_a_metric_of_rows_has_an_interval_also_as_the_primary_one(world: World) -> None:
    """The values of each row are compared, on all rows, on shared ones, and on slices; so are baselines'."""
    cost = Metric(name="cost", title="cost", better="lower")
    domains = ["news" if number % 2 else "tweets" for number in range(len(TRUTH))]

    def model(number: int, right: float, rows: int) -> Manifest:
        predicted = trained.guesses(TRUTH[:rows], right, number)
        values = [float(one != true) * 3 for one, true in zip(predicted, TRUTH, strict=False)]
        metric = RowMetric(cost, values, {"majority": [3.0] * rows})
        found = trained.evaluated(TRUTH[:rows], predicted, domains=domains[:rows], row_metrics=[metric])
        by_cost = found.evaluation.model_copy(update={"primary": "cost"})
        return trained.store_model(world.lake, number, Evaluated(by_cost, found.predictions))

    trained.deploy(world.lake, world.production, model(1, 0.6, len(TRUTH)))
    for number, rows in ((2, len(TRUTH)), (3, len(TRUTH) - 100)):
        report = world.report(model(number, 0.9, rows))
        live, baseline = report.compared_with("live"), report.compared_with("baseline")
        assert report.verdict.outcome == "better"
        assert live is not None
        assert live.rows == rows
        assert live.metrics["cost"].interval is not None
        assert live.metrics["macro_f1"].interval is not None
        assert {name: one.outcome for name, one in live.slices["domain"].items()} == {
            "news": "better",
            "tweets": "better",
        }
        assert baseline is not None
        assert baseline.metrics["cost"].interval is not None


def test_the_best_earlier_model_is_compared_where_it_is_not_the_live_one(world: World) -> None:
    """Live and best may be two models."""
    world.deployed(1, 0.7)
    world.trained(2, 0.95)
    best = world.report(world.trained(3, 0.8)).compared_with("best")
    assert best is not None
    assert (best.name, best.outcome) == ("sentiment 2", "worse")
    only = World()
    only.deployed(1, 0.7)
    assert only.report(only.trained(2, 0.8)).compared_with("best") is None


def test_the_best_earlier_model_is_found_among_all(world: World) -> None:
    """However many models came after it; one that was deleted gives way to the next best."""
    gone = world.trained(1, 0.99)
    world.trained(2, 0.95)
    for number in range(3, 30):
        world.trained(number, 0.5)
    world.lake.delete(f"{gone.request.artifacts}/manifest.json")
    best = world.report(world.trained(30, 0.8)).compared_with("best")
    assert best is not None
    assert best.name == "sentiment 2"


def test_the_trend_has_the_newest_models_and_marks_deployed_ones(world: World) -> None:
    """The oldest comes first, this one last."""
    world.deployed(1, 0.7)
    world.trained(2, 0.6)
    report = world.report(world.trained(3, 0.8))
    assert [(point.model_id, point.deployed) for point in report.trend] == [
        ("1", True),
        ("2", False),
        ("3", False),
    ]


def test_what_changed_since_live_is_listed_with_its_origin(world: World) -> None:
    """Parameters by their dotted names, old and new, and where the new value comes from."""
    world.deployed(1, 0.7, parameters={"training": {"epochs": 3, "rate": 0.1}, "seed": 1})
    report = world.report(
        world.trained(2, 0.8, parameters={"training": {"epochs": 5, "rate": 0.1}, "seed": 1})
    )
    assert report.changes is not None
    [change] = report.changes.parameters
    assert (change.name, change.before, change.after) == ("training.epochs", "3", "5")
    assert report.changes.since == "sentiment 1"
    assert report.changes.commits_note == "the same commit"


@pytest.mark.parametrize(
    ("gate", "value", "passed"),
    [
        ({"metric": "macro_f1", "minimum": 0.5}, "0.8", True),
        ({"metric": "macro_f1", "minimum": 0.99}, "0.8", False),
        ({"metric": "f1", "slice": "class=neutral", "minimum": 0.5}, "0.", True),
        ({"metric": "f1", "slice": "class=sarcastic", "minimum": 0.5}, "the evaluation lacks it", False),
        ({"metric": "macro_f1", "maximum-drop": 0.5}, "worse", True),
        ({"metric": "macro_f1", "maximum-drop": 0.01}, "worse", False),
        ({"metric": "f1", "slice": "class=neutral", "maximum-drop": 0.01}, "worse", False),
        ({"metric": "model_bytes", "maximum": 10}, "bytes", False),
        ({"metric": "latency_seconds", "maximum": 0.01}, "2.00 ms", True),
        ({"metric": "latency_seconds", "maximum": 0.001}, "2.00 ms", False),
    ],
)
def test_gates_are_checked(world: World, gate: dict[str, Any], value: str, passed: bool) -> None:
    """A gate shows its threshold and what was found; one that is not met is in the verdict."""
    world.deployed(1, 0.95)
    golden = [{"input": "a", "output": {}, "seconds": seconds} for seconds in (0.001, 0.002, 0.9)]
    report = world.report(world.trained(2, 0.85, golden=golden), gates=[gate])
    [result] = report.gates
    assert value in result.value
    assert result.passed is passed
    assert any(detail.startswith("Not met: the gate for") for detail in report.verdict.details) is not passed
    assert report.verdict.style == "error"


@pytest.mark.parametrize(
    ("gate", "value", "passed"),
    [
        ({"metric": "macro_f1", "slice": "domain=tweets"}, "better", True),
        ({"metric": "accuracy", "slice": "domain=tweets"}, "0.080 worse", False),
        ({"metric": "accuracy", "slice": "domain=reviews"}, "equal", True),
        ({"metric": "precision", "slice": "class=positive"}, "better", True),
        ({"metric": "recall", "slice": "class=positive"}, "worse", False),
        ({"metric": "brier", "slice": "domain=tweets"}, "not comparable: the comparison lacks it", False),
        ({"metric": "accuracy", "slice": "domain=news"}, "not comparable: the comparison lacks it", False),
    ],
)
def test_a_drop_in_a_slice_is_by_the_metric_of_the_gate(
    world: World, gate: dict[str, Any], value: str, passed: bool
) -> None:
    """On the same rows one metric may fall while another, which the tables of slices show, rises."""
    reviews, tweets = list(trained.LABELS), ["positive"] * 90 + ["neutral"] * 5 + ["negative"] * 5
    domains = ["reviews"] * len(reviews) + ["tweets"] * len(tweets)
    always_positive = [*reviews, *(["positive"] * len(tweets))]
    wrong_about_positive = [*reviews, *(["neutral"] * 18), *tweets[18:]]
    for number, predicted in ((1, always_positive), (2, wrong_about_positive)):
        found = trained.evaluated([*reviews, *tweets], predicted, domains=domains)
        manifest = trained.store_model(world.lake, number, found)
        if number == 1:
            trained.deploy(world.lake, world.production, manifest)
    [result] = world.report(manifest, gates=[{**gate, "maximum-drop": 0.02}]).gates
    assert value in result.value
    assert result.passed is passed


@pytest.mark.parametrize("reason", ["", "on the 300 rows that both have"])
def test_a_comparison_without_slices_lacks_the_slice_of_a_gate(world: World, reason: str) -> None:
    """Neither an empty text nor which rows were compared explains why a slice is not comparable."""
    world.deployed(1, 0.9)
    manifest = world.trained(2, 0.9)
    live = live_of(world.report(manifest))
    assert live.metrics
    live = live.model_copy(update={"slices": {}, "slices_by_metric": {}, "reason": reason})
    gate = Gate.model_validate({"metric": "f1", "slice": "class=neutral", "maximum-drop": 0.0})
    [result] = gates.check([gate], manifest, live)
    assert (result.value, result.passed) == ("not comparable: the comparison lacks it", False)


def test_a_drop_in_a_slice_of_models_that_are_not_comparable_has_their_reason(world: World) -> None:
    """Where no rows could be compared, the gate says why."""
    world.deployed(1, 0.9)
    manifest = world.trained(2, 0.9)
    live = live_of(world.report(manifest)).model_copy(
        update={"metrics": {}, "slices": {}, "slices_by_metric": {}, "rows": 0, "reason": "other rows"}
    )
    gate = Gate.model_validate({"metric": "f1", "slice": "class=neutral", "maximum-drop": 0.0})
    [result] = gates.check([gate], manifest, live)
    assert (result.value, result.passed) == ("not comparable: other rows", False)


def test_a_drop_is_allowed_where_no_model_is_live(world: World) -> None:
    """An endpoint can have a first model; a model on other rows cannot show that it is no worse."""
    gate = {"metric": "macro_f1", "maximum-drop": 0.0}
    assert world.report(world.trained(1, 0.8), gates=[gate]).gates[0].passed
    world.deployed(2, 0.8)
    truth = trained.truth_of(500, seed=5)
    other = trained.evaluated(truth, trained.guesses(truth, 0.9, 3), first=10_000)
    [result] = world.report(trained.store_model(world.lake, 3, other), gates=[gate]).gates
    assert not result.passed
    assert result.value.startswith("not comparable: ")


def test_the_live_model_is_compared_by_its_figures_without_its_predictions(world: World) -> None:
    """Predictions that were deleted or changed cost the interval, and the page says why."""
    live = world.deployed(1, 0.7)
    world.lake.write(live.predictions.path, b"changed")
    report = world.report(world.trained(2, 0.9))
    difference = live_of(report).metrics["macro_f1"]
    assert difference.interval is None
    assert difference.gain > 0
    assert (report.verdict.outcome, report.verdict.style) == ("not known", "warning")
    assert report.verdict.sentence.startswith(
        "Not known whether better or worse than the live model sentiment 1"
    )
    assert report.verdict.sentence.endswith("the predictions cannot be read, so there is no interval.")
    assert live_of(report).slices["class"]["neutral"].gain > 0
    assert any("has SHA-256" in problem for problem in report.unavailable)


def test_predictions_of_other_rows_than_the_evaluation_says_are_not_compared(world: World) -> None:
    """A flow may record the hash of rows that its predictions are not of: they have no common order."""
    live = world.deployed(1, 0.7)
    other = trained.evaluated(TRUTH[:900], trained.guesses(TRUTH[:900], 0.9, 1), first=5_000)
    digest = hashlib.sha256(other.predictions).hexdigest()
    claimed = live.predictions.model_copy(update={"sha256": digest, "bytes": len(other.predictions)})
    manifest = live.model_copy(update={"predictions": claimed})
    for uri in (f"{live.request.artifacts}/manifest.json", live.predictions.path):
        world.lake.delete(uri)
    ModelStore(world.lake, live.request.artifacts).write_predictions(other.predictions)
    ModelStore(world.lake, live.request.artifacts).write_manifest_once(manifest)
    trained.deploy(world.lake, world.production, manifest)
    report = world.report(world.trained(2, 0.9))
    assert live_of(report).reason == "its predictions are of other rows than its evaluation says"
    assert report.examples is not None
    assert report.examples.differences == ()


def test_the_manifest_of_a_live_model_is_read_in_production_where_the_lake_lacks_it(world: World) -> None:
    """Retention in one account must not end comparisons in the other."""
    live = world.deployed(1, 0.7)
    world.lake.delete(f"{live.request.artifacts}/manifest.json")
    assert live_of(world.report(world.trained(2, 0.9))).outcome == "better"


def test_a_manifest_that_was_changed_is_read_in_production(world: World) -> None:
    """What was deployed is known by its hash: a flow may write its own manifest, and none in production."""
    live = world.deployed(1, 0.7)
    uri = f"{live.request.artifacts}/manifest.json"
    changed = world.lake.read(uri).replace(b'"rows": 1500', b'"rows": 1501')
    world.lake.write(uri, changed)
    report = world.report(world.trained(2, 0.9))
    assert report.verdict.outcome == "better"
    assert any(f"copy in production, because {uri} has" in problem for problem in report.unavailable)

    current = DeploymentHistory(world.production, trained.PRODUCTION, "sentiment").current()
    assert current is not None
    world.production.write(current.manifest, changed)
    report = world.report(world.trained(3, 0.9))
    assert report.verdict.outcome == "not comparable"
    assert any("was deployed" in problem for problem in report.unavailable)


class Refusing(MemoryObjects):
    """S3 that refuses what a test names, and nothing else."""

    def __init__(self, objects: MemoryObjects) -> None:
        super().__init__()
        self.objects = objects.objects
        self._written = objects._written
        self.refused: Callable[[str], bool] = lambda _: False

    def _check(self, uri: str) -> None:
        if self.refused(uri):
            raise AwsError(f"could not read {uri} (AccessDenied)")

    def read(self, uri: str) -> bytes:
        """Refuse the object, or read it."""
        self._check(uri)
        return super().read(uri)

    def age(self, uri: str) -> float | None:
        """Refuse the object, or look at it."""
        self._check(uri)
        return super().age(uri)

    def list(self, prefix_uri: str) -> list[tuple[str, int]]:
        """Refuse the prefix, or list it."""
        self._check(prefix_uri)
        return super().list(prefix_uri)

    def folders(self, folder_uri: str) -> Sequence[str]:
        """Refuse the folder, or list it."""
        self._check(folder_uri)
        return super().folders(folder_uri)


@pytest.mark.parametrize(
    ("refused", "sentence", "trend", "best"),
    [
        ("/sentiment/", "The earlier models cannot be listed: could not read", 1, True),
        ("/2/manifest.json", "Not read: 1 earlier model: could not read", 2, False),
        ("/2/deployment.json", "Not read: 1 earlier model: could not read", 2, True),
        ("/macro_f1/", "The best earlier model cannot be read: could not read", 3, False),
        ("/1/manifest.json", "The live model is known by its copy in production", 2, True),
    ],
)
def test_what_s3_refuses_costs_a_sentence(
    world: World, refused: str, sentence: str, trend: int, best: bool
) -> None:
    """The page is what a person waits for: each part that cannot be read is left out by itself."""
    world.deployed(1, 0.7)
    world.trained(2, 0.95)
    manifest = world.trained(3, 0.8)
    world.lake = refusing = Refusing(world.lake)
    refusing.refused = lambda uri: uri.endswith(refused)
    report = world.report(manifest)
    assert any(problem.startswith(sentence) for problem in report.unavailable)
    assert report.verdict.outcome == "better"
    assert len(report.trend) == trend
    assert (report.compared_with("best") is not None) is best


def test_a_history_that_cannot_be_read_is_no_first_model(world: World) -> None:
    """An unreadable history must not look like an endpoint without a model."""
    world.deployed(1, 0.7)
    world.production.write(f"{trained.PRODUCTION}/_endpoints/sentiment/current.json", b"{}")
    report = world.report(world.trained(2, 0.9))
    assert report.verdict.outcome == "not comparable"
    assert "the deployments of endpoint sentiment cannot be read" in report.verdict.sentence


def test_an_experiment_with_the_same_parameters_stands_beside_the_model(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its metrics are compared where its rows are the same; a missing key is a sentence of the report."""
    manifest = world.trained(2, 0.8)
    found = experiments.Experiment(
        name="notebook",
        url="https://wandb.example/acme/comments/runs/1",
        created="2026-11-23T10:00:00Z",
        metrics={"macro_f1": 0.99, "accuracy": 0.99},
        dataset_sha256=manifest.evaluation.dataset_sha256,
    )
    asked = []

    @contextmanager
    def asking(base_url: str, api_key: str) -> Iterator[Callable[[experiments.Query], experiments.Answer]]:
        def ask(query: experiments.Query) -> experiments.Answer:
            asked.append((query, base_url, api_key))
            return experiments.Answer(experiments=(found,), unavailable=("Experiment x is still running.",))

        yield ask

    monkeypatch.setattr(experiments, "asking", asking)
    report = world.report(manifest, environ={"MY_KEY": "k"}, wandb={"api-key": "MY_KEY", "entity": "acme"})
    comparison = report.compared_with("experiment")
    assert comparison is not None
    assert (comparison.name, comparison.outcome) == ("notebook", "not known")
    assert comparison.gain < 0
    assert comparison.metrics["macro_f1"].interval is None
    assert report.unavailable == ("Experiment x is still running.",)
    [(query, base_url, api_key)] = asked
    assert (query.entity, query.project) == ("acme", "comments")
    assert query.parameters_sha256 == manifest.request.parameters_sha256
    assert (base_url, api_key) == ("https://api.wandb.ai", "k")
    without = world.report(manifest, wandb={"api-key": "MY_KEY"})
    assert without.unavailable == ("Experiments: variable MY_KEY is not set (option wandb.api-key).",)
    found = found.model_copy(update={"dataset_sha256": "0" * 64})
    other = world.report(manifest, environ={"WANDB_API_KEY": "k"}, wandb={}).compared_with("experiment")
    assert other is not None
    assert (other.outcome, other.reason) == ("not comparable", "it was evaluated on other rows")


def test_private_data_show_no_rows(world: World) -> None:
    """Option show-examples keeps the inputs off the page and out of the report."""
    world.deployed(1, 0.7)
    report = world.report(world.trained(2, 0.9), environ={}, **{"show-examples": False})
    assert report.examples is None
    assert "text of row" not in report.to_json()


def test_examples_say_who_was_right(world: World) -> None:
    """Mistakes come with their scores; differences count what was gained and lost."""
    world.deployed(1, 0.7)
    report = world.report(world.trained(2, 0.9))
    assert report.examples is not None
    assert len(report.examples.mistakes) == 10
    assert all(example.prediction != example.truth for example in report.examples.mistakes)
    difference = live_of(report).metrics["accuracy"].gain * 1_500
    assert report.examples.gained - report.examples.lost == round(difference)
    assert all(example.live != example.prediction for example in report.examples.differences)


def test_the_confusion_matrix_has_every_row(world: World) -> None:
    """True labels are its rows, and their sums the numbers of true labels."""
    report = world.report(world.trained(1, 0.8))
    assert report.confusion is not None
    assert report.confusion.labels == trained.LABELS
    counts = np.array(report.confusion.counts)
    assert counts.sum(axis=1).tolist() == [TRUTH.count(label) for label in trained.LABELS]
    assert sum(one.rows for one in report.calibration) == 1_500


def test_a_report_is_read_back_as_it_was_written(world: World) -> None:
    """report.json is a document for other programs."""
    world.deployed(1, 0.7)
    report = world.report(world.trained(2, 0.9))
    assert Report.model_validate_json(report.to_json()) == report


def measured(
    right: float,
    seed: int,
    *,
    primary: str = "mcc",
    rows: int = 300,
    slices: Mapping[str, Sequence[str]] | None = None,
) -> Evaluated:
    """An evaluation by a metric that only the flow can compute, and by accuracy."""
    truth = TRUTH[:rows]
    predicted = trained.guesses(truth, right, seed)
    ids = [f"row-{number:06}" for number in range(rows)]
    return evaluate(
        EvaluationRows(ids=ids, inputs=ids, truth=truth, description="", slices=slices or {}),
        predicted,
        metrics=[
            Metric(name="mcc", title="MCC", better="higher"),
            Metric(name="accuracy", title="accuracy", better="higher"),
        ],
        primary=primary,
        measure=lambda truth, found: {
            "mcc": float(matthews_corrcoef(truth, found)),
            "accuracy": float(accuracy_score(truth, found)),
        },
        baselines={"majority": ["positive"] * rows},
    )


def beside(world: World, live: Evaluated, new: Evaluated, **options: Any) -> Report:
    """The report on a model beside a live one."""
    trained.deploy(world.lake, world.production, trained.store_model(world.lake, 1, live))
    return world.report(trained.store_model(world.lake, 2, new), **options)


@pytest.mark.parametrize("primary", ["mcc", "accuracy"])
def test_what_only_the_flow_can_compute_is_compared_without_an_interval(world: World, primary: str) -> None:
    """On the same rows the recorded values say which is better, so a gate on such a metric can be met."""
    domains = {"domain": ["tweets", "reviews"] * 150}
    options = [{"metric": "mcc", "maximum-drop": 0.5}]
    options.append({"metric": "mcc", "slice": "domain=tweets", "maximum-drop": 0.5})
    report = beside(
        world,
        measured(0.7, 1, primary=primary, slices=domains),
        measured(0.9, 2, primary=primary, slices=domains),
        gates=options,
    )
    found = live_of(report)
    assert (found.metrics["mcc"].gain > 0.1, found.metrics["mcc"].interval) == (True, None)
    assert found.metrics["accuracy"].interval is not None
    assert [gate.passed for gate in report.gates] == [True, True]
    assert report.verdict.outcome == ("not known" if primary == "mcc" else "better")
    if primary == "mcc":
        assert report.verdict.sentence.endswith("only the flow can compute MCC, so there is no interval.")
        assert report.verdict.style == "warning"
    baseline = report.compared_with("baseline")
    assert baseline is not None
    assert baseline.metrics["mcc"].interval is None


def test_what_only_the_flow_can_compute_is_not_compared_on_other_rows(world: World) -> None:
    """Recorded values are of all rows of each model, and not of those that both have."""
    report = beside(world, measured(0.7, 1, rows=250), measured(0.9, 2))
    assert report.verdict.outcome == "not comparable"
    assert "only the flow can compute MCC" in report.verdict.sentence


def test_models_on_few_rows_are_neither_better_nor_worse(world: World) -> None:
    """Neither than the live model, nor than a baseline, nor on a slice."""
    slices = {"domain": ["tweets", "reviews"] * 10}
    live, new = (measured(right, 1, primary="accuracy", rows=20, slices=slices) for right in (1.0, 0.1))
    report = beside(world, live, new)
    assert (report.verdict.outcome, report.verdict.style) == ("not known", "warning")
    assert "fewer than 30 rows are too few to compare, so there is no interval" in report.verdict.sentence
    assert not any("Worse" in detail for detail in report.verdict.details)
    assert {one.outcome for one in report.comparisons} == {"not known"}
    assert {one.outcome for one in live_of(report).slices["domain"].values()} == {"not known"}


def test_slices_of_few_rows_are_not_called_worse(world: World) -> None:
    """Of forty shops with one row each, a sentence would name some by chance."""
    shops = {"shop": [f"shop {number}" if number < 40 else "other" for number in range(300)]}
    report = beside(
        world,
        measured(0.9, 1, primary="accuracy", slices=shops),
        measured(0.6, 2, primary="accuracy", slices=shops),
    )
    assert "Worse than live on shop other." in report.verdict.details


def test_a_table_of_slices_begins_with_the_primary_metric(world: World) -> None:
    """The gain beside its first column is by the metric of that column, as are the bars."""
    domains = {"domain": ["tweets", "reviews"] * 150}
    report = beside(
        world,
        measured(0.7, 1, primary="accuracy", slices=domains),
        measured(0.9, 2, primary="accuracy", slices=domains),
    )
    [table] = slice_tables(report)
    assert [metric.name for metric in table.metrics] == ["accuracy", "mcc"]
    compared = live_of(report).slices["domain"]
    for row in table.rows:
        assert row.delta is not None
        assert row.values[0] == figure(compared[row.name].value)
        quality = report.manifest.evaluation.slices["domain"][row.name]
        assert compared[row.name].value == pytest.approx(quality.metrics["accuracy"])
    assert expected_pictures(report)[0].title == "accuracy by domain"


def test_a_column_of_the_flows_own_may_be_named_class(world: World) -> None:
    """Its slices are compared as those of any column: labels have no part in them."""
    cars = {"class": ["suv", "van"] * 150}
    report = beside(
        world,
        measured(0.9, 1, primary="accuracy", slices=cars),
        measured(0.9, 1, primary="accuracy", slices=cars),
        gates=[{"metric": "accuracy", "slice": "class=suv", "maximum-drop": 0.1}],
    )
    assert report.gates[0].passed
    assert live_of(report).slices["class"].keys() == {"suv", "van"}


def test_after_corrections_of_labels_the_examples_are_of_the_same_truth(world: World) -> None:
    """Two models that answer alike differ on no row, though some labels were corrected in between."""
    answers = trained.guesses(TRUTH, 0.8, 1)
    right = [place for place, answer in enumerate(answers) if answer == TRUTH[place]][:40]
    others = {label: next(one for one in trained.LABELS if one != label) for label in trained.LABELS}
    corrected = [others[label] if place in right else label for place, label in enumerate(TRUTH)]
    report = beside(world, trained.evaluated(TRUTH, answers), trained.evaluated(corrected, answers))
    assert live_of(report).rows == 1_460
    assert report.examples is not None
    assert (report.examples.gained, report.examples.lost, report.examples.differences) == (0, 0, ())


def test_a_retried_step_shows_no_later_models(world: World) -> None:
    """What is earlier does not change by what was trained since."""
    world.trained(1, 0.7)
    manifest = world.trained(2, 0.8)
    world.trained(3, 0.9)
    report = world.report(manifest)
    assert [point.model_id for point in report.trend] == ["1", "2"]
    best = report.compared_with("best")
    assert best is not None
    assert best.model_id == "1"


def test_a_step_that_is_retried_after_the_deployment_says_that_the_model_is_live(world: World) -> None:
    """Without that, a person would take the comparison for one with another model."""
    manifest = world.deployed(2, 0.8)
    report = world.report(manifest, gates=[{"metric": "macro_f1", "maximum-drop": 0.0}])
    assert report.verdict.outcome == "no difference"
    assert report.verdict.sentence.endswith(
        ", the endpoint serves this model already, so it is compared with itself."
    )
    assert report.gates[0].passed
