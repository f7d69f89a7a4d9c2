from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats
from sklearn.metrics import f1_score, root_mean_squared_error

import trained
from modelbuild.comparison import bootstrap, compare, quality
from modelbuild.contract import FEW_ROWS, Metric
from modelbuild.contract.report import Difference
from modelbuild.flow import classification, regression

SEED = 7


def column(values: object) -> pa.ChunkedArray:
    """A column of a table of predictions."""
    return pa.chunked_array([pa.array(np.asarray(values).tolist())])


def noisy(truth: np.ndarray, right: float, random: np.random.Generator) -> np.ndarray:
    """Labels of which a part is right."""
    return np.where(random.random(len(truth)) < right, truth, random.integers(0, 3, len(truth)))


def labels_difference(truth: np.ndarray, ours: np.ndarray, theirs: np.ndarray) -> dict[str, Difference]:
    """The comparison of two classifiers."""
    rows = compare.rows_of(column(truth), column(ours), column(theirs), ["macro_f1"])
    assert rows is not None
    return compare.Sample.of(rows.cells(), classification.METRICS, SEED).differences(classification.METRICS)


def test_the_interval_of_macro_f1_is_scipys() -> None:
    """The percentiles of a paired bootstrap, here by another program that draws other rows."""
    random = np.random.default_rng(1)
    truth = random.integers(0, 3, 600)
    ours, theirs = noisy(truth, 0.7, random), noisy(truth, 0.6, random)

    def gain(rows: np.ndarray) -> float:
        return float(
            f1_score(truth[rows], ours[rows], average="macro")
            - f1_score(truth[rows], theirs[rows], average="macro")
        )

    expected = stats.bootstrap(
        (np.arange(600),), gain, vectorized=False, method="percentile", n_resamples=700, rng=2
    ).confidence_interval
    found = labels_difference(truth, ours, theirs)["macro_f1"]
    assert found.gain == pytest.approx(gain(np.arange(600)))
    assert found.interval is not None
    assert found.interval.low == pytest.approx(expected.low, abs=0.008)
    assert found.interval.high == pytest.approx(expected.high, abs=0.008)


def test_the_interval_of_rmse_is_scipys_and_a_lower_error_is_better() -> None:
    """The sign of a gain follows the metric's direction."""
    random = np.random.default_rng(3)
    truth = random.normal(size=400)
    ours, theirs = truth + random.normal(scale=0.5, size=400), truth + random.normal(scale=0.6, size=400)

    def gain(rows: np.ndarray) -> float:
        return float(
            root_mean_squared_error(truth[rows], theirs[rows])
            - root_mean_squared_error(truth[rows], ours[rows])
        )

    expected = stats.bootstrap(
        (np.arange(400),), gain, vectorized=False, method="percentile", n_resamples=3_000, rng=2
    ).confidence_interval
    rows = compare.rows_of(column(truth), column(ours), column(theirs), ["rmse"])
    assert rows is not None
    found = compare.Sample.of(rows.cells(), regression.METRICS, SEED).differences(regression.METRICS)
    assert set(found) == {"rmse", "mae", "r2"}
    assert found["rmse"].gain > 0
    assert found["rmse"].interval is not None
    assert found["rmse"].interval.low == pytest.approx(expected.low, abs=0.008)
    assert found["rmse"].interval.high == pytest.approx(expected.high, abs=0.008)


def test_each_label_has_its_difference() -> None:
    """Labels keep their names, and a label that only one model predicts is there."""
    truth = np.array(["b", "a", "b", "a"] * 20)
    ours, theirs = truth, np.array(["b", "a", "c", "a"] * 20)
    rows = compare.rows_of(column(truth), column(ours), column(theirs), ["accuracy"])
    assert rows is not None
    f1 = next(metric for metric in classification.METRICS if metric.name == "f1")
    found = compare.Sample.of(rows.cells(), [f1], SEED).label_differences(f1)
    assert set(found) == {"a", "b", "c"}
    assert found["b"].gain == pytest.approx(1 / 3)
    assert found["a"].outcome == "no difference"
    assert found["b"].outcome == "better"


def test_chosen_rows_have_the_labels_that_are_among_them() -> None:
    """The difference on a part of the rows is that of a comparison of these rows alone."""
    random = np.random.default_rng(2)
    truth = random.integers(0, 3, 300)
    ours, theirs = noisy(truth, 0.7, random), noisy(truth, 0.6, random)
    chosen = (truth != 1) & (ours != 1) & (theirs != 1)
    rows = compare.LabelRows([0, 1, 2], truth, ours, theirs).where(chosen)
    found = compare.Sample.of(rows.cells(), classification.METRICS, SEED)
    assert found.cells.labels == [0, 2]
    alone = labels_difference(truth[chosen], ours[chosen], theirs[chosen])
    assert found.differences(classification.METRICS) == alone


