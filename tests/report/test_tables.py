"""What the tables of a report say, and in which order."""

from __future__ import annotations

import pytest

import reports
from modelbuild.contract import Metric, Quality, Report, figure
from modelbuild.contract.report import (
    Changes,
    Comparison,
    ConfusionMatrix,
    CostLine,
    Difference,
    Example,
    Interval,
)
from modelbuild.report import warnings
from modelbuild.report.annotation import render_annotation
from modelbuild.report.candidates import candidates_table, counts, headings
from modelbuild.report.comparisons import model_rows, shown_metrics
from modelbuild.report.deltas import delta
from modelbuild.report.document import render_document
from modelbuild.report.examples import shown_examples
from modelbuild.report.matrix import matrix_rows, most_confused
from modelbuild.report.slices import slice_tables
from page_structure import Structure
from report_manifests import changed
from report_scenes import SCENES


def document_text(report: Report) -> str:
    """The text of the document."""
    return Structure(render_document(report, reports.JOB, {})).text


@pytest.mark.parametrize(
    ("value", "text"),
    [(12_345.678, "12,345.678"), (-0.0, "0.000"), (-4e-5, "-4.00e-05"), (1e300, "1.00e+300")],
)
def test_a_metric_takes_few_characters(value: float, text: str) -> None:
    """A table with the metric of a training that diverged is as wide as others."""
    assert figure(value) == text


@pytest.mark.parametrize(
    ("value", "other", "interval", "gain", "bounds", "outcome"),
    [
        (0.61, 0.6, (0.002, 0.018), "+0.010", "+0.002 to +0.018", "better"),
        (0.6, 0.61, (-0.018, -0.002), "-0.010", "-0.018 to -0.002", "worse"),
        (0.6, 0.61, (-0.03, 0.01), "-0.010", "-0.030 to +0.010", "no difference"),
        # An interval that ends at 0 contains it.
        (0.61, 0.6, (0.0, 0.018), "+0.010", "0.000 to +0.018", "no difference"),
        # Neither a bound nor a gain is rounded to 0 where the interval does not contain it.
        (0.61, 0.6, (0.0001, 0.018), "+0.0100", "+0.0001 to +0.0180", "better"),
        (0.0996, 0.1, (-0.00061, -0.00019), "-0.0004", "-0.0006 to -0.0002", "worse"),
        (0.61, 0.6, (1e-17, 0.018), "+0.010000", "+0.000000 to +0.018000", "better"),
        # A bound that is rounded to 0 keeps its sign.
        (0.6, 0.61, (-0.03, 0.0001), "-0.010", "-0.030 to +0.000", "no difference"),
        # Of a small metric the digits are those of the metric.
        (2.5e-5, 2e-5, (1e-6, 8e-6), "+5.00e-06", "+1.00e-06 to +8.00e-06", "better"),
        # So are they of a very large one, as of a training that diverged.
        (2.5e30, 2e30, (-1e29, 1.1e30), "+5.00e+29", "-1.00e+29 to +1.10e+30", "no difference"),
        # Without an interval nothing shows that it is no chance.
        (0.9, 0.1, None, "+0.800", "", "not known"),
    ],
)
def test_a_difference_has_its_sign_and_interval(
    value: float,
    other: float,
    interval: tuple[float, float] | None,
    gain: str,
    bounds: str,
    outcome: str,
) -> None:
    """A difference is marked only if its interval does not contain 0."""
    found = delta(
        Difference(
            value=value,
            other=other,
            gain=value - other,
            interval=Interval(low=interval[0], high=interval[1]) if interval else None,
        )
    )
    assert (found.gain, found.interval, found.outcome) == (gain, bounds, outcome)


def test_models_are_in_the_order_of_their_roles() -> None:
    """Live comes first, then the best, then experiments, then baselines, the strongest first."""
    report = SCENES["better"]()
    shuffled = changed(report, comparisons=report.comparisons[::-1])
    rows = model_rows(shuffled, shown_metrics(shuffled))
    assert [row.name for row in rows] == ["sentiment 6", "sentiment 9", "sweep-17", "vader", "majority"]


