"""What a report says of a model, and of the models that it is compared with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import scoring
import trained
from compiled_reports import TRUTH, World, live_of
from modelbuild.contract import Manifest, Metric, StepRun
from modelbuild.contract.report import Report
from modelbuild.experiments.models import Answer, Experiment, Query
from modelbuild.flow.evaluation import Evaluated, RowMetric
from modelbuild.notify.scoring import Scorer
from modelbuild.settings.notify import ScoreSettings


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


def test_an_experiment_with_the_same_parameters_stands_beside_the_model(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its metrics are compared where its rows are the same; a missing key is a sentence of the report."""
    manifest = world.trained(2, 0.8)
    found = Experiment(
        name="notebook",
        url="https://wandb.example/acme/comments/runs/1",
        created="2026-11-23T10:00:00Z",
        metrics={"macro_f1": 0.99, "accuracy": 0.99},
        dataset_sha256=manifest.evaluation.dataset_sha256,
    )
    asked = []

    @contextmanager
    def asking(base_url: str, api_key: str, *, named: str) -> Iterator[Callable[[Query], Answer]]:
        assert named == "WANDB_BASE_URL"

        def ask(query: Query) -> Answer:
            asked.append((query, base_url, api_key))
            return Answer(experiments=(found,), unavailable=("Experiment x is still running.",))

        yield ask

    monkeypatch.setattr("modelbuild.experiments.asking.asking", asking)
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
    found = found.model_copy(update={"dataset_sha256": ""})
    other = world.report(manifest, environ={"WANDB_API_KEY": "k"}, wandb={}).compared_with("experiment")
    assert other is not None
    assert other.reason == "the rows that it was evaluated on are not known"


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
