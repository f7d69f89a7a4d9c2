from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import confusion_matrix

import trained
from modelbuild.comparison import details, predictions
from modelbuild.comparison.predictions import PredictionTable

LABELS = ("a", "b", "c")


def table(rows: int = 2_000) -> PredictionTable:
    """The predictions of a classifier with random scores, as a flow writes them."""
    random = np.random.default_rng(4)
    scores = random.dirichlet([1.0, 1.0, 1.0], rows)
    predicted = scores.argmax(axis=1)
    truth = np.where(random.random(rows) < scores.max(axis=1), predicted, random.integers(0, 3, rows))
    columns = {
        "id": [f"{number:05}" for number in range(rows)],
        "truth": [LABELS[number] for number in truth],
        "prediction": [LABELS[number] for number in predicted],
        **{f"score:{label}": scores[:, number] for number, label in enumerate(LABELS)},
    }
    return written(pa.table(columns))


def written(columns: pa.Table) -> PredictionTable:
    """A table of predictions, from its file."""
    buffer = io.BytesIO()
    pq.write_table(columns, buffer)
    return predictions.read(buffer.getvalue(), "s3://bucket/predictions.parquet")


def test_the_confusion_matrix_is_that_of_scikit_learn() -> None:
    """Rows are true labels, columns predicted ones."""
    made = table()
    found = details.confusion_matrix(made)
    assert found is not None
    truth, predicted = (made.column(name).to_pylist() for name in ("truth", "prediction"))
    assert found.labels == LABELS
    assert np.array(found.counts).tolist() == confusion_matrix(truth, predicted, labels=LABELS).tolist()


def test_the_calibration_is_that_of_scikit_learn() -> None:
    """Of each range of scores, the mean score and how many of its predictions are right."""
    made = table()
    truth, predicted = (np.array(made.column(name).to_pylist()) for name in ("truth", "prediction"))
    scores = details.predicted_scores(made)
    assert scores is not None
    right, mean = calibration_curve(truth == predicted, scores, n_bins=details.BINS)
    found = details.calibration(made)
    assert [one.accuracy for one in found] == pytest.approx(right.tolist())
    assert [one.mean_score for one in found] == pytest.approx(mean.tolist())
    assert sum(one.rows for one in found) == len(made)


def test_numbers_have_no_classes() -> None:
    """Of a regression the largest errors are the mistakes."""
    made = written(pa.table({"id": ["1", "2", "3"], "truth": [1.0, 2.0, 3.0], "prediction": [1.1, 5.0, 3.5]}))
    assert details.calibration(made) == ()
    mistakes = details.examples(made, None, numbers=True).mistakes
    assert [example.id for example in mistakes] == ["2", "3", "1"]


def test_a_number_that_is_right_is_no_mistake() -> None:
    """Also where there are fewer wrong ones than the page shows, and where numbers are labels."""
    made = written(pa.table({"id": ["1", "2", "3"], "truth": [1.0, 2.0, 3.0], "prediction": [1, 2, 5]}))
    for numbers in (True, False):
        mistakes = details.examples(made, None, numbers=numbers).mistakes
        assert [(example.id, example.prediction) for example in mistakes] == [("3", 5)]


def test_more_labels_than_a_person_can_read_have_no_matrix() -> None:
    """A matrix of a thousand labels is in the predictions file only."""
    labels = [f"label {number}" for number in range(details.LABELS + 1)]
    made = written(pa.table({"id": labels, "truth": labels, "prediction": labels}))
    assert details.confusion_matrix(made) is None


def test_mistakes_come_with_the_most_confident_first() -> None:
    """What the model was most sure of, and wrong about, is what a person wants to read."""
    mistakes = details.examples(table(), None, numbers=False).mistakes
    scores = [example.score for example in mistakes]
    assert scores == sorted(scores, key=lambda score: -(score or 0.0))
    assert all(example.prediction != example.truth for example in mistakes)


def test_a_score_that_is_no_probability_is_no_calibration() -> None:
    """Scoring of another kind, such as margins, are not shown as probabilities."""
    found = trained.evaluated(["negative"], ["negative"])
    rows = pq.read_table(io.BytesIO(found.predictions))
    at = rows.column_names.index("score:negative")
    made = written(rows.set_column(at, "score:negative", pa.array([7.5])))
    assert details.calibration(made) == ()