def test_the_primary_metric_comes_first() -> None:
    """The metric that decides is the first column, whatever order the evaluation has."""
    report = SCENES["better"]()
    evaluation = report.manifest.evaluation
    metrics = (evaluation.metrics[1], evaluation.metrics[0], *evaluation.metrics[2:])
    report = changed(
        report, manifest=changed(report.manifest, evaluation=changed(evaluation, metrics=metrics))
    )
    assert [metric.name for metric in shown_metrics(report)] == ["macro_f1", "accuracy"]


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"rows": 2_345}, ""),
        ({"rows": 2_345, "reason": "with 3 rows twice"}, "with 3 rows twice"),
        ({"rows": 2_000, "reason": "rows of both"}, "on 2,000 rows: rows of both"),
        ({"rows": 2_000}, "on 2,000 rows"),
        ({"rows": 2_000, "reason": "on the 2,000 of 2,345 rows"}, "on the 2,000 of 2,345 rows"),
        ({"rows": 0, "metrics": {}, "reason": "other rows"}, "other rows"),
        ({"rows": 0, "metrics": {}}, "no reason is given"),
    ],
)
def test_the_rows_of_a_comparison_are_said(changes: dict[str, object], note: str) -> None:
    """Where two models were not compared on all rows, or not at all, the table says so."""
    report = SCENES["better"]()
    live = changed(report.comparisons[0], **changes)
    row = model_rows(changed(report, comparisons=(live,)), shown_metrics(report))[0]
    assert row.note == note
    assert row.comparable == bool(live.metrics)


def test_a_value_that_is_empty_has_a_name() -> None:
    """A column may lack the value of a row, and a label may be empty: a blank says nothing to a person."""
    report = SCENES["better"]()
    metric = Metric(name="f1", title="F1", better="higher")
    slices = {
        "domain": {"": Quality(rows=9, metrics={"f1": 0.8}), " ": Quality(rows=50, metrics={"f1": 0.9})}
    }
    live = changed(
        report.comparisons[0], slices={"domain": {"": reports.difference(metric, 0.8, 0.95, 0.01)}}
    )
    report = changed(
        report,
        comparisons=(live,),
        confusion=ConfusionMatrix(labels=("", "x"), counts=((8, 1), (2, 7))),
        manifest=changed(report.manifest, evaluation=changed(report.manifest.evaluation, slices=slices)),
    )
    judged = reports.judged(report)
    assert "Worse than live on domain (empty)." in judged.verdict.details
    assert document_text(judged).count("(empty)") == 5
    assert "too few to compare: (empty) (9)" in warnings.find(report.manifest)[-1]


def test_a_table_without_rows_is_not_there() -> None:
    """A model of many classes that confuses none has no pairs of them; a column may have no slices."""
    report = SCENES["hundred-classes"]()
    size = len(report.confusion.labels) if report.confusion else 0
    counts = tuple(tuple(9 * (row == column) for column in range(size)) for row in range(size))
    evaluation = changed(report.manifest.evaluation, slices={"shop": {}})
    report = changed(
        report,
        comparisons=(),
        confusion=changed(report.confusion, counts=counts),
        manifest=changed(report.manifest, evaluation=evaluation),
    )
    text = document_text(report)
    assert "Most confused classes" not in text
    assert "By shop" not in text


def test_what_became_worse_comes_before_what_is_bad() -> None:
    """The first rows of a table are those to look at."""
    report = SCENES["better"]()
    metric = Metric(name="f1", title="F1", better="higher")
    values = {
        name: Quality(rows=10, metrics={"f1": f1})
        for name, f1 in (("low", 0.1), ("high", 0.9), ("fell", 0.8), ("middle", 0.5))
    }
    values["none"] = Quality(rows=0, metrics={})
    differences = {
        "fell": reports.difference(metric, 0.8, 0.95, 0.01),
        "low": reports.difference(metric, 0.1, 0.11, 0.05),
        "gone": reports.difference(metric, 0.0, 0.5, 0.6),
    }
    live = changed(report.comparisons[0], slices={"class": differences})
    evaluation = changed(report.manifest.evaluation, slices={"class": values})
    report = changed(report, comparisons=(live,), manifest=changed(report.manifest, evaluation=evaluation))
    table = slice_tables(report)[0]
    assert [row.name for row in table.rows] == ["fell", "low", "middle", "high", "gone", "none"]
    assert [row.delta is not None for row in table.rows] == [True, True, False, False, True, False]
    assert table.rows[4].rows == ""


def test_slices_are_beside_the_best_model_where_live_is_not_comparable() -> None:
    """The tables of slices name the model that they compare with."""
    assert {table.other_model for table in slice_tables(SCENES["better"]())} == {"sentiment 6"}
    assert {table.other_model for table in slice_tables(SCENES["not-comparable"]())} == {"sentiment 9"}
    assert {table.other_model for table in slice_tables(SCENES["first"]())} == {""}