def test_equal_predictions_have_no_difference() -> None:
    """A model does not beat its copy."""
    truth = np.arange(50) % 3
    found = labels_difference(truth, truth, truth)["macro_f1"]
    assert (found.gain, found.outcome) == (0.0, "no difference")


def test_the_same_rows_give_the_same_interval() -> None:
    """A retried step shows the same page."""
    random = np.random.default_rng(5)
    truth = random.integers(0, 3, 200)
    ours, theirs = noisy(truth, 0.7, random), noisy(truth, 0.6, random)
    assert labels_difference(truth, ours, theirs) == labels_difference(truth, ours, theirs)


def test_a_metric_of_the_flows_own_is_not_computed_again() -> None:
    """Only the flow knows what its own metric means."""
    labels = column(["a", "b"])
    assert compare.rows_of(labels, labels, labels, ["top_2_accuracy"]) is None


def test_the_interval_covers_the_true_difference_in_95_of_100_trials() -> None:
    """Coverage by simulation: two classifiers with known accuracies on 300 rows, 1,000 times."""
    random = np.random.default_rng(11)
    covered, accuracy = 0, classification.METRICS[1]
    for trial in range(1_000):
        truth = random.integers(0, 2, 300)
        ours = np.where(random.random(300) < 0.80, truth, 1 - truth)
        theirs = np.where(random.random(300) < 0.75, truth, 1 - truth)
        cells = compare.LabelRows([0, 1], truth, ours, theirs).cells()
        found = compare.Sample.of(cells, [accuracy], trial).differences([accuracy])["accuracy"]
        assert found.interval is not None
        covered += found.interval.low <= 0.05 <= found.interval.high
    assert covered / 1_000 == pytest.approx(0.95, abs=0.02)


def test_the_interval_of_a_mean_of_row_values_is_scipys() -> None:
    """A metric of the flow's own, whose values are kept for each row."""
    random = np.random.default_rng(4)
    ours, theirs = random.exponential(1.0, 500), random.exponential(1.2, 500)

    def gain(rows: np.ndarray) -> float:
        return float(theirs[rows].mean() - ours[rows].mean())

    expected = stats.bootstrap(
        (np.arange(500),), gain, vectorized=False, method="percentile", n_resamples=3_000, rng=2
    ).confidence_interval
    metric = Metric(name="cost", title="cost", better="lower")
    rows = compare.MeanRows({"cost": ours}, {"cost": theirs})
    [found] = compare.Sample.of(rows.cells(), [metric], SEED).differences([metric]).values()
    assert found.gain == pytest.approx(gain(np.arange(500)))
    assert found.interval is not None
    assert found.interval.low == pytest.approx(expected.low, abs=0.02)
    assert found.interval.high == pytest.approx(expected.high, abs=0.02)
    part = rows.where(np.arange(500) < 3).cells()
    assert compare.Sample.of(part, [metric], SEED).ours["cost"][0] == pytest.approx(ours[:3].mean())


def test_the_interval_of_many_rows_is_that_of_their_mean() -> None:
    """Of so many rows the gain is normally distributed, by the standard error of the differences."""
    random = np.random.default_rng(5)
    ours, theirs = random.exponential(1.0, 40_000), random.exponential(1.02, 40_000)
    metric = Metric(name="cost", title="cost", better="lower")
    rows = compare.MeanRows({"cost": ours}, {"cost": theirs})
    [found] = compare.Sample.of(rows.cells(), [metric], SEED).differences([metric]).values()
    error = float(np.std(theirs - ours) / np.sqrt(40_000))
    assert found.interval is not None
    assert (found.interval.low - found.gain) / error == pytest.approx(-1.96, abs=0.2)
    assert (found.interval.high - found.gain) / error == pytest.approx(1.96, abs=0.2)


def test_poisson_numbers_have_mean_and_variance_one() -> None:
    """By which resamples of many rows are drawn; the same seed draws the same."""
    [first] = bootstrap.weightings(np.ones(20_000, dtype=np.int64), SEED, resamples=10)
    [again] = bootstrap.weightings(np.ones(20_000, dtype=np.int64), SEED, resamples=10)
    assert (first == again).all()
    assert first.mean() == pytest.approx(1, abs=0.01)
    assert first.var() == pytest.approx(1, abs=0.02)
    assert (first == 0).mean() == pytest.approx(np.exp(-1), abs=0.01)