def test_cells_are_shaded_by_their_part_of_the_true_class() -> None:
    """Levels rise at 5, 15, 35 and 65 %; a class without rows has no shade."""
    matrix = ConfusionMatrix(labels=("a", "b", "c"), counts=((65, 20, 15), (4, 61, 35), (0, 0, 0)))
    rows = matrix_rows(matrix)
    assert [[cell.level for cell in row.cells] for row in rows] == [[4, 2, 2], [0, 3, 3], [0, 0, 0]]
    assert [[cell.right for cell in row.cells] for row in rows][1] == [False, True, False]
    assert [row.total for row in rows] == [100, 100, 0]
    pairs = [(pair.truth, pair.prediction, pair.count) for pair in most_confused(matrix)]
    assert pairs == [("b", "c", 35), ("a", "b", 20), ("a", "c", 15), ("b", "a", 4)]


def test_the_one_who_is_right_is_named() -> None:
    """Of a row on which two models differ the table says which one is right."""
    found = shown_examples(
        Example(id="1", input={"a": "\u8ca0"}, truth="x", prediction=prediction, live=live)
        for prediction, live in (("x", "y"), ("y", "x"), ("y", "z"))
    )
    assert [one.right for one in found] == ["this model", "live", "neither"]
    assert found[0].input == '{"a": "\u8ca0"}'
    assert found[0].score == ""


@pytest.mark.parametrize(
    ("prices", "summary"),
    [
        ((0.25, 0.5), "Time and cost: 66.5 s, 0.75 USD"),
        ((0.25, None), "Time and cost: 66.5 s, at least 0.25 USD"),
        ((None, None), "Time and cost: 66.5 s\n"),
        ((), "Time: 66.5 s\n"),
    ],
)
def test_the_cost_is_summed(prices: tuple[float | None, ...], summary: str) -> None:
    """A step without a price makes the sum a lower bound."""
    lines = tuple(CostLine(step="s", seconds=1, resources="", price=price) for price in prices)
    assert summary in document_text(changed(SCENES["better"](), cost=lines))


def test_everything_of_a_manifest_is_reachable() -> None:
    """The details have the request, the snapshot, digests, S3 paths, the Batch job and how long it took."""
    report = SCENES["better"]()
    about, shown = report.manifest, Structure(render_document(report, reports.JOB, {}))
    for text in (
        about.request.flow,
        about.request.source.sha256,
        about.request.parameters_sha256,
        about.request.images.serve,
        about.request.artifacts + "/request.json",
        about.request.artifacts + "/manifest.json",
        about.data.sha256,
        about.data.source,
        str(about.data.athena_execution_id),
        about.data.objects[0].path,
        about.evaluation.dataset_sha256,
        about.predictions.path,
        about.predictions.sha256,
        about.artifact.path,
        about.artifact.sha256,
        report.manifest_sha256,
        "modelbuild trace 12 --model sentiment --artifacts s3://modelbuild-123456789012/models/comments",
        "train 61.0 s, evaluate 3.0 s, prepare 2.5 s",
        "NVIDIA L4 (driver 580.1)",
        "numpy 2.3.0, torch 2.9.0",
        about.created_at,
        "deployed at 2025-12-24T03:04:05+00:00 by Grace Hopper",
        "9,876 rows, negative 4,321",
        "empty text 12, no label 112",
        "3, and 14 that are almost one",
        "learning_rate: 0.1",
    ):
        assert text in shown.text
    assert {reports.JOB.url, reports.JOB.logs_url} <= set(shown.links)


def test_hidden_examples_are_nowhere() -> None:
    """Where the pipeline hides examples, no page has an evaluation row."""
    text = document_text(SCENES["private-data"]())
    assert "not bad at all" not in text
    assert "Where this model and live differ" not in text
    assert "not bad at all" in document_text(SCENES["better"]())


def test_nothing_is_shown_of_what_there_is_not() -> None:
    """The first model of a pipeline has no heading without something below it."""
    text = document_text(SCENES["first"]())
    for heading in ("What changed since", "Gates", "Confusion matrix", "mistakes", "Warnings"):
        assert heading not in text


def test_what_did_not_change_is_said() -> None:
    """A build of the live model's commit with the same parameters and data says that all is the same."""
    report = SCENES["better"]()
    same = changed(report, changes=Changes(since="sentiment 6", commits_note="the same commit"))
    assert "the same commit" in document_text(same)
    assert "Unchanged: parameters, data, images, packages." in document_text(same)
    assert "Unchanged" not in document_text(report)


def test_an_unknown_comparison_is_no_row_of_figures() -> None:
    """A comparison without the primary metric is not comparable, also if it has others."""
    report = SCENES["better"]()
    other: Comparison = changed(
        report.comparisons[0], metrics={"accuracy": report.comparisons[0].metrics["accuracy"]}
    )
    text = document_text(changed(report, comparisons=(other,)))
    assert "not comparable: no reason is given" in text


def test_parameters_are_headed_by_their_last_part() -> None:
    """A column has the last part of a parameter's name, or the whole text where that part names two."""
    names = ["training.learning_rate", "model.size", "vocabulary.size", "seed", "<b>.x"]
    assert headings(names) == ["learning_rate", "model.size", "vocabulary.size", "seed", "<b>.x"]


def test_what_candidates_cost_has_the_currency_that_the_head_counted_in() -> None:
    """The price file of notify may have another one, in which the cost of the model's own training is."""
    report = changed(SCENES["sweep"](), currency="EUR")
    table = candidates_table(report, 3)
    assert table is not None
    assert "USD" in table.counts
    assert "EUR" not in "".join([table.counts, *table.advice])
    text = document_text(report)
    assert "cost, USD" in text
    assert "cost, EUR" not in text


def test_a_candidate_that_was_not_compared_with_the_best_is_not_called_worse() -> None:
    """The page says of how many nothing is known, and does not say that none is within noise."""
    report = SCENES["sweep"]()
    assert report.leaderboard is not None
    assert report.leaderboard.selection is not None
    best, *others = report.leaderboard.rows
    board = changed(
        report.leaderboard,
        rows=(best, *(changed(row, within_noise=None) for row in others)),
        selection=changed(report.leaderboard.selection, within_noise=0),
    )
    table = candidates_table(changed(report, leaderboard=board), 3)
    assert table is not None
    assert {row.against_best for row in table.rows} == {"best", "not known"}
    assert "39 candidates were not compared with it row by row" in table.selection[-1]
    assert "No other candidate is within noise" not in " ".join(table.selection)


@pytest.mark.parametrize(
    ("ranked", "sentence"),
    [
        (40, "worse by 0.042: the best of 40 is the best by chance as well, and these are other rows."),
        (1, "worse by 0.042: these are other rows."),
    ],
)
def test_test_rows_are_other_rows(ranked: int, sentence: str) -> None:
    """A worse figure there is not only due to the choice, and not at all where nothing was chosen."""
    report = SCENES["sweep"]()
    board = report.leaderboard
    assert board is not None
    rows = tuple(
        changed(row, rank=row.rank if number < ranked else None) for number, row in enumerate(board.rows)
    )
    table = candidates_table(changed(report, leaderboard=changed(board, rows=rows)), 3)
    assert table is not None
    assert table.selection[1] == f"On the test rows it is {sentence}"


@pytest.mark.parametrize(
    ("statuses", "text"),
    [
        (["succeeded"], "1 candidate: 1 has a rank"),
        (
            ["unfit", "succeeded", "failed"],
            "3 candidates: 1 has a rank, 1 failed, 1 does not meet a constraint",
        ),
        (["unfit", "unfit"], "2 candidates: 0 have a rank, 2 do not meet a constraint"),
    ],
)
def test_one_candidate_is_no_candidates(statuses: list[str], text: str) -> None:
    """Sentences about a number of candidates are right for one."""
    board = SCENES["sweep"]().leaderboard
    assert board is not None
    rows = [
        changed(row, status=status, rank=1 if status == "succeeded" else None)
        for row, status in zip(board.rows, statuses, strict=False)
    ]
    assert counts(changed(board, rows=tuple(rows))) == text


@pytest.mark.parametrize(
    ("gained", "lost", "sentence"),
    [
        (1, 1, "1 row is right now and was wrong with live; 1 is wrong now and was right."),
        (2, 0, "2 rows are right now and were wrong with live; 0 are wrong now and were right."),
    ],
)
def test_one_row_is_no_rows(gained: int, lost: int, sentence: str) -> None:
    """Sentences about a number of things are right for one."""
    report = SCENES["better"]()
    examples = changed(report.examples, gained=gained, lost=lost)
    assert sentence in render_annotation(changed(report, examples=examples), reports.JOB, ())