@pytest.mark.parametrize("rows", [1, 2, FEW_ROWS - 1])
def test_few_rows_have_figures_without_an_interval(rows: int) -> None:
    """Each resample of one row is that row, so its interval would never contain 0; of a few, too rarely."""
    random = np.random.default_rng(rows)
    truth = random.normal(size=rows)
    cells = compare.NumberRows(truth, truth + 1.0, truth + 2.0).cells()
    found = compare.Sample.of(cells, regression.METRICS, SEED).differences(regression.METRICS)["rmse"]
    assert found.value == pytest.approx(1.0)
    assert found.other == pytest.approx(2.0)
    assert (found.interval, found.outcome) == (None, "not known")


@pytest.mark.parametrize(
    ("differing", "outcome"), [(4, "no difference"), (5, "no difference"), (6, "better")]
)
def test_five_rows_show_no_difference_between_two_models(differing: int, outcome: str) -> None:
    """Of two equal models that differ on four rows, one has all four right in one of eight cases, and few
    resamples have none of them. So it is for labels, each label, numbers, and values of rows.
    """
    better = np.arange(500) < differing
    truth = np.array(["a", "b"] * 250)
    theirs = np.where(better, np.where(truth == "a", "b", "a"), truth)
    rows = compare.rows_of(column(truth), column(truth), column(theirs), ["accuracy"])
    assert rows is not None
    sample = compare.Sample.of(rows.cells(), classification.METRICS, SEED)
    f1 = next(metric for metric in classification.METRICS if metric.name == "f1")
    found = [*sample.differences(classification.METRICS).values(), *sample.label_differences(f1).values()]
    zeros = np.zeros(500)
    numbers = compare.NumberRows(zeros, zeros, better.astype(float))
    found += (
        compare.Sample.of(numbers.cells(), regression.METRICS, SEED).differences(regression.METRICS).values()
    )
    cost = Metric(name="cost", title="cost", better="lower")
    values = compare.MeanRows({"cost": zeros}, {"cost": better.astype(float)})
    found += compare.Sample.of(values.cells(), [cost], SEED).differences([cost]).values()
    assert [one.outcome for one in found] == [outcome] * 7
    assert all(one.gain > 0 for one in found)


def test_a_label_of_few_rows_has_no_interval() -> None:
    """Its F1 is that of these few rows, however many others there are."""
    truth = np.array(["a"] * 200 + ["b"] * (FEW_ROWS - 1) + ["c"] * FEW_ROWS)
    theirs = np.where(truth == "a", "a", "d")
    rows = compare.rows_of(column(truth), column(truth), column(theirs), ["accuracy"])
    assert rows is not None
    f1 = next(metric for metric in classification.METRICS if metric.name == "f1")
    found = compare.Sample.of(rows.cells(), [f1], SEED).label_differences(f1)
    assert {label: one.outcome for label, one in found.items()} == {
        "a": "no difference",
        "b": "not known",
        "c": "better",
        "d": "not known",
    }


def test_on_the_fewest_rows_one_of_ten_equal_models_is_marked() -> None:
    """What the documentation says about slices of so many rows, by simulation with errors of one kind."""
    random = np.random.default_rng(12)
    rmse = regression.METRICS[:1]
    marked = 0
    for trial in range(300):
        truth, errors = np.zeros(FEW_ROWS), random.normal(size=(2, FEW_ROWS))
        cells = compare.NumberRows(truth, *errors).cells()
        found = compare.Sample.of(cells, rmse, trial).differences(rmse)["rmse"]
        marked += found.outcome in ("better", "worse")
    assert 0 < marked / 300 <= 0.10


@pytest.mark.parametrize(("rows", "known"), [(1, False), (FEW_ROWS - 1, False), (FEW_ROWS, True)])
def test_the_metric_of_one_model_on_few_rows_has_no_interval(rows: int, known: bool) -> None:
    """On one row it would be as wide as nothing, and a leaderboard would show a certain figure."""
    truth = trained.truth_of(rows)
    made = trained.evaluated(truth, trained.guesses(truth, 0.5, 1))
    accuracy = made.evaluation.overall.metrics["accuracy"]
    assert (quality.interval(made.predictions, "s3://b/p", "accuracy", accuracy) is not None) is known
